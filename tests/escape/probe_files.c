/* Attempts on the host's files, mounts and devices. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int
open_file(const char *path, int flags)
{
    return probe_close(open(path, flags | O_CLOEXEC));
}

static int
open_host_file(const struct probe_command *command)
{
    return open_file(command->file, O_RDONLY);
}

/* Up and out: who may change his root below where he stands can climb above it. */
static int
climb_out(const struct probe_command *command)
{
    const char *hole = mkdir("/hole", 0700) == 0 ? "/hole" : "/";
    int result;

    if (chroot(hole) < 0) {
        result = -errno;
        rmdir("/hole");
        return result;
    }
    for (int i = 0; i < 64; i++)
        if (chdir("..") < 0)
            return -errno;
    if (chroot(".") < 0)
        return -errno;
    result = open_file(command->file, O_RDONLY);
    rmdir("/hole");
    return result;
}

static int
mount_filesystem(const struct probe_command *command)
{
    (void)command;
    return mount("none", "/", "tmpfs", 0, NULL) < 0 ? -errno : 0;
}

static int
open_tree_clone(const struct probe_command *command)
{
    (void)command;
    return syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE) < 0 ? -errno : 0;
}

/* A file system by the newer calls, which mount(2)'s filter does not see. */
static int
open_filesystem(const struct probe_command *command)
{
    (void)command;
    return probe_close(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC));
}

static int
move_root(const struct probe_command *command)
{
    (void)command;
    /* Nothing is mounted at what it names: who may move mounts is told so, who may not is refused before. */
    if (syscall(SYS_move_mount, AT_FDCWD, "/", AT_FDCWD, "/", 0) < 0 && errno != EINVAL && errno != ELOOP)
        return -errno;
    return 0;
}

/* A root that is the host's, by the way of a process that has it. */
static int
look_through_process(const struct probe_command *command)
{
    char path[sizeof command->file + 32];

    snprintf(path, sizeof path, "/proc/%d/root%s", (int)command->process, command->file);
    return open_file(path, O_RDONLY);
}

/* Where the kernel would hand cores to a program of the writer's, as root. */
static int
open_core_pattern(const struct probe_command *command)
{
    (void)command;
    return open_file("/proc/sys/kernel/core_pattern", O_WRONLY);
}

static int
make_device_node(const struct probe_command *command)
{
    (void)command;
    if (mknod("/node", S_IFCHR | 0600, makedev(1, 1)) < 0)
        return -errno;
    unlink("/node");
    return 0;
}

static int
enter_mount_namespace(const struct probe_command *command)
{
    (void)command;
    return setns(PROBE_FD_HOST_MOUNT_NAMESPACE, CLONE_NEWNS) < 0 ? -errno : 0;
}

static int
unshare_user_namespace(const struct probe_command *command)
{
    (void)command;
    return unshare(CLONE_NEWUSER) < 0 ? -errno : 0;
}

static int
clone_user_namespace(const struct probe_command *command)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | 17 /* SIGCHLD */, 0, 0, 0, 0);

    (void)command;
    if (pid < 0)
        return -errno;
    if (pid == 0)
        _exit(0);
    return 0;
}

/* Its flags are in memory, out of a filter's reach. */
static int
clone3_user_namespace(const struct probe_command *command)
{
    struct clone_args arguments = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);

    (void)command;
    if (pid < 0)
        return -errno;
    if (pid == 0)
        _exit(0);
    return 0;
}

static int
unshare_mount_namespace(const struct probe_command *command)
{
    (void)command;
    return unshare(CLONE_NEWNS) < 0 ? -errno : 0;
}

static int
open_kvm(const struct probe_command *command)
{
    (void)command;
    return open_file("/dev/kvm", O_RDWR);
}

static int
open_by_handle(const struct probe_command *command)
{
    struct {
        struct file_handle header;
        unsigned char bytes[8];
    } handle = { .header = { .handle_bytes = 8, .handle_type = 1 }, .bytes = { 2 } };

    (void)command;
    /* The root inode of the file system that the working directory is on: what escaped from early containers. */
    return probe_close(open_by_handle_at(AT_FDCWD, &handle.header, O_RDONLY));
}

/* Past the filter that executed this very program: a socket is none, which is looked at once the call is let through. */
static int
execute(const struct probe_command *command)
{
    char *none[] = { NULL };

    (void)command;
    return syscall(SYS_execveat, PROBE_FD_COMMAND, "", none, none, AT_EMPTY_PATH, 0) < 0 && errno != EACCES ? -errno : 0;
}

/* The file of a descriptor that was given for reading, anew and for writing. */
static int
reopen_grant(const struct probe_command *command)
{
    char path[32];

    (void)command;
    snprintf(path, sizeof path, "/proc/self/fd/%d", PROBE_FD_GRANT);
    return open_file(path, O_RDWR);
}

/* So that it could be opened for writing. */
static int
open_up_grant(const struct probe_command *command)
{
    (void)command;
    return fchmod(PROBE_FD_GRANT, 0666) < 0 ? -errno : 0;
}

/* vmproc has no /proc, but where the sanitizers want one. */
#ifdef VMSUP_SANITIZED
#define VMPROC_REOPEN EACCES
#else
#define VMPROC_REOPEN ENOENT
#endif

/* A descriptor that nobody gave: beside the standard ones, the command's and those that came with it. */
static int
find_descriptor(const struct probe_command *command)
{
    (void)command;
    for (int fd = PROBE_FD_COMMAND + 1; fd < 1024; fd++)
        if (fcntl(fd, F_GETFL) >= 0 && (fd < PROBE_FD_HOST_PIDFD || fd >= PROBE_FD_HOST_PIDFD + PROBE_FDS))
            return 0;
    return -EBADF;
}

const struct probe_attempt probe_files[] = {
    { "inherited-descriptor", find_descriptor, { EBADF, EBADF }, { PROBE_LET_THROUGH, PROBE_LET_THROUGH } },
    { "open-host-file", open_host_file, { ENOENT, ENOENT }, { PROBE_LET_THROUGH, "openat" } },
    { "climb-out", climb_out, { EPERM, EPERM }, { "chroot", "mkdir" } },
    { "mount", mount_filesystem, { EPERM, EPERM }, { "mount", "mount" } },
    { "open-tree", open_tree_clone, { EPERM, EPERM }, { "open_tree", "open_tree" } },
    { "fsopen", open_filesystem, { EPERM, EPERM }, { "fsopen", "fsopen" } },
    { "move-mount", move_root, { EPERM, EPERM }, { "move_mount", "move_mount" } },
    { "root-of-process", look_through_process, { ENOENT, ENOENT }, { PROBE_LET_THROUGH, "openat" } },
    { "core-pattern", open_core_pattern, { ENOENT, ENOENT }, { PROBE_LET_THROUGH, "openat" } },
    { "mknod", make_device_node, { EPERM, EROFS }, { "mknodat", "mknodat" } },
    { "setns", enter_mount_namespace, { EPERM, EPERM }, { "setns", "setns" } },
    { "unshare-user-namespace", unshare_user_namespace, { EPERM, EPERM }, { "unshare", "unshare" } },
    { "clone-user-namespace", clone_user_namespace, { EPERM, EPERM }, { "clone", "clone" } },
    { "clone3-user-namespace", clone3_user_namespace, { EPERM, EPERM }, { "38", "38" } }, /* ENOSYS */
    { "unshare-mount-namespace", unshare_mount_namespace, { EPERM, EPERM }, { "unshare", "unshare" } },
    { "open-kvm", open_kvm, { ENOENT, ENOENT }, { PROBE_LET_THROUGH, "openat" } },
    { "open-by-handle", open_by_handle, { EPERM, EPERM }, { "open_by_handle_at", "open_by_handle_at" } },
    { "reopen-grant", reopen_grant, { EACCES, VMPROC_REOPEN }, { PROBE_LET_THROUGH, "openat" } },
    { "open-up-grant", open_up_grant, { EPERM, EPERM }, { "fchmod", "fchmod" } },
    { "execute", execute, { 0, 0 }, { "execveat", "execveat" } },
    { 0 },
};
