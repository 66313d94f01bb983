#include "plugin/microvm/vsock_connection.h"

#include "common/fd.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/param.h>
#include <sys/socket.h>

#define SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

static void
say(struct vsock_connection *connection, enum virtio_vsock_op operation)
{
    connection->say |= VSOCK_SAY(operation);
}

static bool
says(const struct vsock_connection *connection, enum virtio_vsock_op operation)
{
    return (connection->say & VSOCK_SAY(operation)) != 0;
}

/* --- Beginning and end. */

void
vsock_connection_begin(struct vsock_connection *connection, enum vsock_state state, int fd)
{
    connection->state = state;
    connection->fd = fd;
    connection->say = state == VSOCK_REQUESTED ? VSOCK_SAY(VIRTIO_VSOCK_OP_REQUEST) : 0;
    connection->readable = connection->asked = false;
    connection->host_sends = connection->host_takes = connection->guest_sends = connection->guest_takes = true;
    connection->credit = (struct vsock_credit){ 0 };
    connection->line_size = 0;
}

static void
open_up(struct vsock_connection *connection)
{
    connection->state = VSOCK_OPEN;
    connection->readable = true;
}

void
vsock_connection_accept(struct vsock_connection *connection, int fd)
{
    connection->fd = fd;
    open_up(connection);
    say(connection, VIRTIO_VSOCK_OP_RESPONSE);
}

void
vsock_connection_drop(struct vsock_connection *connection)
{
    fd_close(&connection->fd);
    vsock_buffer_clear(&connection->buffer);
    connection->say = 0;
    connection->state = VSOCK_FREE;
}

void
vsock_connection_reset(struct vsock_connection *connection)
{
    bool guest_knows = connection->state != VSOCK_CALLING &&
                       !(connection->state == VSOCK_REQUESTED && says(connection, VIRTIO_VSOCK_OP_REQUEST));

    vsock_connection_drop(connection);
    if (!guest_knows)
        return;
    connection->state = VSOCK_ENDED;
    say(connection, VIRTIO_VSOCK_OP_RST);
}

/* --- To the host. */

/* What a socket took; 0 where it takes nothing now, or nothing ever again, and then *gone. */
static size_t
write_to_host(const struct vsock_connection *connection, struct iovec *part, size_t count, bool *gone)
{
    struct msghdr message = { .msg_iov = part, .msg_iovlen = count };
    ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

    *gone = sent < 0 && errno != EAGAIN && errno != EINTR;
    return sent < 0 ? 0 : (size_t)sent;
}

/* The host's program reads no more. What waits for it is lost, and counts as forwarded: the guest is not held up before it hears. */
static void
stop_taking(struct vsock_connection *connection)
{
    if (!connection->host_takes)
        return;
    connection->host_takes = false;
    vsock_credit_forward(&connection->credit, (uint32_t)connection->buffer.size);
    vsock_buffer_clear(&connection->buffer);
    say(connection, VIRTIO_VSOCK_OP_SHUTDOWN);
}

/* Once the last byte is with the host: it hears the end, and where the guest wants nothing either, the connection is over (5.10.6.5). */
static void
finish_sending(struct vsock_connection *connection)
{
    if (connection->guest_sends || connection->buffer.size > 0)
        return;
    if (connection->guest_takes)
        shutdown(connection->fd, SHUT_WR);
    else
        vsock_connection_reset(connection);
}

static void
flush(struct vsock_connection *connection)
{
    struct iovec part[2];
    size_t count, sent;
    bool gone = false;

    while ((count = vsock_buffer_look(&connection->buffer, part)) > 0 &&
           (sent = write_to_host(connection, part, count, &gone)) > 0) {
        vsock_buffer_consume(&connection->buffer, sent);
        vsock_credit_forward(&connection->credit, (uint32_t)sent);
    }
    if (gone)
        stop_taking(connection);
    finish_sending(connection);
}

/* The pieces without their first `size` bytes. */
static size_t
skip(struct iovec *part, size_t count, size_t size, struct iovec **rest)
{
    while (count > 0 && size >= part->iov_len) {
        size -= part->iov_len;
        part++;
        count--;
    }
    if (count > 0) {
        part->iov_base = (uint8_t *)part->iov_base + size;
        part->iov_len -= size;
    }
    *rest = part;
    return count;
}

/* What the socket does not take at once waits. -EPROTO: the guest sent more than it may, or after its end. */
static int
forward(struct vsock_connection *connection, const struct chain *chain, uint32_t size)
{
    struct iovec part[QUEUE_SIZE_MAX], *rest;
    size_t count = chain_slice_readable(chain, VSOCK_HEADER_SIZE, size, part), sent = 0;
    bool gone = false;

    if (!connection->guest_sends || !vsock_credit_receive(&connection->credit, size))
        return -EPROTO;
    if (connection->host_takes && connection->buffer.size == 0 && size > 0)
        sent = write_to_host(connection, part, count, &gone);
    if (gone)
        stop_taking(connection);
    if (!connection->host_takes)
        sent = size;
    vsock_credit_forward(&connection->credit, (uint32_t)sent);
    count = skip(part, count, sent, &rest);
    return vsock_buffer_append(&connection->buffer, rest, count);
}

/* --- What the guest says. */

/* 5.10.6.5: flags that were set stay set. */
static void
take_shutdown(struct vsock_connection *connection, uint32_t flags)
{
    if ((flags & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0 && connection->guest_takes) {
        connection->guest_takes = false;
        shutdown(connection->fd, SHUT_RD);
    }
    if ((flags & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0)
        connection->guest_sends = false;
    finish_sending(connection);
}

/* The client reads its answer before anything else: a socket that nobody wrote to has room for it. */
static int
take_response(struct vsock_connection *connection)
{
    char line[VSOCK_LINE_MAX];
    size_t size = vsock_line_answer(line, connection->host_port);

    if (send(connection->fd, line, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size)
        return -EPIPE;
    open_up(connection);
    return 0;
}

static int
take_when_open(struct vsock_connection *connection, const struct virtio_vsock_hdr *header, const struct chain *chain)
{
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RW:
        return forward(connection, chain, header->len);
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        take_shutdown(connection, header->flags);
        return 0;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        say(connection, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
        return 0;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        return 0;
    default:
        return -EPROTO;
    }
}

void
vsock_connection_take(struct vsock_connection *connection, const struct virtio_vsock_hdr *header, const struct chain *chain)
{
    int result = -EPROTO;

    if (header->op == VIRTIO_VSOCK_OP_RST) {
        vsock_connection_drop(connection);
        return;
    }
    /* It will hear that this is over. */
    if (connection->state == VSOCK_ENDED)
        return;
    if (!vsock_credit_learn(&connection->credit, header->buf_alloc, header->fwd_cnt))
        result = -EPROTO;
    else if (connection->state == VSOCK_OPEN)
        result = take_when_open(connection, header, chain);
    else if (connection->state == VSOCK_REQUESTED && !says(connection, VIRTIO_VSOCK_OP_REQUEST) &&
             header->op == VIRTIO_VSOCK_OP_RESPONSE)
        result = take_response(connection);
    if (vsock_credit_left(&connection->credit) > 0)
        connection->asked = false;
    if (result < 0)
        vsock_connection_reset(connection);
}

/* --- To the guest. */

static bool
reads(const struct vsock_connection *connection)
{
    return connection->state == VSOCK_OPEN && connection->host_sends && connection->guest_takes;
}

/* The socket may have something. */
static bool
has_data(const struct vsock_connection *connection)
{
    return reads(connection) && connection->readable;
}

/* Credit that is due, or that is missing, is something to say as well. */
bool
vsock_connection_has_something(struct vsock_connection *connection)
{
    bool waits = has_data(connection), has_room = vsock_credit_left(&connection->credit) > 0;

    if (connection->state == VSOCK_OPEN && vsock_credit_is_due(&connection->credit))
        say(connection, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    if (waits && !has_room && !connection->asked) {
        connection->asked = true;
        say(connection, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    }
    return connection->say != 0 || (waits && has_room);
}

/* The host's program closed altogether, and will not read either. */
static bool
host_is_gone(const struct vsock_connection *connection)
{
    struct pollfd look = { .fd = connection->fd };

    return poll(&look, 1, 0) > 0 && (look.revents & POLLHUP) != 0;
}

static void
end_of_host(struct vsock_connection *connection)
{
    connection->host_sends = false;
    say(connection, VIRTIO_VSOCK_OP_SHUTDOWN);
    if (host_is_gone(connection))
        stop_taking(connection);
}

/* Right into the guest's buffers. Gives how many bytes; 0: none now. */
static uint32_t
read_from_host(struct vsock_connection *connection, const struct chain *chain)
{
    uint64_t size = MIN(chain->writable_size - VSOCK_HEADER_SIZE, MIN(vsock_credit_left(&connection->credit), VSOCK_PACKET_MAX));
    struct iovec part[QUEUE_SIZE_MAX];
    struct msghdr message = { .msg_iov = part };
    ssize_t got;

    message.msg_iovlen = chain_slice_writable(chain, VSOCK_HEADER_SIZE, size, part);
    got = recvmsg(connection->fd, &message, MSG_DONTWAIT);
    if (got > 0) {
        vsock_credit_send(&connection->credit, (uint32_t)got);
        return (uint32_t)got;
    }
    connection->readable = false;
    if (got == 0)
        end_of_host(connection);
    else if (errno != EAGAIN && errno != EINTR)
        vsock_connection_reset(connection);
    return 0;
}

static uint32_t
shutdown_flags(const struct vsock_connection *connection)
{
    return (connection->host_sends ? 0 : VIRTIO_VSOCK_SHUTDOWN_SEND) | (connection->host_takes ? 0 : VIRTIO_VSOCK_SHUTDOWN_RCV);
}

/* The operations that carry no data, in the order they go; VIRTIO_VSOCK_OP_INVALID: none. */
static enum virtio_vsock_op
choose_control(const struct vsock_connection *connection)
{
    static const enum virtio_vsock_op order[] = { VIRTIO_VSOCK_OP_RST,           VIRTIO_VSOCK_OP_REQUEST,
                                                  VIRTIO_VSOCK_OP_RESPONSE,      VIRTIO_VSOCK_OP_SHUTDOWN,
                                                  VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_UPDATE };

    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        if (says(connection, order[i]))
            return order[i];
    }
    return VIRTIO_VSOCK_OP_INVALID;
}

/* Whatever goes tells our credit, so that alone it need not go any more. */
static void
fill_header(struct vsock_connection *connection, enum virtio_vsock_op operation, uint32_t size, struct virtio_vsock_hdr *header)
{
    header->op = (uint16_t)operation;
    header->len = size;
    header->flags = operation == VIRTIO_VSOCK_OP_SHUTDOWN ? shutdown_flags(connection) : 0;
    vsock_credit_tell(&connection->credit, header);
    connection->say &= ~(VSOCK_SAY(operation) | VSOCK_SAY(VIRTIO_VSOCK_OP_CREDIT_UPDATE));
}

/* Control goes first: all of it together is a handful of packets, and reading may add to it. */
bool
vsock_connection_say(struct vsock_connection *connection, const struct chain *chain, struct virtio_vsock_hdr *header)
{
    enum virtio_vsock_op operation = choose_control(connection);
    uint32_t size = 0;

    if (operation == VIRTIO_VSOCK_OP_INVALID && has_data(connection) && vsock_credit_left(&connection->credit) > 0) {
        size = read_from_host(connection, chain);
        operation = size > 0 ? VIRTIO_VSOCK_OP_RW : choose_control(connection);
    }
    if (operation == VIRTIO_VSOCK_OP_INVALID)
        return false;
    fill_header(connection, operation, size, header);
    if (operation == VIRTIO_VSOCK_OP_RST)
        vsock_connection_drop(connection);
    return true;
}

/* --- The socket. */

int
vsock_connection_wants(const struct vsock_connection *connection)
{
    int events = 0;

    switch (connection->state) {
    case VSOCK_CALLING:
        return EPOLLIN;
    case VSOCK_REQUESTED:
        return 0;
    case VSOCK_OPEN:
        if (connection->buffer.size > 0)
            events |= EPOLLOUT;
        if (reads(connection) && !connection->readable)
            events |= EPOLLIN;
        /* Where no more is read, only this way shows that the host's program is gone. */
        return events != 0 || (!reads(connection) && connection->host_takes) ? events : -1;
    default:
        return -1;
    }
}

void
vsock_connection_happened(struct vsock_connection *connection, uint32_t events)
{
    bool gone = (events & (EPOLLHUP | EPOLLERR)) != 0;

    if (connection->state == VSOCK_REQUESTED && gone)
        vsock_connection_reset(connection);
    if (connection->state != VSOCK_OPEN)
        return;
    if (reads(connection))
        connection->readable = connection->readable || gone || (events & EPOLLIN) != 0;
    else if (gone)
        stop_taking(connection);
    if (connection->buffer.size > 0 || !connection->host_takes)
        flush(connection);
}
