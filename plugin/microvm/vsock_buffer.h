/*
 * What the guest sent and the host did not take yet: at most VSOCK_BUFFER_SIZE bytes, in the order they came. The memory is there
 * only while there is something in it, so that connections that flow cost nothing. Zeroes are an empty buffer; its owner clears it at
 * the end.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VSOCK_BUFFER_H
#define VMSUP_PLUGIN_MICROVM_VSOCK_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct vsock_buffer {
    uint8_t *bytes;
    size_t begin, size;
};

/* All of these pieces, or nothing: -ENOBUFS where there is not so much room; -ENOMEM. */
int vsock_buffer_append(struct vsock_buffer *buffer, const struct iovec *part, size_t count);

/* Where the bytes are, in one piece or two; gives how many pieces. They stay valid until the next change. */
size_t vsock_buffer_look(const struct vsock_buffer *buffer, struct iovec part[2]);

/* The first `size` of them, at most all, are gone. */
void vsock_buffer_consume(struct vsock_buffer *buffer, size_t size);
void vsock_buffer_clear(struct vsock_buffer *buffer);

#endif
