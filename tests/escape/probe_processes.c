/* Attempts on the host's processes, terminals and keys. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/tiocl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int
see_process(const struct probe_command *command)
{
    return kill(command->process, 0) < 0 ? -errno : 0;
}

static int
see_process_in_proc(const struct probe_command *command)
{
    char path[64];
    struct stat status;

    snprintf(path, sizeof path, "/proc/%d/status", (int)command->process);
    return stat(path, &status) < 0 ? -errno : 0;
}

static int
signal_process(const struct probe_command *command)
{
    return kill(command->process, SIGCONT) < 0 ? -errno : 0;
}

static int
signal_by_pidfd(const struct probe_command *command)
{
    (void)command;
    return syscall(SYS_pidfd_send_signal, PROBE_FD_HOST_PIDFD, SIGCONT, NULL, 0) < 0 ? -errno : 0;
}

static int
trace_process(const struct probe_command *command)
{
    if (ptrace(PTRACE_SEIZE, command->process, NULL, NULL) < 0)
        return -errno;
    return 0;
}

static int
read_process_memory(const struct probe_command *command)
{
    /* Where it reads does not matter: who may not is refused before, who may gets EFAULT for an address that is not mapped. */
    char byte;
    struct iovec local = { &byte, 1 }, remote = { (void *)&byte, 1 };

    if (process_vm_readv(command->process, &local, 1, &remote, 1, 0) < 0 && errno != EFAULT)
        return -errno;
    return 0;
}

static int
write_process_memory(const struct probe_command *command)
{
    /* As above: what it aims at is not mapped there. */
    char byte = 0;
    struct iovec local = { &byte, 1 }, remote = { (void *)1, 1 };

    if (process_vm_writev(command->process, &local, 1, &remote, 1, 0) < 0 && errno != EFAULT)
        return -errno;
    return 0;
}

/* To outlive the supervisor. */
static int
clear_death_signal(const struct probe_command *command)
{
    (void)command;
    return prctl(PR_SET_PDEATHSIG, 0) < 0 ? -errno : 0;
}

static int
limit_process(const struct probe_command *command)
{
    const struct rlimit limit = { 64, 64 };

    return prlimit(command->process, RLIMIT_SIGPENDING, &limit, NULL) < 0 ? -errno : 0;
}

static int
leave_core(const struct probe_command *command)
{
    const struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

    (void)command;
    return setrlimit(RLIMIT_CORE, &limit) < 0 ? -errno : 0;
}

static int
open_pidfd(const struct probe_command *command)
{
    return syscall(SYS_pidfd_open, command->process, 0) < 0 ? -errno : 0;
}

static int
take_descriptor(const struct probe_command *command)
{
    (void)command;
    return syscall(SYS_pidfd_getfd, PROBE_FD_HOST_PIDFD, 0, 0) < 0 ? -errno : 0;
}

/* Tells whether two processes share a table: where the kernel's objects lie follows from many such answers. */
static int
compare_processes(const struct probe_command *command)
{
    return syscall(SYS_kcmp, getpid(), command->process, KCMP_FILES, 0, 0) < 0 ? -errno : 0;
}

/* Has another process's memory thrown out. Where it lies does not matter: who may not is refused before. */
static int
advise_process(const struct probe_command *command)
{
    char byte;
    struct iovec remote = { (void *)&byte, 1 };

    (void)command;
    if (syscall(SYS_process_madvise, PROBE_FD_HOST_PIDFD, &remote, 1, 21 /* MADV_PAGEOUT */, 0) < 0 && errno != ENOMEM && errno != EINVAL)
        return -errno;
    return 0;
}

/* No sooner ended than the host's other processes, when memory is short. */
static int
survive_shortage(const struct probe_command *command)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), result = 0;

    (void)command;
    if (fd < 0)
        return -errno;
    if (write(fd, "0", 1) < 0)
        result = -errno;
    close(fd);
    return result;
}

/* vmproc sees the plugin among its pids, under a number that is not foreseen. It must not be able to stop it so. */
static int
signal_neighbours(const struct probe_command *command)
{
    int result = -ESRCH;

    (void)command;
    for (pid_t pid = 2; pid < 64; pid++) {
        if (pid == getpid())
            continue;
        if (kill(pid, 0) == 0)
            return 0;
        if (errno != ESRCH)
            result = -errno;
    }
    return result;
}

static int
set_priority(const struct probe_command *command)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t rest[3];
    } attributes = { .size = 48 };

    return syscall(SYS_sched_setattr, command->process, &attributes, 0) < 0 ? -errno : 0;
}

/* Types a line into a terminal, as if its user had. */
static int
type_into_terminal(const struct probe_command *command)
{
    char byte = '\n';

    (void)command;
    return ioctl(PROBE_FD_TERMINAL, TIOCSTI, &byte) < 0 ? -errno : 0;
}

/* Pastes the selection of a virtual console. */
static int
paste_into_console(const struct probe_command *command)
{
    char subcode = TIOCL_GETSHIFTSTATE;

    (void)command;
    return ioctl(PROBE_FD_TERMINAL, TIOCLINUX, &subcode) < 0 ? -errno : 0;
}

static int
read_key(const struct probe_command *command)
{
    char buffer[16];

    return syscall(SYS_keyctl, KEYCTL_READ, command->key, buffer, sizeof buffer) < 0 ? -errno : 0;
}

/* The session keyring that a process inherits from whoever started it. */
static int
find_key_in_session(const struct probe_command *command)
{
    (void)command;
    return syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", PROBE_ABSTRACT_SOCKET, 0) < 0 ? -errno : 0;
}

/* The sanitizers' vmproc has a /proc. */
#ifdef VMSUP_SANITIZED
#define VMPROC_SCORE EROFS
#else
#define VMPROC_SCORE ENOENT
#endif

const struct probe_attempt probe_processes[] = {
    { "see-process", see_process, { ESRCH, ESRCH }, { PROBE_LET_THROUGH, "kill" } },
    { "see-process-in-proc", see_process_in_proc, { ENOENT, ENOENT }, { PROBE_LET_THROUGH, "newfstatat" } },
    { "signal-process", signal_process, { ESRCH, ESRCH }, { PROBE_LET_THROUGH, "kill" } },
    { "signal-by-pidfd", signal_by_pidfd, { EINVAL, EINVAL }, { "pidfd_send_signal", "pidfd_send_signal" } },
    { "ptrace", trace_process, { ESRCH, ESRCH }, { "ptrace", "ptrace" } },
    { "process-vm-readv", read_process_memory, { ESRCH, ESRCH }, { "process_vm_readv", "process_vm_readv" } },
    { "process-vm-writev", write_process_memory, { ESRCH, ESRCH }, { "process_vm_writev", "process_vm_writev" } },
    { "clear-death-signal", clear_death_signal, { 0, 0 }, { "prctl", "prctl" } }, /* the pid namespaces' order kills all the same */
    { "limit-process", limit_process, { ESRCH, ESRCH }, { "prlimit64", "prlimit64" } },
    { "leave-core", leave_core, { EPERM, EPERM }, { "prlimit64", "prlimit64" } },
    { "pidfd-open", open_pidfd, { ESRCH, ESRCH }, { "pidfd_open", "pidfd_open" } },
    { "pidfd-getfd", take_descriptor, { EPERM, EPERM }, { "pidfd_getfd", "pidfd_getfd" } },
    { "kcmp", compare_processes, { ESRCH, ESRCH }, { "kcmp", "kcmp" } },
    { "process-madvise", advise_process, { EACCES, EACCES }, { "process_madvise", "process_madvise" } },
    { "oom-score", survive_shortage, { EROFS, VMPROC_SCORE }, { PROBE_LET_THROUGH, "openat" } },
    { "signal-neighbours", signal_neighbours, { ESRCH, EPERM }, { PROBE_LET_THROUGH, "kill" } },
    { "sched-setattr", set_priority, { ESRCH, ESRCH }, { "sched_setattr", "sched_setattr" } },
    { "tiocsti", type_into_terminal, { EPERM, EPERM }, { "ioctl", "ioctl" } },
    { "tioclinux", paste_into_console, { EPERM, EPERM }, { "ioctl", "ioctl" } },
    { "keyctl-read", read_key, { EACCES, EACCES }, { "keyctl", "keyctl" } },
    { "keyctl-session", find_key_in_session, { ENOKEY, ENOKEY }, { "keyctl", "keyctl" } },
    { 0 },
};
