/* `vmsup stop NAME`: asks the supervisor, and waits until the VM is gone. */
#include "common/fd.h"
#include "common/log.h"
#include "supervisor/admin.h"
#include "supervisor/cgroup.h"
#include "supervisor/options.h"
#include "supervisor/runtime.h"
#include "supervisor/verb.h"
#include "supervisor/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

/* Beyond the grace time, which the supervisor tells: what clean-up may take, in milliseconds. */
#define STOP_PATIENCE 10000
/* A supervisor that is making its socket, or has just closed it: how long, and how often, it is asked again, in milliseconds. */
#define STOP_ASK_TIME 3000
#define STOP_ASK_STEP 20

struct stop {
    const char *base, *name;
    bool now;
};

static int
parse(int argc, char **argv, struct stop *stop)
{
    static const struct option options[] = {
        { "now", no_argument, NULL, 'n' }, { "runtime-dir", required_argument, NULL, 'r' }, { 0 },
    };
    int option;

    *stop = (struct stop){ .base = OPTIONS_RUNTIME_DIR_DEFAULT };
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'n')
            stop->now = true;
        else if (option == 'r')
            stop->base = optarg;
        else
            return -EINVAL;
    }
    if (argc - optind != 1)
        return -EINVAL;
    stop->name = argv[optind];
    return 0;
}

/* The supervisor was killed: what it left is removed here. */
static int
clear_leftovers(const struct stop *stop)
{
    char group[NAME_QUALIFIED_MAX];
    struct runtime runtime;
    struct failure failure;
    int result = runtime_open_leftover(stop->base, stop->name, &runtime, &failure);

    if (result < 0) {
        log_error("%s", failure.text);
        return failure.exit_code;
    }
    name_qualify(stop->name, stop->base, OPTIONS_RUNTIME_DIR_DEFAULT, group);
    result = cgroup_remove_leftover(group);
    if (result < 0)
        log_warn("the cgroup of %s could not be removed: %s", stop->name, strerror(-result));
    runtime_write_reason(&runtime, EX_SOFTWARE, "its supervisor was killed; what it left was cleared");
    runtime_remove(&runtime);
    log_info("%s: its supervisor was killed; what it left was cleared", stop->name);
    return EX_OK;
}

static int
tell_how_it_ended(const struct stop *stop)
{
    struct runtime_entry entry;
    struct failure failure;

    if (runtime_look(stop->base, stop->name, &entry, &failure) < 0)
        return EX_OK;
    /* Somebody killed it meanwhile. */
    if (entry.state == RUNTIME_LEFTOVER)
        return clear_leftovers(stop);
    if (entry.state == RUNTIME_STOPPED)
        log_info("%s: %s", stop->name, entry.reason.text);
    return EX_OK;
}

static bool
is_gone(int pidfd, int milliseconds)
{
    struct pollfd gone = { .fd = pidfd, .events = POLLIN };

    return poll(&gone, 1, milliseconds) > 0;
}

/* A supervisor that does not answer, or does not end, is stopped or stuck: it is killed, and its VM with it. */
static void
kill_supervisor(const struct stop *stop, int pidfd, const char *why)
{
    log_warn("%s: %s: it is killed", stop->name, why);
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    is_gone(pidfd, STOP_PATIENCE);
}

static int
wait_for_end(int pidfd, unsigned int grace)
{
    /* The guest's and the plugin's. */
    const unsigned int most = 2 * OPTIONS_GRACE_MAX;
    const int limit = STOP_PATIENCE + (int)(grace < most ? grace : most);

    return is_gone(pidfd, limit) ? 0 : -ETIMEDOUT;
}

/* Asks a supervisor that may not have its socket yet, or not any more. */
static int
ask_to_end(const struct stop *stop, int pidfd, struct admin_status *status)
{
    int result = -ENOENT;

    for (int waited = 0; waited < STOP_ASK_TIME; waited += STOP_ASK_STEP) {
        result = admin_ask(stop->base, stop->name, stop->now ? ADMIN_STOP_NOW : ADMIN_STOP, status);
        if (result != -ENOENT && result != -ECONNREFUSED && result != -ECONNRESET && result != -EPIPE)
            return result;
        if (is_gone(pidfd, STOP_ASK_STEP))
            return 0;
    }
    return result;
}

/* By the pid that its folder names; that pid may have become another's since it was read, so it is read again. */
static int
open_supervisor(const struct stop *stop, pid_t pid)
{
    int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    struct runtime_entry entry;
    struct failure failure;

    if (pidfd >= 0 && (runtime_look(stop->base, stop->name, &entry, &failure) < 0 || entry.state != RUNTIME_RUNNING || entry.pid != pid))
        fd_close(&pidfd);
    return pidfd;
}

static int
stop_running(const struct stop *stop, pid_t pid)
{
    int pidfd = open_supervisor(stop, pid), result;
    struct admin_status status = { 0 };
    char why[128];

    if (pidfd < 0) {
        log_error("%s: its supervisor cannot be found now: try again", stop->name);
        return EX_TEMPFAIL;
    }
    result = ask_to_end(stop, pidfd, &status);
    if (result == 0)
        result = wait_for_end(pidfd, status.grace);
    if (result < 0) {
        snprintf(why, sizeof why, "its supervisor does not %s (%s)", result == -ETIMEDOUT ? "end" : "answer", strerror(-result));
        kill_supervisor(stop, pidfd, why);
    }
    fd_close(&pidfd);
    return result < 0 ? clear_leftovers(stop) : tell_how_it_ended(stop);
}

int
stop_main(int argc, char **argv)
{
    struct runtime_entry entry;
    struct failure failure;
    struct stop stop;

    if (parse(argc, argv, &stop) < 0) {
        log_error("usage: vmsup stop [--now] [--runtime-dir DIR] NAME");
        return EX_USAGE;
    }
    if (verb_check_name(stop.name) != EX_OK)
        return EX_USAGE;
    if (runtime_look(stop.base, stop.name, &entry, &failure) < 0) {
        log_error("%s", failure.text);
        return failure.exit_code;
    }
    switch (entry.state) {
    case RUNTIME_RUNNING:
        return stop_running(&stop, entry.pid);
    case RUNTIME_LEFTOVER:
        return clear_leftovers(&stop);
    default:
        log_error("%s is not running: %s", stop.name, entry.reason.text);
        return EX_UNAVAILABLE;
    }
}
