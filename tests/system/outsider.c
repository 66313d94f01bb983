/*
 * A static plugin that stands in for microvm with its guest in command of it: it makes one call that microvm never makes, named by its
 * argument. It exits 0 without one, 9 where the call came back, and 64 where it knows no such call.
 */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/memfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CODE (PROT_READ | PROT_WRITE | PROT_EXEC)

static const struct {
    const char *name;
    long number, argument[6];
} calls[] = {
    { "openat", SYS_openat, { AT_FDCWD, (long)"/", O_RDONLY } },
    { "open", SYS_open, { (long)"/", O_RDONLY } },
    { "execve", SYS_execve, { (long)"/", 0, 0 } },
    { "execveat", SYS_execveat, { 1, (long)"", 0, 0, AT_EMPTY_PATH } },
    { "socket", SYS_socket, { AF_UNIX, SOCK_STREAM, 0 } },
    { "socketpair", SYS_socketpair, { AF_UNIX, SOCK_STREAM, 0, 0 } },
    { "connect", SYS_connect, { 3, 0, 0 } },
    { "bind", SYS_bind, { 3, 0, 0 } },
    { "setsockopt", SYS_setsockopt, { 3, SOL_SOCKET, SO_SNDBUF, 0, 0 } },
    { "mmap", SYS_mmap, { 0, 4096, CODE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 } },
    { "mprotect", SYS_mprotect, { 0, 4096, PROT_READ | PROT_EXEC } },
    { "memfd_create", SYS_memfd_create, { (long)"", MFD_CLOEXEC } },
    { "mremap", SYS_mremap, { 0, 4096, 8192, 0 } },
    { "fork", SYS_fork, { 0 } },
    { "clone", SYS_clone, { SIGCHLD, 0, 0, 0, 0 } },
    { "unshare", SYS_unshare, { CLONE_NEWUSER } },
    { "ptrace", SYS_ptrace, { PTRACE_TRACEME, 0, 0, 0 } },
    { "process_vm_writev", SYS_process_vm_writev, { 1, 0, 0, 0, 0, 0 } },
    { "prctl", SYS_prctl, { PR_SET_DUMPABLE, 1, 0, 0, 0 } },
    { "prlimit64", SYS_prlimit64, { 0, RLIMIT_NOFILE, (long)"0123456789abcde", 0 } },
    { "kill", SYS_kill, { -1, 0 } },
    { "tgkill", SYS_tgkill, { 2, 2, 0 } },
    { "ioctl", SYS_ioctl, { 0, TUNSETPERSIST, 1 } },
    { "fcntl", SYS_fcntl, { 0, F_SETPIPE_SZ, 1 << 20 } },
    { "fallocate", SYS_fallocate, { 0, FALLOC_FL_COLLAPSE_RANGE, 0, 4096 } },
    { "newfstatat", SYS_newfstatat, { AT_FDCWD, (long)"/", 0, 0 } },
    { "statx", SYS_statx, { AT_FDCWD, (long)"/", 0, 0, 0 } },
    { "getdents64", SYS_getdents64, { 0, 0, 0 } },
    { "dup2", SYS_dup2, { 0, 9 } },
    { "pwrite64", SYS_pwrite64, { 0, 0, 0, 0 } },
    { "rt_sigreturn", SYS_rt_sigreturn, { 0 } },
    { "splice", SYS_splice, { 0, 0, 1, 0, 4096, 0 } },
    { "io_uring_setup", SYS_io_uring_setup, { 8, 0 } },
    { "bpf", SYS_bpf, { 0, 0, 0 } },
    { "keyctl", SYS_keyctl, { 0, 0, 0, 0, 0 } },
    { "userfaultfd", SYS_userfaultfd, { 0 } },
    { "seccomp", SYS_seccomp, { 0, 0, 0 } },
};

int
main(int argc, char **argv)
{
    if (argc < 2)
        return 0;
    if (strcmp(argv[1], "list") == 0) {
        for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
            dprintf(STDOUT_FILENO, "%s\n", calls[i].name);
        return 0;
    }
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const long *argument = calls[i].argument;

        if (strcmp(argv[1], calls[i].name) != 0)
            continue;
        syscall(calls[i].number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
        return 9;
    }
    return 64;
}
