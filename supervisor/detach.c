#include "supervisor/detach.h"

#include "common/fd.h"
#include "common/log.h"
#include "supervisor/exit_codes.h"
#include "supervisor/failure.h"
#include "supervisor/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct report {
    int exit_code;
    char text[FAILURE_TEXT_MAX];
};

/* The supervisor must not keep what its caller's terminal or pipe is. */
static void
leave_terminal(int *null)
{
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++)
        if (dup2(*null, number) < 0)
            log_warn("the supervisor keeps descriptor %d of who started it: %s", number, strerror(errno));
    fd_close(null);
}

/* Until there is something to hear. What asks the caller to end is the supervisor's to obey; a zombie at most, it keeps its pid. */
static void
pass_signals(int report, int signals, pid_t supervisor)
{
    struct pollfd both[] = { { .fd = report, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
    struct signalfd_siginfo signal;

    while (both[0].revents == 0) {
        if (poll(both, 2, -1) < 0 && errno != EINTR)
            return;
        if (both[0].revents == 0 && both[1].revents != 0 && read(signals, &signal, sizeof signal) == sizeof signal)
            kill(supervisor, (int)signal.ssi_signo);
    }
}

/* The parent's part. */
static int
hear_report(int *end)
{
    struct report heard;

    if (fd_read_all(*end, &heard, sizeof heard) < 0) {
        strlcpy(heard.text, "the supervisor died before the VM ran", sizeof heard.text);
        heard.exit_code = EXIT_SUPERVISOR;
    }
    fd_close(end);
    heard.text[sizeof heard.text - 1] = '\0';
    if (heard.text[0] != '\0')
        log_error("%s", heard.text);
    return heard.exit_code;
}

int
detach_fork(struct detach *detach, int *exit_code)
{
    int ends[2], signals, result = 0;
    sigset_t set;
    pid_t pid;

    detach->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (detach->null < 0)
        return -errno;
    interrupt_hold();
    pid = pipe2(ends, O_CLOEXEC) < 0 ? -1 : fork();
    if (pid < 0)
        result = -errno;
    if (pid == 0) {
        fd_close(&ends[0]);
        detach->report = ends[1];
        setsid();
        if (chdir("/") < 0)
            log_debug("the supervisor stays in the folder it was started in");
        return 0;
    }
    fd_close(&detach->null);
    if (result < 0)
        return result;
    fd_close(&ends[1]);
    interrupt_fill(&set);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    pass_signals(ends[0], signals, pid);
    fd_close(&signals);
    *exit_code = hear_report(&ends[0]);
    return 1;
}

void
detach_report(struct detach *detach, int exit_code, const char *text)
{
    struct report said = { .exit_code = exit_code };

    if (detach->report < 0)
        return;
    if (text != NULL)
        strlcpy(said.text, text, sizeof said.text);
    if (fd_write_all(detach->report, &said, sizeof said) < 0)
        log_debug("who started this VM did not wait");
    /* The terminal first: the caller may look for the end of what is written to it. */
    leave_terminal(&detach->null);
    fd_close(&detach->report);
}
