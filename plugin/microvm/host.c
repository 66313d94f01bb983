#include "plugin/microvm/host.h"

#include "common/fd.h"
#include "common/log.h"
#include "proto/host.h"
#include "proto/host.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#define ERRNO_MAX 4095

int
host_init(struct host *host, int socket)
{
    *host = (struct host){ .socket = socket < 0 ? -1 : socket, .closed = socket < 0 };
    return socket < 0 ? 0 : arena_create(&host->arena, HOST_ARENA_SIZE);
}

void
host_on_power_button(struct host *host, void (*button)(void *context), void *context)
{
    host->button = button;
    host->button_context = context;
}

void
host_on_balloon(struct host *host, const struct host_balloon *balloon)
{
    host->balloon = *balloon;
}

void
host_on_vsock(struct host *host, void (*connected)(void *context, uint64_t token, int result), void *context)
{
    host->connected = connected;
    host->connected_context = context;
}

static int
send_message(struct host *host, const FromMachine *message)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    ssize_t size;

    if (__atomic_load_n(&host->closed, __ATOMIC_ACQUIRE))
        return -EPIPE;
    size = message_pack(&message->base, buffer, sizeof buffer);
    return size < 0 ? (int)size : message_send(host->socket, buffer, (size_t)size, NULL, 0, MSG_DONTWAIT);
}

/* A socket without an error, or an error without a socket. */
static int
take_connected(struct host *host, const HostVsockConnected *answer, struct message_fds *fds)
{
    int result;

    if (host->connected == NULL || answer->error > ERRNO_MAX || fds->count != (answer->error == 0 ? 1 : 0))
        return -EPROTO;
    result = answer->error == 0 ? fd_take(&fds->fd[0]) : -(int)answer->error;
    host->connected(host->connected_context, answer->token, result);
    return 0;
}

static int
take_message(struct host *host, const ToMachine *message, struct message_fds *fds)
{
    if (message->message_case == TO_MACHINE__MESSAGE_VSOCK_CONNECTED)
        return take_connected(host, message->vsock_connected, fds);
    if (fds->count != 0)
        return -EPROTO;
    switch (message->message_case) {
    case TO_MACHINE__MESSAGE_POWER_BUTTON:
        if (host->button != NULL)
            host->button(host->button_context);
        return 0;
    case TO_MACHINE__MESSAGE_SET_BALLOON:
        if (host->balloon.set != NULL)
            host->balloon.set(host->balloon.context, message->set_balloon->size);
        return 0;
    case TO_MACHINE__MESSAGE_ASK_BALLOON:
        if (host->balloon.ask != NULL)
            host->balloon.ask(host->balloon.context);
        return 0;
    default:
        return -EPROTO;
    }
}

/* 0 while there is more to come; -EPIPE where the supervisor hung up. */
static int
hear(struct host *host)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    const ToMachine *message;
    struct message_fds fds;
    ssize_t size = message_receive(host->socket, buffer, sizeof buffer, &fds, HOST_FDS_MAX, 0);
    int result;

    if (size <= 0)
        return size == 0 ? -EPIPE : (int)size;
    arena_reset(&host->arena);
    message = message_unpack(&host->arena, &to_machine__descriptor, buffer, (size_t)size);
    if (message == NULL || message_has_unknown_fields(&message->base))
        result = -EPROTO;
    else
        result = take_message(host, message, &fds);
    message_close_fds(&fds);
    return result;
}

static void *
listen_to_host(void *context)
{
    struct host *host = context;
    int result;

    pthread_setname_np(pthread_self(), "host");
    do
        result = hear(host);
    while (result == 0);
    /* The descriptor stays: others may be about to write to it. */
    __atomic_store_n(&host->closed, true, __ATOMIC_RELEASE);
    if (result != -EPIPE && result != -ECONNRESET)
        log_warn("the supervisor's channel is closed: %s", strerror(-result));
    shutdown(host->socket, SHUT_RDWR);
    return NULL;
}

int
host_start(struct host *host)
{
    FromMachine message = FROM_MACHINE__INIT;
    HostReady ready = HOST_READY__INIT;
    pthread_t thread;
    int result;

    if (host->socket < 0)
        return 0;
    ready.has_balloon = host->balloon.set != NULL;
    message.message_case = FROM_MACHINE__MESSAGE_READY;
    message.ready = &ready;
    if (send_message(host, &message) < 0)
        log_debug("the supervisor does not listen");
    result = pthread_create(&thread, NULL, listen_to_host, host);
    if (result != 0)
        return -result;
    pthread_detach(thread);
    return 0;
}

int
host_vsock_connect(void *context, uint32_t port, uint64_t token)
{
    FromMachine message = FROM_MACHINE__INIT;
    HostVsockConnect connect = HOST_VSOCK_CONNECT__INIT;
    int result;

    connect.port = port;
    connect.token = token;
    message.message_case = FROM_MACHINE__MESSAGE_VSOCK_CONNECT;
    message.vsock_connect = &connect;
    result = send_message(context, &message);
    return result == 0 || result == -EAGAIN ? result : -ECONNREFUSED;
}

void
host_tell_balloon(struct host *host, uint64_t size, const uint64_t *value, size_t count, uint32_t present)
{
    FromMachine message = FROM_MACHINE__INIT;
    HostBalloon balloon = HOST_BALLOON__INIT;
    uint64_t values[HOST_STATISTICS_MAX];

    if (count > HOST_STATISTICS_MAX)
        count = HOST_STATISTICS_MAX;
    for (size_t i = 0; i < count; i++)
        values[i] = value[i];
    balloon.size = size;
    balloon.present = present & ((UINT32_C(1) << count) - 1);
    balloon.n_value = count;
    balloon.value = values;
    message.message_case = FROM_MACHINE__MESSAGE_BALLOON;
    message.balloon = &balloon;
    if (send_message(host, &message) < 0)
        log_debug("the supervisor did not hear of the balloon");
}
