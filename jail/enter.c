/* The child's way in, step by step. What may be done at all is fixed by the order: each step gives up what the next ones do not need. */
#include "jail/child.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void
child_begin(struct child *child, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(child->step, sizeof child->step, format, arguments);
    va_end(arguments);
}

/* By the kernel's own call: the C library keeps two signals to itself, which a parent may have ignored all the same. */
static void
reset_signals(void)
{
    static const struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } normal = { 0 };

    /* It fails for the two that are never anything else. */
    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, &normal, NULL, sizeof normal.mask);
}

/* All but the pid namespace, in which it was born, and those of the cgroup and of users, which come later. */
static int
make_namespaces(struct child *child)
{
    child_begin(child, "cannot make its namespaces");
    return unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0 ? -errno : 0;
}

/* What a process inherits besides descriptors: signals, session, umask, keys, priority among the host's when memory is short. */
static int
shed_inheritance(struct child *child)
{
    const struct jail *jail = child->jail;
    sigset_t none;
    char score[16];

    child_begin(child, "cannot reset signals");
    reset_signals();
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return -errno;
    child_begin(child, "cannot begin a session");
    if (setsid() < 0)
        return -errno;
    umask(077);
    if (jail->unconfined)
        return 0;
    /* The session keyring of whoever started us would come along, and all keys in it. */
    child_begin(child, "cannot begin a session keyring");
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
        return -errno;
    child_begin(child, "cannot set its host name");
    if (sethostname(jail->name, strlen(jail->name)) < 0)
        return -errno;
    child_begin(child, "cannot set its score for when memory runs out");
    snprintf(score, sizeof score, "%d", jail->oom_score_adjust);
    return fd_write_file(AT_FDCWD, "/proc/self/oom_score_adj", score);
}

int
child_ask(struct child *child, enum child_word word)
{
    struct child_report report = { .word = word };
    char answer;

    if (send(child->socket, &report, sizeof report, MSG_NOSIGNAL) < 0)
        return -errno;
    return recv(child->socket, &answer, sizeof answer, 0) == 1 ? 0 : -EPIPE;
}

/*
 * Set after the ids, since changing them clears it. The parent may have died before, and then nobody sends the signal: so it is asked,
 * and only a parent that was alive with the signal armed can answer. Not getppid(2): it is 0 here, whoever lives.
 */
static int
die_with_parent(struct child *child)
{
    child_begin(child, "cannot be made to die with the supervisor");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -errno;
    return child_ask(child, CHILD_IS_BOUND);
}

static int
drop_privileges(struct child *child)
{
    int result;

    child_begin(child, "cannot drop the capability bounding set");
    result = ids_drop_bounding_set();
    if (result < 0)
        return result;
    child_begin(child, "cannot lock the securebits");
    result = ids_lock_securebits();
    if (result < 0)
        return result;
    child_begin(child, "cannot become uid %u, gid %u", child->terms.uid, child->terms.gid);
    result = ids_change(child);
    if (result < 0)
        return result;
    child_begin(child, "cannot drop capabilities");
    result = ids_drop_capabilities();
    if (result < 0)
        return result;
    child_begin(child, "capabilities or ids could be had back");
    return ids_prove_dropped(child);
}

/* All that takes long, and is the same for every id and filter. */
static int
build(struct child *child)
{
    int result;

    child_begin(child, "cannot set limits");
    result = limits_set(child->jail);
    if (result < 0)
        return result;
    child_begin(child, "cannot make its cgroup namespace");
    if (unshare(CLONE_NEWCGROUP) < 0)
        return -errno;
    return mounts_enter(child);
}

static int
confine(struct child *child)
{
    int result;

    child_begin(child, "cannot give it its room");
    result = mounts_give_room(child);
    if (result < 0)
        return result;
    if (child->jail->user_namespace) {
        child_begin(child, "cannot enter its user namespace");
        result = ids_enter_user_namespace(child);
        if (result < 0)
            return result;
    }
    child_begin(child, "cannot enter its room");
    result = mounts_close_room();
    return result < 0 ? result : drop_privileges(child);
}

static int
execute(struct child *child)
{
    const struct child_report report = { .word = CHILD_EXECUTES };

    if (filter_send(child, &report, -1) >= 0)
        filter_exec(child);
    return -errno;
}

void
child_run(struct child *child)
{
    const struct jail *jail = child->jail;
    int result;

    child_begin(child, "cannot close the supervisor's descriptors");
    result = descriptors_shed(child);
    if (result == 0 && !jail->unconfined)
        result = make_namespaces(child);
    if (result == 0)
        result = shed_inheritance(child);
    if (result == 0 && !jail->unconfined)
        result = build(child);
    if (result == 0) {
        child_begin(child, "cannot hear its ids and filter");
        result = terms_hear(child);
    }
    if (result == 0 && !jail->unconfined)
        result = confine(child);
    if (result == 0)
        result = die_with_parent(child);
    if (result == 0 && !jail->unconfined) {
        child_begin(child, "cannot set no_new_privs");
        result = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
    }
    if (result == 0) {
        child_begin(child, "cannot arrange its descriptors");
        result = descriptors_arrange(child);
    }
    if (result == 0 && child->terms.program != NULL && !jail->unconfined) {
        child_begin(child, "cannot load its system call filter");
        result = filter_load(child);
    }
    if (result == 0) {
        child_begin(child, "cannot execute %s", jail->argv[0]);
        result = execute(child);
    }
    errno = -result;
}
