#include "supervisor/machine_link.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "proto/host.pb-c.h"
#include "supervisor/vsock.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int
machine_link_make(int *ours, int *theirs)
{
    const int size = MACHINE_LINK_BUFFER;
    int sockets[2], result = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    if (setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) < 0)
        result = -errno;
    if (result < 0) {
        fd_close_all(sockets, 2);
        return result;
    }
    *ours = sockets[0];
    *theirs = sockets[1];
    return 0;
}

static void
drop_answer(struct machine_link *link)
{
    fd_close(&link->answer_fd);
    link->answer_size = 0;
}

/* microvm hears nothing more, and is not heard. */
static void
hang_up(struct machine_link *link)
{
    loop_remove(&link->source);
    loop_remove(&link->timer);
    fd_close(&link->socket);
    drop_answer(link);
    link->ready = false;
}

static void
refuse(struct machine_link *link, const char *why)
{
    log_warn("microvm %s: the supervisor does not listen to it any more", why);
    hang_up(link);
}

static int
send_message(struct machine_link *link, const ToMachine *message)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    ssize_t size;

    if (link->socket < 0 || !link->ready)
        return -ENOTCONN;
    size = message_pack(&message->base, buffer, sizeof buffer);
    return size < 0 ? (int)size : message_send(link->socket, buffer, (size_t)size, NULL, 0, MSG_DONTWAIT);
}

static void answer_connect(struct machine_link *link, uint64_t token, int connected);

/* The answer goes out, or waits for room; nothing else is read before. */
static void
send_answer(struct machine_link *link)
{
    int result = message_send(link->socket, link->answer, link->answer_size, &link->answer_fd, link->answer_fd >= 0, MSG_DONTWAIT);

    if (result == -EAGAIN) {
        loop_modify(link->source, EPOLLOUT);
        return;
    }
    /* Others of root's processes have all descriptors under way that there may be. */
    if (result == -ETOOMANYREFS && link->answer_fd >= 0) {
        fd_close(&link->answer_fd);
        answer_connect(link, link->answer_token, -EMFILE);
        return;
    }
    drop_answer(link);
    if (result == -EPIPE || result == -ECONNRESET)
        hang_up(link);
    else if (result < 0)
        refuse(link, "cannot be answered");
    else
        loop_modify(link->source, EPOLLIN);
}

/* A peer that is `connected` is given away; a negative errno is told. */
static void
answer_connect(struct machine_link *link, uint64_t token, int connected)
{
    HostVsockConnected answer = HOST_VSOCK_CONNECTED__INIT;
    ToMachine message = TO_MACHINE__INIT;
    ssize_t size;

    answer.token = token;
    answer.error = connected < 0 ? (uint32_t)-connected : 0;
    message.message_case = TO_MACHINE__MESSAGE_VSOCK_CONNECTED;
    message.vsock_connected = &answer;
    size = message_pack(&message.base, link->answer, sizeof link->answer);
    link->answer_fd = connected < 0 ? -1 : connected;
    link->answer_size = size > 0 ? (size_t)size : 0;
    link->answer_token = token;
    send_answer(link);
}

/* Copied: the arena's memory is the next message's. */
static void
take_balloon(struct machine_link *link, const HostBalloon *told)
{
    struct machine_balloon *balloon = &link->balloon;

    balloon->size = told->size;
    balloon->count++;
    memset(balloon->value, 0, sizeof balloon->value);
    balloon->present = 0;
    for (size_t i = 0; i < told->n_value && i < HOST_STATISTICS_MAX; i++) {
        if ((told->present & (UINT32_C(1) << i)) == 0)
            continue;
        balloon->present |= UINT32_C(1) << i;
        balloon->value[i] = told->value[i];
    }
}

/* What it says before its guest runs, but for that, is out of turn. */
static void
take_message(struct machine_link *link, const FromMachine *message)
{
    if ((message->message_case == FROM_MACHINE__MESSAGE_READY) == link->ready) {
        refuse(link, "spoke out of turn");
        return;
    }
    switch (message->message_case) {
    case FROM_MACHINE__MESSAGE_READY:
        link->ready = true;
        link->has_balloon = message->ready->has_balloon != 0;
        break;
    case FROM_MACHINE__MESSAGE_VSOCK_CONNECT:
        answer_connect(link, message->vsock_connect->token,
                       link->runtime == NULL ? -ECONNREFUSED : vsock_connect(link->runtime, message->vsock_connect->port));
        break;
    case FROM_MACHINE__MESSAGE_BALLOON:
        take_balloon(link, message->balloon);
        break;
    default:
        refuse(link, "sent a message that there is not");
        break;
    }
}

static void
hear(struct machine_link *link)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    const FromMachine *message;
    struct message_fds fds;
    ssize_t size = message_receive(link->socket, buffer, sizeof buffer, &fds, 0, MSG_DONTWAIT);

    if (size == -EAGAIN)
        return;
    if (size == 0 || size == -ECONNRESET) {
        hang_up(link);
        return;
    }
    if (size < 0) {
        refuse(link, "sent more than a message may hold");
        return;
    }
    arena_reset(&link->arena);
    message = message_unpack(&link->arena, &from_machine__descriptor, buffer, (size_t)size);
    if (message == NULL || message_has_unknown_fields(&message->base))
        refuse(link, "sent bytes that are no message");
    else
        take_message(link, message);
}

static void
on_timer(void *context)
{
    struct machine_link *link = context;

    loop_modify(link->source, EPOLLIN);
}

static void
on_socket(void *context, uint32_t events)
{
    struct machine_link *link = context;

    if (link->answer_size > 0) {
        send_answer(link);
        return;
    }
    /* While nothing is to be read, only a hang-up wakes this: what is left unread of who is gone does not matter. */
    if ((events & EPOLLIN) == 0) {
        hang_up(link);
        return;
    }
    if (token_bucket_take(&link->bucket, clock_milliseconds())) {
        hear(link);
        return;
    }
    loop_modify(link->source, 0);
    loop_set_timer(link->timer, token_bucket_wait(&link->bucket, clock_milliseconds()));
}

int
machine_link_begin(struct machine_link *link, struct loop *loop, int socket, const struct runtime *runtime)
{
    *link = (struct machine_link){ .loop = loop, .runtime = runtime, .socket = socket, .answer_fd = -1 };
    if (socket < 0)
        return 0;
    token_bucket_init(&link->bucket, MACHINE_LINK_BURST, MACHINE_LINK_RATE, clock_milliseconds());
    if (arena_create(&link->arena, HOST_ARENA_SIZE) < 0)
        return -ENOMEM;
    link->source = loop_add(loop, socket, EPOLLIN, on_socket, link);
    link->timer = loop_add_timer(loop, on_timer, link);
    return link->source == NULL || link->timer == NULL ? -errno : 0;
}

void
machine_link_end(struct machine_link *link)
{
    hang_up(link);
    arena_destroy(&link->arena);
}

int
machine_link_press_button(struct machine_link *link)
{
    HostPowerButton pressed = HOST_POWER_BUTTON__INIT;
    ToMachine message = TO_MACHINE__INIT;

    message.message_case = TO_MACHINE__MESSAGE_POWER_BUTTON;
    message.power_button = &pressed;
    return send_message(link, &message);
}

int
machine_link_set_balloon(struct machine_link *link, uint64_t size)
{
    HostSetBalloon set = HOST_SET_BALLOON__INIT;
    ToMachine message = TO_MACHINE__INIT;
    int result;

    if (link->ready && !link->has_balloon)
        return -EOPNOTSUPP;
    set.size = size;
    message.message_case = TO_MACHINE__MESSAGE_SET_BALLOON;
    message.set_balloon = &set;
    result = send_message(link, &message);
    if (result == 0)
        link->balloon.target = size;
    return result;
}

int
machine_link_ask_balloon(struct machine_link *link)
{
    HostAskBalloon ask = HOST_ASK_BALLOON__INIT;
    ToMachine message = TO_MACHINE__INIT;

    if (link->ready && !link->has_balloon)
        return -EOPNOTSUPP;
    message.message_case = TO_MACHINE__MESSAGE_ASK_BALLOON;
    message.ask_balloon = &ask;
    return send_message(link, &message);
}
