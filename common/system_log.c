#include "common/system_log.h"

#include "common/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

static struct {
    const char *program, *path;
    int socket;
} system_log = { .socket = -1 };

void
system_log_open(const char *program, const char *path)
{
    fd_close(&system_log.socket);
    system_log.program = program;
    system_log.path = path;
}

static bool
connect_again(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    fd_close(&system_log.socket);
    if (strlcpy(address.sun_path, system_log.path, sizeof address.sun_path) >= sizeof address.sun_path)
        return false;
    system_log.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (system_log.socket < 0 || connect(system_log.socket, (struct sockaddr *)&address, sizeof address) < 0) {
        fd_close(&system_log.socket);
        return false;
    }
    return true;
}

bool
system_log_send(int level, const char *text)
{
    char line[SYSTEM_LOG_LINE_MAX];
    int length = snprintf(line, sizeof line, "<%d>%s[%d]: %s", LOG_DAEMON | level, system_log.program, (int)getpid(), text);
    const size_t size = length < (int)sizeof line ? (size_t)length : sizeof line - 1;

    if (system_log.socket < 0 && !connect_again())
        return false;
    if (send(system_log.socket, line, size, MSG_NOSIGNAL) >= 0)
        return true;
    /* Its queue is full, or it was started again since. */
    return errno != EAGAIN && connect_again() && send(system_log.socket, line, size, MSG_NOSIGNAL) >= 0;
}
