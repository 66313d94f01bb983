#include "plugin/microvm/vsock_hub.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define UNWATCHED (-1)

/* --- Beginning and end. */

int
vsock_hub_init(struct vsock_hub *hub, uint32_t patience_ms)
{
    int watched = UNWATCHED;

    hub->patience_ms = patience_ms;
    TAILQ_INIT(&hub->ready);
    TAILQ_INIT(&hub->waiting);
    for (size_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++)
        hub->connection[i] = (struct vsock_connection){ .fd = -1, .watched = UNWATCHED };
    vsock_hub_clear(hub);
    hub->epoll = epoll_create1(EPOLL_CLOEXEC);
    hub->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (hub->epoll < 0 || hub->timer < 0)
        return -errno;
    return vsock_hub_watch(hub, hub->timer, VSOCK_TAG_TIMER, EPOLLIN, &watched);
}

void
vsock_hub_clear(struct vsock_hub *hub)
{
    hub->next_port = VSOCK_HOST_PORT_MIN;
    for (size_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++) {
        if (hub->connection[i].state == VSOCK_FREE)
            continue;
        vsock_connection_drop(&hub->connection[i]);
        vsock_hub_settle(hub, &hub->connection[i]);
    }
}

void
vsock_hub_destroy(struct vsock_hub *hub)
{
    vsock_hub_clear(hub);
    fd_close(&hub->epoll);
    fd_close(&hub->timer);
}

/* --- Waiting. */

int
vsock_hub_watch(struct vsock_hub *hub, int fd, uint64_t tag, int events, int *watched)
{
    struct epoll_event event = { .events = events > 0 ? (uint32_t)events : 0, .data.u64 = tag };
    int operation = *watched == UNWATCHED ? EPOLL_CTL_ADD : events == UNWATCHED ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;

    if (events == *watched)
        return 0;
    if (epoll_ctl(hub->epoll, operation, fd, &event) < 0)
        return -errno;
    *watched = events;
    return 0;
}

static void
set_timer(struct vsock_hub *hub, int64_t when)
{
    struct itimerspec time = { .it_value = { .tv_sec = when / 1000, .tv_nsec = when % 1000 * 1000000 } };

    hub->alarm = when;
    timerfd_settime(hub->timer, TFD_TIMER_ABSTIME, &time, NULL);
}

void
vsock_hub_alarm(struct vsock_hub *hub, int64_t when)
{
    if (hub->alarm == 0 || when < hub->alarm)
        set_timer(hub, when);
}

/* All have the same patience, so whoever comes last waits longest. */
static void
start_waiting(struct vsock_hub *hub, struct vsock_connection *connection)
{
    connection->is_waiting = true;
    connection->deadline = clock_milliseconds() + hub->patience_ms;
    TAILQ_INSERT_TAIL(&hub->waiting, connection, waiting);
    hub->callers++;
    vsock_hub_alarm(hub, connection->deadline);
}

static void
stop_waiting(struct vsock_hub *hub, struct vsock_connection *connection)
{
    if (!connection->is_waiting)
        return;
    connection->is_waiting = false;
    TAILQ_REMOVE(&hub->waiting, connection, waiting);
    hub->callers--;
}

void
vsock_hub_expire(struct vsock_hub *hub)
{
    struct vsock_connection *first;
    uint64_t count;
    int64_t now = clock_milliseconds();

    if (read(hub->timer, &count, sizeof count) < 0 && errno != EAGAIN)
        return;
    hub->alarm = 0;
    while ((first = TAILQ_FIRST(&hub->waiting)) != NULL && first->deadline <= now) {
        vsock_connection_reset(first);
        vsock_hub_settle(hub, first);
    }
    if (first != NULL)
        vsock_hub_alarm(hub, first->deadline);
}

/* --- Who is there. */

static size_t
index_of(const struct vsock_hub *hub, const struct vsock_connection *connection)
{
    return (size_t)(connection - hub->connection);
}

static size_t
bucket_of(uint32_t host_port, uint32_t guest_port)
{
    return (host_port * 31 + guest_port) % VSOCK_BUCKETS;
}

struct vsock_connection *
vsock_hub_add(struct vsock_hub *hub, enum vsock_state state, int fd)
{
    for (size_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++) {
        struct vsock_connection *connection = &hub->connection[i];

        if (connection->state != VSOCK_FREE)
            continue;
        vsock_connection_begin(connection, state, fd);
        hub->in_use++;
        if (state == VSOCK_CALLING)
            start_waiting(hub, connection);
        return connection;
    }
    return NULL;
}

void
vsock_hub_set_ports(struct vsock_hub *hub, struct vsock_connection *connection, uint32_t host_port, uint32_t guest_port)
{
    connection->host_port = host_port;
    connection->guest_port = guest_port;
    connection->has_ports = true;
    LIST_INSERT_HEAD(&hub->bucket[bucket_of(host_port, guest_port)], connection, same);
}

struct vsock_connection *
vsock_hub_find(struct vsock_hub *hub, uint32_t host_port, uint32_t guest_port)
{
    struct vsock_connection *connection = LIST_FIRST(&hub->bucket[bucket_of(host_port, guest_port)]);

    while (connection != NULL && (connection->host_port != host_port || connection->guest_port != guest_port))
        connection = LIST_NEXT(connection, same);
    return connection;
}

uint32_t
vsock_hub_choose_port(struct vsock_hub *hub, uint32_t guest_port)
{
    uint32_t port;

    /* There are fewer connections than ports. */
    do {
        port = hub->next_port;
        hub->next_port = port == VSOCK_HOST_PORT_MAX ? VSOCK_HOST_PORT_MIN : port + 1;
    } while (vsock_hub_find(hub, port, guest_port) != NULL);
    return port;
}

uint64_t
vsock_hub_token(const struct vsock_hub *hub, const struct vsock_connection *connection)
{
    return (uint64_t)connection->generation << 32 | index_of(hub, connection);
}

struct vsock_connection *
vsock_hub_by_token(struct vsock_hub *hub, uint64_t token)
{
    struct vsock_connection *connection = &hub->connection[(uint32_t)token % VSOCK_CONNECTIONS_MAX];

    return connection->state != VSOCK_FREE && vsock_hub_token(hub, connection) == token ? connection : NULL;
}

static void
take_back(struct vsock_hub *hub, struct vsock_connection *connection)
{
    stop_waiting(hub, connection);
    if (connection->has_ports)
        LIST_REMOVE(connection, same);
    if (connection->is_ready)
        TAILQ_REMOVE(&hub->ready, connection, ready);
    connection->has_ports = connection->is_ready = false;
    connection->generation++;
    hub->in_use--;
}

/* --- Whose turn it is. */

static void
settle_turn(struct vsock_hub *hub, struct vsock_connection *connection)
{
    bool is_ready = vsock_connection_has_something(connection);

    if (is_ready == connection->is_ready)
        return;
    connection->is_ready = is_ready;
    if (is_ready)
        TAILQ_INSERT_TAIL(&hub->ready, connection, ready);
    else
        TAILQ_REMOVE(&hub->ready, connection, ready);
}

/* A descriptor that was closed is not waited for any more. One that cannot be waited for ends its connection. */
static void
settle_socket(struct vsock_hub *hub, struct vsock_connection *connection)
{
    if (connection->fd < 0)
        connection->watched = UNWATCHED;
    else if (vsock_hub_watch(hub, connection->fd, index_of(hub, connection), vsock_connection_wants(connection),
                             &connection->watched) < 0) {
        vsock_connection_reset(connection);
        connection->watched = UNWATCHED;
    }
}

void
vsock_hub_settle(struct vsock_hub *hub, struct vsock_connection *connection)
{
    settle_socket(hub, connection);
    if (connection->state == VSOCK_FREE) {
        take_back(hub, connection);
        return;
    }
    if (connection->state != VSOCK_CALLING && connection->state != VSOCK_REQUESTED)
        stop_waiting(hub, connection);
    settle_turn(hub, connection);
}

struct vsock_connection *
vsock_hub_next(struct vsock_hub *hub)
{
    struct vsock_connection *connection = TAILQ_FIRST(&hub->ready);

    if (connection == NULL)
        return NULL;
    TAILQ_REMOVE(&hub->ready, connection, ready);
    TAILQ_INSERT_TAIL(&hub->ready, connection, ready);
    return connection;
}
