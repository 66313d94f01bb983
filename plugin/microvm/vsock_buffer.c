#include "plugin/microvm/vsock_buffer.h"

#include "plugin/microvm/vsock_credit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

static void
append(struct vsock_buffer *buffer, const uint8_t *from, size_t size)
{
    while (size > 0) {
        size_t end = (buffer->begin + buffer->size) % VSOCK_BUFFER_SIZE, piece = MIN(size, VSOCK_BUFFER_SIZE - end);

        memcpy(buffer->bytes + end, from, piece);
        buffer->size += piece;
        from += piece;
        size -= piece;
    }
}

int
vsock_buffer_append(struct vsock_buffer *buffer, const struct iovec *part, size_t count)
{
    size_t room = VSOCK_BUFFER_SIZE - buffer->size;

    for (size_t i = 0; i < count; i++) {
        if (part[i].iov_len > room)
            return -ENOBUFS;
        room -= part[i].iov_len;
    }
    if (count == 0)
        return 0;
    if (buffer->bytes == NULL)
        buffer->bytes = malloc(VSOCK_BUFFER_SIZE);
    if (buffer->bytes == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        append(buffer, part[i].iov_base, part[i].iov_len);
    return 0;
}

size_t
vsock_buffer_look(const struct vsock_buffer *buffer, struct iovec part[2])
{
    size_t first = MIN(buffer->size, VSOCK_BUFFER_SIZE - buffer->begin);

    if (buffer->size == 0)
        return 0;
    part[0] = (struct iovec){ .iov_base = buffer->bytes + buffer->begin, .iov_len = first };
    part[1] = (struct iovec){ .iov_base = buffer->bytes, .iov_len = buffer->size - first };
    return part[1].iov_len > 0 ? 2 : 1;
}

void
vsock_buffer_consume(struct vsock_buffer *buffer, size_t size)
{
    buffer->begin = (buffer->begin + size) % VSOCK_BUFFER_SIZE;
    buffer->size -= size;
    if (buffer->size == 0)
        vsock_buffer_clear(buffer);
}

void
vsock_buffer_clear(struct vsock_buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct vsock_buffer){ 0 };
}
