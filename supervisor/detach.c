#include "supervisor/detach.h"

#include "common/fd.h"
#include "common/log.h"
#include "supervisor/exit_codes.h"
#include "supervisor/failure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct report {
    int exit_code;
    char text[FAILURE_TEXT_MAX];
};

/* The supervisor must not keep what its caller's terminal or pipe is. */
static void
leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return;
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    if (null > STDERR_FILENO)
        fd_close(&null);
}

int
detach_fork(int *report, int *exit_code)
{
    struct report heard;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid = fork();
    if (pid < 0) {
        int result = -errno;

        fd_close_all(ends, 2);
        return result;
    }
    if (pid == 0) {
        fd_close(&ends[0]);
        *report = ends[1];
        setsid();
        if (chdir("/") < 0)
            log_debug("the supervisor stays in the folder it was started in");
        return 0;
    }
    fd_close(&ends[1]);
    if (fd_read_all(ends[0], &heard, sizeof heard) < 0) {
        strlcpy(heard.text, "the supervisor died before the VM ran", sizeof heard.text);
        heard.exit_code = EXIT_SUPERVISOR;
    }
    fd_close(&ends[0]);
    heard.text[sizeof heard.text - 1] = '\0';
    if (heard.text[0] != '\0')
        log_error("%s", heard.text);
    *exit_code = heard.exit_code;
    return 1;
}

void
detach_report(int *report, int exit_code, const char *text)
{
    struct report said = { .exit_code = exit_code };

    if (*report < 0)
        return;
    if (text != NULL)
        strlcpy(said.text, text, sizeof said.text);
    if (fd_write_all(*report, &said, sizeof said) < 0)
        log_debug("who started this VM did not wait");
    fd_close(report);
    leave_terminal();
}
