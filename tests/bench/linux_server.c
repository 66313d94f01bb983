#include "linux_server.h"

#include "linux_work.h"

#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK (128 << 10)

static void
serve(int fd)
{
    static char block[BLOCK];
    char work;
    ssize_t size;

    if (read(fd, &work, 1) != 1)
        return;
    switch (work) {
    case LINUX_SINK:
        while ((size = read(fd, block, sizeof block)) > 0)
            ;
        if (size == 0 && write(fd, block, 1) != 1)
            warn("the answer");
        break;
    case LINUX_SOURCE:
        while (write(fd, block, sizeof block) > 0)
            ;
        break;
    case LINUX_ECHO:
        while ((size = read(fd, block, sizeof block)) > 0 && write(fd, block, (size_t)size) == size)
            ;
        break;
    default:
        warnx("the guest asked for %#x", (unsigned)work);
    }
}

static void
run(int listener)
{
    const int on = 1;

    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            err(1, "accept");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        serve(fd);
        close(fd);
    }
}

pid_t
linux_server_start(void)
{
    const struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(LINUX_PORT), .sin_addr.s_addr = htonl(INADDR_ANY) };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    pid_t pid;

    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (const struct sockaddr *)&any, sizeof any) < 0 || listen(listener, 4) < 0)
        err(1, "port %d", LINUX_PORT);
    pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(listener);
        _exit(0);
    }
    close(listener);
    return pid;
}
