#include "vmproc/server.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* So that the largest answer fits: what the kernel allows an ordinary process (net.core.wmem_max) is enough by default. */
#define SEND_BUFFER (2 * WIRE_RESPONSE_MAX)

static void connection_ready(void *context, uint32_t events);

static void
pending_clear(struct pending_answer *pending)
{
    for (size_t i = 0; i < pending->fd_count; i++)
        if (pending->fd[i].owner != REPLY_FD_VM)
            fd_close(&pending->fd[i].fd);
    pending->fd_count = 0;
    free(pending->data);
    pending->data = NULL;
}

static void
connection_drop(struct connection *connection)
{
    LIST_REMOVE(connection, link);
    connection->server->connection_count--;
    loop_remove(&connection->source);
    loop_remove(&connection->timer);
    pending_clear(&connection->pending);
    fd_close(&connection->fd);
    free(connection);
}

static void
connection_break(struct connection *connection, const char *what, int error)
{
    if (error == 0)
        vm_complain(connection->server->vm, "a connection of the plugin's is dropped: %s", what);
    else
        vm_complain(connection->server->vm, "a connection of the plugin's is dropped: %s: %s", what, strerror(error));
    connection_drop(connection);
}

static int
connection_add(struct server *server, int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);
    const int size = SEND_BUFFER;
    socklen_t length = sizeof(int);
    int present = 0;

    if (connection == NULL)
        return -ENOMEM;
    /*
     * Never to less than there is: the first connection comes with what the supervisor gave it. Where the kernel allows
     * less, an answer that does not fit is E2BIG.
     */
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &present, &length) < 0 || present < size)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    connection->server = server;
    connection->fd = fd;
    connection->source = loop_add(server->loop, fd, EPOLLIN, connection_ready, connection);
    if (connection->source == NULL) {
        int error = errno;

        free(connection);
        return -error;
    }
    LIST_INSERT_HEAD(&server->connections, connection, link);
    server->connection_count++;
    return 0;
}

void
reply_close_fds(struct reply *reply)
{
    for (size_t i = 0; i < reply->fd_count; i++)
        if (reply->fd[i].owner == REPLY_FD_GIVEN)
            fd_close(&reply->fd[i].fd);
    reply->fd_count = 0;
    fd_close(&reply->new_connection);
}

static int
send_with_fds(int socket, const void *data, size_t size, const struct reply_fd *fds, size_t count)
{
    int numbers[WIRE_RESPONSE_FDS_MAX];

    for (size_t i = 0; i < count; i++)
        numbers[i] = fds[i].fd;
    return message_send(socket, data, size, numbers, count, MSG_DONTWAIT);
}

/*
 * Keeps the answer until the socket has room. Descriptors that another request may close are duplicated; those that are
 * given move here.
 */
static int
keep_answer(struct pending_answer *pending, const void *data, size_t size, struct reply *reply)
{
    pending->data = malloc(size);
    if (pending->data == NULL)
        return -ENOMEM;
    memcpy(pending->data, data, size);
    pending->size = size;
    for (size_t i = 0; i < reply->fd_count; i++) {
        struct reply_fd kept = reply->fd[i];

        if (kept.owner == REPLY_FD_OBJECT)
            kept.fd = fcntl(kept.fd, F_DUPFD_CLOEXEC, 0);
        if (kept.fd < 0) {
            int error = errno;

            pending_clear(pending);
            return -error;
        }
        if (kept.owner == REPLY_FD_GIVEN)
            reply->fd[i].fd = -1;
        pending->fd[pending->fd_count++] = kept;
    }
    return 0;
}

static void
connection_read_again(void *context)
{
    struct connection *connection = context;

    loop_remove(&connection->timer);
    connection->source = loop_add(connection->server->loop, connection->fd, EPOLLIN, connection_ready, connection);
    if (connection->source == NULL)
        connection_break(connection, "it cannot be watched", errno);
}

/* The connection is not read for a while: requests stay in its socket, and the plugin waits. */
static int
connection_slow_down(struct connection *connection, uint64_t nanoseconds)
{
    loop_remove(&connection->source);
    connection->timer = loop_add_timer(connection->server->loop, connection_read_again, connection);
    if (connection->timer == NULL)
        return -errno;
    return loop_set_timer(connection->timer, (int64_t)(nanoseconds / 1000000 + 1));
}

/* Packs and sends. 0 also where the answer waits for room; a negative errno: the connection is of no use any more. */
static int
send_reply(struct connection *connection, struct reply *reply)
{
    struct server *server = connection->server;
    ssize_t size = message_pack(&reply->message.base, server->response, sizeof server->response);
    int result;

    if (size < 0)
        return (int)size;
    /* An empty datagram would mean the end: an answer is never empty. */
    result = send_with_fds(connection->fd, server->response, (size_t)size, reply->fd, reply->fd_count);
    if (result == -EAGAIN) {
        result = keep_answer(&connection->pending, server->response, (size_t)size, reply);
        if (result == 0)
            result = loop_modify(connection->source, EPOLLOUT);
    }
    return result;
}

/* Instead of an answer that cannot be sent: the errno alone. */
static int
send_error(struct connection *connection, int error)
{
    struct reply *reply = &connection->server->reply;

    reply_close_fds(reply);
    main_response__init(&reply->message);
    reply->message.error = error;
    return send_reply(connection, reply);
}

static int
answer(struct connection *connection, struct reply *reply)
{
    int result = send_reply(connection, reply);

    /* Larger than the socket takes, or too many descriptors on their way: the request fails, the connection lives. */
    if (result == -EMSGSIZE)
        return send_error(connection, E2BIG);
    if (result == -ETOOMANYREFS || result == -ENOMEM || result == -ENOBUFS || result == -EMFILE)
        return send_error(connection, -result);
    return result;
}

/* The client was told of a failure, so that the object it wanted must not be there. */
static void
undo(struct server *server, const MainRequest *message)
{
    struct object *object;

    if (message->message_case != MAIN_REQUEST__MESSAGE_CREATE)
        return;
    object = objects_find(&server->vm->objects, message->create->id);
    if (object != NULL)
        object_destroy(server->vm, object);
}

static void
serve_request(struct connection *connection, const MainRequest *message, struct message_fds *fds)
{
    struct server *server = connection->server;
    const struct main_request request = {
        .message = message,
        .fds = fds,
        .connections_left = server->connection_count < LIMIT_CONNECTIONS,
    };
    struct reply *reply = &server->reply;
    bool served;
    int result;

    arena_reset(&server->reply_arena);
    dispatch_main_request(server->vm, &request, &server->reply_arena, reply);
    served = reply->message.error == 0;
    if (reply->new_connection >= 0 && connection_add(server, reply->new_connection) == 0)
        reply->new_connection = -1;
    result = reply->new_connection >= 0 ? send_error(connection, ENOMEM) : answer(connection, reply);
    reply_close_fds(reply);
    if (served && reply->message.error != 0)
        undo(server, message);
    /* An answer that waits for room slows it down enough. */
    if (result == 0 && reply->wait_nanoseconds > 0 && connection->pending.data == NULL)
        result = connection_slow_down(connection, reply->wait_nanoseconds);
    if (result < 0)
        connection_break(connection, "an answer cannot be sent", -result);
}

static void
receive_request(struct connection *connection)
{
    struct server *server = connection->server;
    struct message_fds fds;
    const MainRequest *message;
    ssize_t size = message_receive(connection->fd, server->request, sizeof server->request, &fds, WIRE_REQUEST_FDS_MAX,
                                   MSG_DONTWAIT);

    if (size == -EAGAIN)
        return;
    if (size == 0) {
        message_close_fds(&fds);
        connection_drop(connection);
        return;
    }
    if (size < 0) {
        connection_break(connection,
                         size == -EMSGSIZE ? "a request is too long, or has too many descriptors"
                                           : "receiving a request",
                         size == -EMSGSIZE ? 0 : (int)-size);
        return;
    }
    arena_reset(&server->request_arena);
    message = message_unpack(&server->request_arena, &main_request__descriptor, server->request, (size_t)size);
    if (message == NULL)
        connection_break(connection, "a request cannot be decoded", 0);
    else
        serve_request(connection, message, &fds);
    message_close_fds(&fds);
}

static void
send_pending(struct connection *connection)
{
    struct pending_answer *pending = &connection->pending;
    int result = send_with_fds(connection->fd, pending->data, pending->size, pending->fd, pending->fd_count);

    if (result == -EAGAIN)
        return;
    pending_clear(pending);
    if (result == 0)
        result = loop_modify(connection->source, EPOLLIN);
    if (result < 0)
        connection_break(connection, "an answer cannot be sent", -result);
}

static void
connection_ready(void *context, uint32_t events)
{
    struct connection *connection = context;

    (void)events;
    if (connection->pending.data != NULL)
        send_pending(connection);
    else
        receive_request(connection);
}

int
server_create(struct server *server, struct loop *loop, struct vm *vm, int plugin)
{
    int result;

    server->loop = loop;
    server->vm = vm;
    LIST_INIT(&server->connections);
    result = arena_create(&server->request_arena, LIMIT_REQUEST_ARENA);
    if (result == 0)
        result = arena_create(&server->reply_arena, LIMIT_REPLY_ARENA);
    if (result == 0)
        result = connection_add(server, plugin);
    if (result < 0)
        fd_close(&plugin);
    return result;
}

void
server_destroy(struct server *server)
{
    while (!LIST_EMPTY(&server->connections))
        connection_drop(LIST_FIRST(&server->connections));
    arena_destroy(&server->request_arena);
    arena_destroy(&server->reply_arena);
}
