/*
 * One message: a datagram with its descriptors, or a protobuf in a buffer. Whatever comes from the other side is hostile: its
 * size and the number of its descriptors are limited by who receives, a message that was cut is an error, descriptors come in
 * close-on-exec, and unpacking takes its memory from an arena of fixed size, so that a small message cannot become a large one.
 * Receiving hands the descriptors to the caller, who closes those it does not take (message_close_fds()). Nothing here allocates
 * except arena_create().
 */
#ifndef VMSUP_PROTO_MESSAGE_H
#define VMSUP_PROTO_MESSAGE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MESSAGE_FDS_MAX 253

/* Memory for unpacking: a bump allocator over one mapping. arena_reset() frees all that was unpacked into it. */
struct arena {
    ProtobufCAllocator allocator;
    uint8_t *base;
    size_t size;
    size_t used;
};

/* `size` bytes of address space, touched only as they are used. 0 or -ENOMEM. */
int arena_create(struct arena *arena, size_t size);
void arena_destroy(struct arena *arena);
void arena_reset(struct arena *arena);

struct message_fds {
    int fd[MESSAGE_FDS_MAX];
    size_t count;
};

/*
 * Receives one datagram of at most `capacity` bytes with at most `fds_max` descriptors into `data` and `fds`.
 * `flags` goes to recvmsg(2). Gives the datagram's size, 0 where the other side hung up, or
 *   -EMSGSIZE  the datagram was larger than `capacity`, or had more descriptors than `fds_max` (all of them are closed)
 *   -EBADMSG   control data other than descriptors
 *   -EAGAIN …  what recvmsg(2) said.
 */
ssize_t message_receive(int socket, void *data, size_t capacity, struct message_fds *fds, size_t fds_max, int flags);

/* Closes those that are left (not -1). */
void message_close_fds(struct message_fds *fds);

/*
 * Sends one datagram with `fd_count` descriptors, which stay the caller's. 0, or a negative errno: -EAGAIN where `flags` has
 * MSG_DONTWAIT and the socket is full. SIGPIPE is never raised.
 */
int message_send(int socket, const void *data, size_t size, const int *fds, size_t fd_count, int flags);

/* Packs into `buffer`. Gives the size, or -EMSGSIZE where `capacity` does not hold it. */
ssize_t message_pack(const ProtobufCMessage *message, void *buffer, size_t capacity);

/* Unpacks into `arena`, which is not reset before. NULL where the bytes are no such message or the arena is too small. */
void *message_unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size);

/* Whether the message, or one within it, carries a field that its type does not have. */
bool message_has_unknown_fields(const ProtobufCMessage *message);

#endif
