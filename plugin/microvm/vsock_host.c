#include "plugin/microvm/vsock_host.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* So long nobody is accepted when the kernel cannot, as where descriptors are short. */
#define PAUSE_MS 100

int
vsock_host_init(struct vsock_host *host, int listener)
{
    *host = (struct vsock_host){ .listener = listener, .watched = -1 };
    return listener < 0 ? 0 : fd_set_nonblocking(listener, true);
}

static bool
has_room(const struct vsock_hub *hub)
{
    return hub->callers < VSOCK_CALLERS_MAX && hub->in_use < VSOCK_CONNECTIONS_MAX;
}

void
vsock_host_accept(struct vsock_host *host, struct vsock_hub *hub)
{
    while (has_room(hub)) {
        int fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            vsock_hub_settle(hub, vsock_hub_add(hub, VSOCK_CALLING, fd));
            continue;
        }
        /* It gave up meanwhile. */
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if (errno != EAGAIN)
            host->pause = clock_milliseconds() + PAUSE_MS;
        return;
    }
}

/* What comes behind the line is the guest's: it stays in the socket. 0: the line is not whole yet; negative: there will be none. */
static int
read_line(struct vsock_connection *connection)
{
    char *end = connection->line + connection->line_size, *newline;
    ssize_t got = recv(connection->fd, end, sizeof connection->line - connection->line_size, MSG_PEEK | MSG_DONTWAIT);
    size_t size;

    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -EPIPE;
    newline = memchr(end, '\n', (size_t)got);
    size = newline != NULL ? (size_t)(newline + 1 - end) : (size_t)got;
    if (recv(connection->fd, end, size, MSG_DONTWAIT) != (ssize_t)size)
        return -EPIPE;
    connection->line_size += size;
    if (newline == NULL)
        return connection->line_size < sizeof connection->line ? 0 : -EMSGSIZE;
    return 1;
}

void
vsock_host_hear(struct vsock_hub *hub, struct vsock_connection *connection)
{
    int result = read_line(connection), fd;
    uint32_t port;

    if (result == 0)
        return;
    if (result < 0 || !vsock_line_parse(connection->line, connection->line_size, &port)) {
        vsock_connection_reset(connection);
        return;
    }
    fd = connection->fd;
    vsock_connection_begin(connection, VSOCK_REQUESTED, fd);
    vsock_hub_set_ports(hub, connection, vsock_hub_choose_port(hub, port), port);
}

void
vsock_host_settle(struct vsock_host *host, struct vsock_hub *hub)
{
    if (host->pause != 0 && host->pause <= clock_milliseconds())
        host->pause = 0;
    if (host->pause != 0)
        vsock_hub_alarm(hub, host->pause);
    if (host->listener >= 0)
        vsock_hub_watch(hub, host->listener, VSOCK_TAG_LISTENER, has_room(hub) && host->pause == 0 ? EPOLLIN : -1, &host->watched);
}
