/* The parent's side of a jail's start. */
#include "jail/jail.h"

#include "common/fd.h"
#include "jail/child.h"
#include "proto/message.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The cgroup namespace is made by the child, once it is in its cgroup: here its root would be the parent's. */
#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

uint64_t
jail_make_key(void)
{
    uint64_t key = 0;

    while (key == 0)
        if (getrandom(&key, sizeof key, 0) != sizeof key)
            key = 0;
    return key;
}

static int
fail(const struct jail *jail, struct jail_error *error, const char *step, int result)
{
    error->error = -result;
    snprintf(error->text, sizeof error->text, "%s: %s: %s", jail->name, step, strerror(-result));
    return result;
}

/* A child as by fork(2), in new namespaces and in its cgroup from the first instruction on. `flags` are added. */
static pid_t
clone_child(const struct jail *jail, uint64_t flags, int *pidfd)
{
    struct clone_args arguments = {
        .flags = CLONE_PIDFD | flags,
        .pidfd = (uintptr_t)pidfd,
        /* A sibling has its signal from who made this process. */
        .exit_signal = (flags & CLONE_PARENT) != 0 ? 0 : SIGCHLD,
    };

    if (!jail->unconfined)
        arguments.flags |= NAMESPACES;
    if (jail->cgroup >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (unsigned)jail->cgroup;
    }
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

/*
 * Children are born into the pid namespace given, from the next clone on; *own is for going back. A namespace whose pid 1 is
 * gone refuses them.
 */
static int
aim_pid_namespace(const struct jail *jail, int *own)
{
    *own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (*own < 0 || setns(jail->pid_namespace, CLONE_NEWPID) < 0)
        return -errno;
    return 0;
}

static int
restore_pid_namespace(int *own)
{
    int result = 0;

    if (*own >= 0 && setns(*own, CLONE_NEWPID) < 0)
        result = -errno;
    fd_close(own);
    return result;
}

/* `sockets` are the parent's end and the child's. The child must not hold both: it hears of the parent's death by the socket's end. */
static void
run_child(const struct jail *jail, int sockets[2])
{
    struct child child = { .jail = jail, .socket = sockets[1], .executable = jail->executable };
    struct child_report report = { .word = CHILD_FAILED };

    fd_close(&sockets[0]);
    child_run(&child);
    report.error = errno;
    strlcpy(report.step, child.step, sizeof report.step);
    filter_send(&child, &report, -1);
    _exit(127);
}

/* What a helper tells of the child that it has made. */
struct birth {
    int error; /* a positive errno; 0: the pidfd comes along */
};

static pid_t
pid_of(int pidfd)
{
    char path[64], text[512], *line;

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    if (fd_read_file(AT_FDCWD, path, text, sizeof text) < 0 || (line = strstr(text, "\nPid:")) == NULL)
        return -1;
    return (pid_t)strtol(line + strlen("\nPid:"), NULL, 10);
}

/*
 * A pid namespace is made only within the maker's own: so a helper is born into the one that is to hold it, makes the child there as a child of
 * the caller's (CLONE_PARENT), hands over its pidfd, and goes.
 */
static int
help_birth(const struct jail *jail, int sockets[2], int report)
{
    struct birth birth = { 0 };
    int pidfd = -1;
    pid_t pid = clone_child(jail, CLONE_PARENT, &pidfd);

    if (pid == 0)
        run_child(jail, sockets);
    birth.error = pid < 0 ? errno : 0;
    return message_send(report, &birth, sizeof birth, &pidfd, pid < 0 ? 0 : 1, 0) < 0;
}

static int
take_birth(int report, struct jail_process *process)
{
    struct message_fds fds;
    struct birth birth;
    ssize_t size = message_receive(report, &birth, sizeof birth, &fds, 1, 0);

    if (size != sizeof birth)
        return size < 0 ? (int)size : -ECHILD;
    if (birth.error != 0)
        return -birth.error;
    if (fds.count != 1)
        return -ECHILD;
    process->pidfd = fd_take(&fds.fd[0]);
    process->pid = pid_of(process->pidfd);
    return process->pid > 0 ? 0 : -ESRCH;
}

static int
spawn_within(const struct jail *jail, int sockets[2], struct jail_process *process)
{
    int report[2] = { -1, -1 }, own = -1, result, restored;
    pid_t helper = -1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) < 0)
        return -errno;
    result = aim_pid_namespace(jail, &own);
    if (result == 0) {
        helper = fork();
        if (helper == 0)
            _exit(help_birth(jail, sockets, report[1]));
        if (helper < 0)
            result = -errno;
    }
    restored = restore_pid_namespace(&own);
    fd_close(&report[1]);
    if (helper > 0) {
        result = take_birth(report[0], process);
        waitpid(helper, NULL, 0);
    }
    fd_close(&report[0]);
    return result == 0 ? restored : result;
}

static int
spawn(const struct jail *jail, struct jail_process *process, int *socket, const char **step)
{
    int sockets[2] = { -1, -1 }, result = 0;

    *step = "cannot make a socket to the child";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    *step = "cannot make its namespaces";
    if (!jail->unconfined && jail->pid_namespace >= 0) {
        result = spawn_within(jail, sockets, process);
    } else {
        process->pid = clone_child(jail, 0, &process->pidfd);
        if (process->pid == 0)
            run_child(jail, sockets);
        if (process->pid < 0)
            result = -errno;
    }
    if (process->pid > 0)
        *socket = fd_take(&sockets[0]);
    fd_close_all(sockets, 2);
    return result;
}

/* What it says is done as it says it. `executes` becomes true where its program is next. */
static int
hear_word(const struct jail *jail, struct jail_process *process, int socket, const struct child_report *report,
          struct message_fds *fds, bool *executes, struct jail_error *error)
{
    int result = 0;

    switch (report->word) {
    case CHILD_WANTS_MAPS:
        result = ids_write_maps(jail, process->pid);
        if (result < 0)
            return fail(jail, error, "cannot write the maps of its user namespace", result);
        result = message_send(socket, "", 1, NULL, 0, 0);
        break;
    case CHILD_IS_BOUND:
        result = message_send(socket, "", 1, NULL, 0, 0);
        break;
    case CHILD_LISTENER:
        if (fds->count != 1 || process->listener >= 0)
            return fail(jail, error, "the child hands over no listener", -EBADMSG);
        process->listener = fd_take(&fds->fd[0]);
        break;
    case CHILD_EXECUTES:
        *executes = true;
        break;
    case CHILD_FAILED:
        return fail(jail, error, report->step, report->error > 0 ? -report->error : -EIO);
    default:
        return fail(jail, error, "the child speaks nonsense", -EBADMSG);
    }
    return result < 0 ? fail(jail, error, "cannot answer the child", result) : 0;
}

/* The socket has ended without the program: so has the child. */
static int
tell_death(const struct jail *jail, const struct jail_process *process, struct jail_error *error)
{
    siginfo_t info = { 0 };

    while (waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOWAIT) < 0)
        if (errno != EINTR)
            return fail(jail, error, "cannot look after the child", -errno);
    error->error = ECHILD;
    snprintf(error->text, sizeof error->text, "%s: %s %d before it was its program", jail->name,
             info.si_code == CLD_EXITED ? "ended with code" : "died of signal", info.si_status);
    return -ECHILD;
}

/* Hears the child until it has become its program (the socket ends: close-on-exec) or has failed. */
static int
attend(const struct jail *jail, struct jail_process *process, int socket, struct jail_error *error)
{
    bool executes = false;
    int result = 0;

    while (result == 0) {
        struct child_report report;
        struct message_fds fds;
        ssize_t size = message_receive(socket, &report, sizeof report, &fds, 1, 0);

        if (size == 0)
            return executes ? 0 : tell_death(jail, process, error);
        if (size < 0)
            return fail(jail, error, "cannot hear the child", (int)size);
        report.step[sizeof report.step - 1] = '\0';
        if ((size_t)size == sizeof report)
            result = hear_word(jail, process, socket, &report, &fds, &executes, error);
        else
            result = fail(jail, error, "the child speaks nonsense", -EBADMSG);
        message_close_fds(&fds);
    }
    return result;
}

/* By its pidfd: the number may not be known. */
static void
end_child(struct jail_process *process)
{
    siginfo_t info;

    if (process->pidfd < 0)
        return;
    syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0);
    while (waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED) < 0 && errno == EINTR)
        ;
}

int
jail_start(const struct jail *jail, struct jail_process *process, struct jail_error *error)
{
    const char *step = "";
    int socket = -1, result;

    *process = (struct jail_process){ .pid = -1, .pidfd = -1, .listener = -1 };
    error->text[0] = '\0';
    if (jail->fd_count > JAIL_FDS_MAX || jail->mount_count > JAIL_MOUNTS_MAX || jail->gid_map_count > JAIL_ID_MAPS_MAX)
        return fail(jail, error, "more descriptors, mounts or id maps than a jail takes", -E2BIG);
    result = spawn(jail, process, &socket, &step);
    if (result < 0)
        fail(jail, error, step, result);
    else
        result = attend(jail, process, socket, error);
    if (result < 0) {
        end_child(process);
        process->pid = -1;
        fd_close(&process->pidfd);
        fd_close(&process->listener);
    }
    fd_close(&socket);
    return result;
}
