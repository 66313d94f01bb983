#include "supervisor/admin.h"

#include "common/fd.h"
#include "proto/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define ARENA_SIZE (32 * 1024)

struct connection {
    struct admin *admin;
    int fd; /* -1: not in use */
    uid_t uid;
    struct loop_source *source, *timer;
};

struct admin {
    struct loop *loop;
    int fd;
    struct loop_source *source;
    admin_answer *answer;
    void *context;
    struct arena arena;
    struct connection connection[ADMIN_CONNECTIONS_MAX];
};

static int
make_address(const char *base, const char *name, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (snprintf(address->sun_path, sizeof address->sun_path, "%s/%s/" ADMIN_SOCKET_NAME, base, name) >=
        (int)sizeof address->sun_path)
        return -ENAMETOOLONG;
    return 0;
}

int
admin_listen(const struct runtime *runtime, struct admin **out, struct failure *failure)
{
    struct admin *admin = calloc(1, sizeof *admin);
    struct sockaddr_un address;
    int result = make_address(runtime->path, runtime->name, &address);
    mode_t before;

    if (admin == NULL || result < 0 || arena_create(&admin->arena, ARENA_SIZE) < 0) {
        free(admin);
        return failure_set(failure, EX_CANTCREAT, result < 0 ? result : -ENOMEM, "cannot make the control socket in %s: %s",
                           runtime->path, strerror(result < 0 ? -result : ENOMEM));
    }
    for (size_t i = 0; i < ADMIN_CONNECTIONS_MAX; i++)
        admin->connection[i] = (struct connection){ .admin = admin, .fd = -1 };
    admin->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    before = umask(0177);
    if (admin->fd < 0 || bind(admin->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(admin->fd, ADMIN_QUEUE_MAX) < 0)
        result = -errno;
    umask(before);
    if (result < 0) {
        admin_destroy(admin);
        return failure_set(failure, EX_CANTCREAT, result, "cannot make the control socket %s: %s", address.sun_path,
                           strerror(-result));
    }
    *out = admin;
    return 0;
}

static void
drop(struct connection *connection)
{
    loop_remove(&connection->source);
    loop_remove(&connection->timer);
    fd_close(&connection->fd);
    if (connection->admin->source != NULL)
        loop_modify(connection->admin->source, EPOLLIN);
}

static void
on_patience(void *context)
{
    drop(context);
}

static void
answer_request(struct connection *connection, const AdminRequest *request)
{
    struct admin *admin = connection->admin;
    AdminReply reply = ADMIN_REPLY__INIT;
    uint8_t buffer[ADMIN_REPLY_MAX];
    ssize_t size;

    admin->answer(admin->context, request, connection->uid, &reply);
    size = message_pack(&reply.base, buffer, sizeof buffer);
    if (size > 0)
        message_send(connection->fd, buffer, (size_t)size, NULL, 0, MSG_DONTWAIT);
}

static void
on_request(void *context, uint32_t events)
{
    struct connection *connection = context;
    struct admin *admin = connection->admin;
    uint8_t buffer[ADMIN_MESSAGE_MAX];
    struct message_fds fds;
    ssize_t size = message_receive(connection->fd, buffer, sizeof buffer, &fds, 0, MSG_DONTWAIT);
    const AdminRequest *request;

    (void)events;
    if (size > 0) {
        arena_reset(&admin->arena);
        request = message_unpack(&admin->arena, &admin_request__descriptor, buffer, (size_t)size);
        if (request != NULL)
            answer_request(connection, request);
    }
    drop(connection);
}

static struct connection *
find_free(struct admin *admin)
{
    for (size_t i = 0; i < ADMIN_CONNECTIONS_MAX; i++)
        if (admin->connection[i].fd < 0)
            return &admin->connection[i];
    return NULL;
}

static void
on_connection(void *context, uint32_t events)
{
    struct admin *admin = context;
    struct connection *connection = find_free(admin);
    struct ucred peer;
    socklen_t length = sizeof peer;
    int fd;

    (void)events;
    /* Who comes now waits in the queue: turned away, it would take the supervisor for one that hangs. */
    if (connection == NULL) {
        loop_modify(admin->source, 0);
        return;
    }
    fd = accept4(admin->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
        fd_close(&fd);
        return;
    }
    connection->fd = fd;
    connection->uid = peer.uid;
    connection->source = loop_add(admin->loop, fd, EPOLLIN, on_request, connection);
    connection->timer = loop_add_timer(admin->loop, on_patience, connection);
    if (connection->source == NULL || connection->timer == NULL || loop_set_timer(connection->timer, ADMIN_PATIENCE) < 0)
        drop(connection);
}

int
admin_serve(struct admin *admin, struct loop *loop, admin_answer *answer, void *context)
{
    admin->loop = loop;
    admin->answer = answer;
    admin->context = context;
    admin->source = loop_add(loop, admin->fd, EPOLLIN, on_connection, admin);
    return admin->source == NULL ? -errno : 0;
}

void
admin_destroy(struct admin *admin)
{
    if (admin == NULL)
        return;
    loop_remove(&admin->source);
    for (size_t i = 0; i < ADMIN_CONNECTIONS_MAX; i++)
        drop(&admin->connection[i]);
    fd_close(&admin->fd);
    arena_destroy(&admin->arena);
    free(admin);
}

static int
connect_to(const char *base, const char *name)
{
    struct timeval patience = { .tv_sec = ADMIN_ANSWER_TIME };
    struct sockaddr_un address;
    int result = make_address(base, name, &address), fd;

    if (result < 0)
        return result;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* A supervisor that is stopped does not answer. */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        result = -errno;
        fd_close(&fd);
        return result;
    }
    return fd;
}

static void
read_balloon(const AdminBalloonState *state, struct admin_balloon *balloon)
{
    *balloon = (struct admin_balloon){
        .target = state->target, .size = state->size, .count = state->count, .present = state->present,
    };
    for (size_t i = 0; i < state->n_value && i < HOST_STATISTICS_MAX; i++)
        balloon->value[i] = state->value[i];
}

static void
read_statistics(const AdminStatisticsState *state, struct admin_statistics *statistics)
{
    statistics->count = state->count;
    statistics->pending = state->pending != 0;
    statistics->vcpus = MIN(state->n_value, STATISTICS_MAX) / STATISTICS_COLUMNS;
    for (size_t i = 0; i < statistics->vcpus * STATISTICS_COLUMNS; i++)
        statistics->value[i] = state->value[i];
}

static int
read_reply(const uint8_t *buffer, size_t size, struct admin_status *status)
{
    struct arena arena;
    const AdminReply *reply;
    int result = arena_create(&arena, ARENA_SIZE);

    if (result < 0)
        return result;
    reply = message_unpack(&arena, &admin_reply__descriptor, buffer, size);
    if (reply == NULL) {
        result = -EBADMSG;
    } else {
        *status = (struct admin_status){
            .error = (int)reply->error, .vmproc = (pid_t)reply->vmproc_pid, .plugin = (pid_t)reply->plugin_pid, .grace = reply->grace,
        };
        strlcpy(status->state, reply->state, sizeof status->state);
        if (reply->balloon != NULL)
            read_balloon(reply->balloon, &status->balloon);
        if (reply->statistics != NULL)
            read_statistics(reply->statistics, &status->statistics);
    }
    arena_destroy(&arena);
    return result;
}

static int
ask(const char *base, const char *name, const AdminRequest *request, struct admin_status *status)
{
    uint8_t buffer[ADMIN_REPLY_MAX];
    struct message_fds fds;
    int socket = connect_to(base, name), result;
    ssize_t size;

    if (socket < 0)
        return socket;
    size = message_pack(&request->base, buffer, sizeof buffer);
    result = size < 0 ? (int)size : message_send(socket, buffer, (size_t)size, NULL, 0, 0);
    if (result == 0) {
        size = message_receive(socket, buffer, sizeof buffer, &fds, 0, 0);
        if (size > 0)
            result = read_reply(buffer, (size_t)size, status);
        else
            result = size == 0 ? -EPIPE : (int)size;
    }
    fd_close(&socket);
    return result;
}

int
admin_ask(const char *base, const char *name, enum admin_request wanted, struct admin_status *status)
{
    AdminRequest request = ADMIN_REQUEST__INIT;
    AdminStop stop = ADMIN_STOP__INIT;
    AdminStatus just_status = ADMIN_STATUS__INIT;

    stop.now = wanted == ADMIN_STOP_NOW;
    request.message_case = wanted == ADMIN_STATUS ? ADMIN_REQUEST__MESSAGE_STATUS : ADMIN_REQUEST__MESSAGE_STOP;
    if (wanted == ADMIN_STATUS)
        request.status = &just_status;
    else
        request.stop = &stop;
    return ask(base, name, &request, status);
}

int
admin_ask_balloon(const char *base, const char *name, const uint64_t *size, bool statistics, struct admin_status *status)
{
    AdminRequest request = ADMIN_REQUEST__INIT;
    AdminBalloon balloon = ADMIN_BALLOON__INIT;

    balloon.set = size != NULL;
    balloon.size = size != NULL ? *size : 0;
    balloon.ask = statistics;
    request.message_case = ADMIN_REQUEST__MESSAGE_BALLOON;
    request.balloon = &balloon;
    return ask(base, name, &request, status);
}

int
admin_ask_statistics(const char *base, const char *name, bool wanted, struct admin_status *status)
{
    AdminRequest request = ADMIN_REQUEST__INIT;
    AdminStatistics statistics = ADMIN_STATISTICS__INIT;

    statistics.ask = wanted;
    request.message_case = ADMIN_REQUEST__MESSAGE_STATISTICS;
    request.statistics = &statistics;
    return ask(base, name, &request, status);
}
