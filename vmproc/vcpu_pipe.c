/*
 * A vCPU's pipes. A request is written bare, without its length; but it is one of a oneof's messages, so exactly one
 * field, and a field says how long it is: requests that arrive in one read, or in pieces, are told apart all the same.
 */
#include "vmproc/vcpu.h"
#include "proto/vcpu_wire.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define WIRE_TYPE_VARINT 0
#define WIRE_TYPE_64BIT 1
#define WIRE_TYPE_BYTES 2
#define WIRE_TYPE_32BIT 5

ssize_t
vcpu_pipe_measure(const uint8_t *data, size_t size)
{
    uint64_t tag, length;
    ssize_t tag_size = wire_get_varint(data, size, &tag), length_size;

    if (tag_size <= 0)
        return tag_size;
    switch (tag & 7) {
    case WIRE_TYPE_BYTES:
        length_size = wire_get_varint(data + tag_size, size - (size_t)tag_size, &length);
        if (length_size <= 0)
            return length_size;
        break;
    case WIRE_TYPE_VARINT:
        length_size = wire_get_varint(data + tag_size, size - (size_t)tag_size, &length);
        length = 0;
        if (length_size <= 0)
            return length_size;
        break;
    case WIRE_TYPE_64BIT:
        length_size = 0;
        length = 8;
        break;
    case WIRE_TYPE_32BIT:
        length_size = 0;
        length = 4;
        break;
    default:
        return -EBADMSG;
    }
    if (length > WIRE_VCPU_MESSAGE_MAX - (uint64_t)(tag_size + length_size))
        return -EBADMSG;
    return tag_size + length_size + (ssize_t)length;
}

static int
read_more(struct vcpu *vcpu)
{
    ssize_t got;

    do {
        if (atomic_load(&vcpu->vm->ending))
            return -ESHUTDOWN;
        got = read(vcpu->request_read, vcpu->request + vcpu->request_size, WIRE_VCPU_MESSAGE_MAX - vcpu->request_size);
    } while (got < 0 && errno == EINTR);
    /* Both ends are open here, so that neither an end nor an error can come. */
    if (got <= 0)
        return -ESHUTDOWN;
    vcpu->request_size += (size_t)got;
    return 0;
}

int
vcpu_pipe_next(struct vcpu *vcpu, const uint8_t **data, size_t *size)
{
    vcpu->request_size -= vcpu->request_done;
    if (vcpu->request_size > 0)
        memmove(vcpu->request, vcpu->request + vcpu->request_done, vcpu->request_size);
    vcpu->request_done = 0;
    for (;;) {
        ssize_t length = vcpu_pipe_measure(vcpu->request, vcpu->request_size);
        int result;

        if (length < 0)
            return (int)length;
        if (length > 0 && (size_t)length <= vcpu->request_size) {
            vcpu->request_done = (size_t)length;
            *data = vcpu->request;
            *size = (size_t)length;
            return 0;
        }
        result = read_more(vcpu);
        if (result < 0)
            return result;
    }
}

/* One write(2), unless a signal cuts a long one. */
static int
write_out(struct vcpu *vcpu, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(vcpu->response_write, data, size);

        if (written < 0 && errno != EINTR)
            return -ESHUTDOWN;
        if (atomic_load(&vcpu->vm->ending))
            return -ESHUTDOWN;
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
    return 0;
}

/*
 * A message of `size` bytes stands in vcpu->response, WIRE_VARINT_MAX bytes from its beginning: its length goes before
 * it.
 */
static int
send_framed(struct vcpu *vcpu, ssize_t size)
{
    uint8_t length[WIRE_VARINT_MAX], *begin;
    size_t length_size;

    if (size < 0) {
        vm_end(vcpu->vm, CONTROL_ENDED__KIND__UNKNOWN, vcpu->id, 0, "vCPU %u: a response is larger than its pipe",
               vcpu->id);
        return -ESHUTDOWN;
    }
    length_size = wire_put_varint((uint64_t)size, length);
    begin = vcpu->response + WIRE_VARINT_MAX - length_size;
    memcpy(begin, length, length_size);
    return write_out(vcpu, begin, length_size + (size_t)size);
}

int
vcpu_pipe_send(struct vcpu *vcpu)
{
    return send_framed(vcpu, message_pack(&vcpu->answer.message.base, vcpu->response + WIRE_VARINT_MAX,
                                          WIRE_VCPU_PIPE_SIZE - WIRE_VARINT_MAX));
}

int
vcpu_pipe_send_access(struct vcpu *vcpu, const VcpuResponse__Wait__Io *io)
{
    return send_framed(vcpu,
                       vcpu_wire_put_io(io, vcpu->response + WIRE_VARINT_MAX, WIRE_VCPU_PIPE_SIZE - WIRE_VARINT_MAX));
}
