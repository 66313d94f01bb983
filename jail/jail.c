/* The parent's side of a jail's start. */
#include "jail/jail.h"

#include "common/fd.h"
#include "jail/child.h"
#include "proto/message.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the process that makes another in a pid namespace; the way into a jail is gone on a copy of it. */
#define HELPER_STACK (256 * 1024)
/* The exit code of a child that could not enter; why, it has said before. */
#define NOT_ENTERED 127

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

/*
 * A child as by fork(2), in its pid namespace and in its cgroup from the first instruction on; the other namespaces it makes itself, which
 * takes long. `flags` are added.
 */
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
        arguments.flags |= CLONE_NEWPID;
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

/*
 * `sockets` are the parent's end and the child's. The child must not hold both: it hears of the parent's death by the socket's end. It
 * returns where something failed, which it has said.
 */
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
}

static pid_t
pid_of(int pidfd)
{
    char path[64], text[512], *line;

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    if (fd_read_file(AT_FDCWD, path, text, sizeof text) < 0 || (line = strstr(text, "\nPid:")) == NULL)
        return -1;
    return (pid_t)strtol(line + strlen("\nPid:"), NULL, 10);
}

struct birth {
    const struct jail *jail;
    int *sockets;
    int pidfd;
    int error; /* a positive errno */
};

static int
help_birth(void *context)
{
    struct birth *birth = context;
    pid_t pid = clone_child(birth->jail, CLONE_PARENT, &birth->pidfd);

    if (pid == 0) {
        run_child(birth->jail, birth->sockets);
        return NOT_ENTERED;
    }
    birth->error = pid < 0 ? errno : 0;
    return 0;
}

/*
 * A pid namespace is made only within the maker's own: so a helper is born into the one that is to hold it, makes the child there as a
 * child of the caller's (CLONE_PARENT), and goes, while the caller waits. It shares the caller's memory and descriptors: so the child's
 * pidfd is the caller's even where the helper is killed, as it is when pid 1 of its namespace dies. The child has a copy of its stack.
 */
static int
help(struct birth *birth)
{
    char *stack = mmap(NULL, HELPER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    pid_t helper;
    int result = 0;

    if (stack == MAP_FAILED)
        return -errno;
    helper = clone(help_birth, stack + HELPER_STACK, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, birth);
    if (helper < 0)
        result = -errno;
    else
        waitpid(helper, NULL, 0);
    munmap(stack, HELPER_STACK);
    return result;
}

static int
spawn_within(const struct jail *jail, int sockets[2], struct jail_process *process)
{
    struct birth birth = { .jail = jail, .sockets = sockets, .pidfd = -1, .error = ECHILD };
    int own = -1, result = aim_pid_namespace(jail, &own), restored;

    if (result == 0)
        result = help(&birth);
    restored = restore_pid_namespace(&own);
    if (result < 0)
        return result;
    /* A helper that was killed may have left a child without having said that all is well. */
    if (birth.pidfd < 0)
        return -birth.error;
    process->pidfd = birth.pidfd;
    process->pid = pid_of(birth.pidfd);
    return process->pid > 0 ? restored : -ESRCH;
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
        if (process->pid == 0) {
            run_child(jail, sockets);
            _exit(NOT_ENTERED);
        }
        if (process->pid < 0)
            result = -errno;
    }
    if (process->pid > 0)
        *socket = fd_take(&sockets[0]);
    fd_close_all(sockets, 2);
    return result;
}

/* What it says is done as it says it. */
static int
hear_word(struct jail_start *start, const struct child_report *report, struct message_fds *fds, struct jail_error *error)
{
    const struct jail *jail = &start->jail;
    struct jail_process *process = start->process;
    int result = 0;

    switch (report->word) {
    case CHILD_WANTS_MAPS:
        result = ids_write_maps(start);
        if (result < 0)
            return fail(jail, error, "cannot write the maps of its user namespace", result);
        result = message_send(start->socket, "", 1, NULL, 0, 0);
        break;
    case CHILD_IS_BOUND:
        result = message_send(start->socket, "", 1, NULL, 0, 0);
        break;
    case CHILD_LISTENER:
        if (fds->count != 1 || process->listener >= 0)
            return fail(jail, error, "the child hands over no listener", -EBADMSG);
        process->listener = fd_take(&fds->fd[0]);
        break;
    case CHILD_EXECUTES:
        start->executes = true;
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

/* One word. The socket ends as the child becomes its program (close-on-exec), or dies: -ECHILD, and nothing is said of it yet. */
static int
hear(struct jail_start *start, struct jail_error *error)
{
    const struct jail *jail = &start->jail;
    struct child_report report;
    struct message_fds fds;
    ssize_t size = message_receive(start->socket, &report, sizeof report, &fds, 1, 0);
    int result;

    /* Reset: it has left unread what it was told. That is said once, and before what it had said itself. */
    if (size == -ECONNRESET)
        size = message_receive(start->socket, &report, sizeof report, &fds, 1, 0);
    if (size == 0) {
        fd_close(&start->socket);
        start->died = !start->executes;
        return start->died ? -ECHILD : 0;
    }
    if (size < 0)
        return fail(jail, error, "cannot hear the child", (int)size);
    report.step[sizeof report.step - 1] = '\0';
    if ((size_t)size == sizeof report)
        result = hear_word(start, &report, &fds, error);
    else
        result = fail(jail, error, "the child speaks nonsense", -EBADMSG);
    message_close_fds(&fds);
    /* It was killed meanwhile, unless that is what it says of itself. */
    if ((result == -EPIPE || result == -ESRCH) && report.word != CHILD_FAILED) {
        start->died = true;
        result = -ECHILD;
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

/* No process is left. */
static void
give_up(struct jail_start *start)
{
    end_child(start->process);
    start->process->pid = -1;
    fd_close(&start->process->pidfd);
    fd_close(&start->process->listener);
    fd_close(&start->socket);
}

int
jail_begin(const struct jail *jail, struct jail_start *start, struct jail_process *process, struct jail_error *error)
{
    const char *step = "";
    int result;

    *start = (struct jail_start){ .jail = *jail, .process = process, .socket = -1 };
    *process = (struct jail_process){ .pid = -1, .pidfd = -1, .listener = -1 };
    error->text[0] = '\0';
    if (jail->fd_count > JAIL_FDS_MAX || jail->mount_count > JAIL_MOUNTS_MAX || jail->gid_map_count > JAIL_ID_MAPS_MAX)
        return fail(jail, error, "more descriptors, mounts or id maps than a jail takes", -E2BIG);
    result = spawn(jail, process, &start->socket, &step);
    if (result < 0) {
        fail(jail, error, step, result);
        give_up(start);
    }
    return result;
}

int
jail_settle(struct jail_start *start, const struct jail_terms *terms, struct jail_error *error)
{
    int result;

    start->uid = terms->uid;
    start->gid = terms->gid;
    error->text[0] = '\0';
    result = terms_send(start->socket, terms);
    if (result == 0 || result == -EPIPE || result == -ECONNRESET)
        return 0;
    return fail(&start->jail, error, "cannot tell the child its ids and filter", result);
}

static bool
runs_its_program(const struct jail_start *start)
{
    return start->socket < 0 && start->executes;
}

/*
 * The last first: it may be in a pid namespace of one before it, which does not end, nor does its death tell anything, as long as
 * a process in it is not reaped.
 */
static int
give_up_all(struct jail_start *const starts[], size_t count, int result, struct jail_error *error)
{
    while (count-- > 0) {
        /* The caller's, who wants to know how it ended. */
        if (count == 0 && runs_its_program(starts[0]))
            break;
        if (starts[count]->died)
            result = tell_death(&starts[count]->jail, starts[count]->process, error);
        give_up(starts[count]);
    }
    return result;
}

/* `dead` has died: of the first's end, where that says why it ends. */
static int
look_for_reason(struct jail_start *first, struct jail_start *dead, int result, struct jail_error *error)
{
    struct pollfd word = { .fd = first->socket, .events = POLLIN };
    int failure = 0;

    while (failure == 0 && first != dead && first->socket >= 0 && poll(&word, 1, 0) == 1)
        failure = hear(first, error);
    if (failure == 0)
        return result;
    dead->died = false;
    return failure;
}

int
jail_attend(struct jail_start *const starts[], size_t count, struct jail_error *error)
{
    struct pollfd words[JAIL_STARTS_MAX];

    if (count > JAIL_STARTS_MAX)
        return fail(&starts[0]->jail, error, "more starts at once than can be attended", -E2BIG);
    while (starts[0]->socket >= 0) {
        for (size_t i = 0; i < count; i++)
            words[i] = (struct pollfd){ .fd = starts[i]->socket, .events = POLLIN };
        if (poll(words, count, -1) < 0 && errno != EINTR)
            return give_up_all(starts, count, fail(&starts[0]->jail, error, "cannot hear the child", -errno), error);
        for (size_t i = 0; i < count; i++) {
            int result = words[i].revents != 0 ? hear(starts[i], error) : 0;

            if (result < 0 && starts[i]->died)
                result = look_for_reason(starts[0], starts[i], result, error);
            if (result < 0)
                return give_up_all(starts, count, result, error);
        }
    }
    return 0;
}

void
jail_leave(struct jail_start *start)
{
    fd_close(&start->socket);
}

int
jail_start(const struct jail *jail, const struct jail_terms *terms, struct jail_process *process, struct jail_error *error)
{
    struct jail_start start;
    int result = jail_begin(jail, &start, process, error);

    if (result < 0)
        return result;
    result = jail_settle(&start, terms, error);
    if (result < 0) {
        give_up(&start);
        return result;
    }
    return jail_attend((struct jail_start *[]){ &start }, 1, error);
}
