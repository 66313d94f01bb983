#include "proto/message.h"

#include "common/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARENA_ALIGNMENT 16

static void *
arena_allocate(void *data, size_t size)
{
    struct arena *arena = data;
    size_t rounded, end;

    if (__builtin_add_overflow(size, ARENA_ALIGNMENT - 1, &rounded))
        return NULL;
    rounded &= ~(size_t)(ARENA_ALIGNMENT - 1);
    if (__builtin_add_overflow(arena->used, rounded, &end) || end > arena->size)
        return NULL;
    void *memory = arena->base + arena->used;

    arena->used = end;
    return memory;
}

static void
arena_free(void *data, void *memory)
{
    (void)data;
    (void)memory;
}

int
arena_create(struct arena *arena, size_t size)
{
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return -ENOMEM;
    *arena = (struct arena){
        .allocator = { .alloc = arena_allocate, .free = arena_free, .allocator_data = arena },
        .base = base,
        .size = size,
    };
    return 0;
}

void
arena_destroy(struct arena *arena)
{
    if (arena->base != NULL)
        munmap(arena->base, arena->size);
    *arena = (struct arena){ 0 };
}

void
arena_reset(struct arena *arena)
{
    arena->used = 0;
}

void
message_close_fds(struct message_fds *fds)
{
    fd_close_all(fds->fd, fds->count);
    fds->count = 0;
}

union control_buffer {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
};

/* Moves the descriptors of one control message to `fds`; those beyond `fds_max` are closed. */
static int
take_fds(struct cmsghdr *header, struct message_fds *fds, size_t fds_max)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int result = 0;

    for (size_t i = 0; i < count; i++) {
        int fd;

        memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        if (fds->count < fds_max) {
            fds->fd[fds->count++] = fd;
        } else {
            fd_close(&fd);
            result = -EMSGSIZE;
        }
    }
    return result;
}

ssize_t
message_receive(int socket, void *data, size_t capacity, struct message_fds *fds, size_t fds_max, int flags)
{
    union control_buffer control;
    struct iovec part = { .iov_base = data, .iov_len = capacity };
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
    };
    ssize_t size;

    fds->count = 0;
    if (fds_max > MESSAGE_FDS_MAX)
        fds_max = MESSAGE_FDS_MAX;
    do
        size = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return -errno;

    int result = 0;

    for (struct cmsghdr *each = CMSG_FIRSTHDR(&header); each != NULL; each = CMSG_NXTHDR(&header, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            result = -EBADMSG;
        else if (take_fds(each, fds, fds_max) < 0)
            result = -EMSGSIZE;
    }
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        result = -EMSGSIZE;
    if (result < 0) {
        message_close_fds(fds);
        return result;
    }
    return size;
}

int
message_send(int socket, const void *data, size_t size, const int *fds, size_t fd_count, int flags)
{
    union control_buffer control;
    /* sendmsg(2) does not write through it. */
    struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    ssize_t sent;

    if (fd_count > MESSAGE_FDS_MAX)
        return -EINVAL;
    if (fd_count > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        memset(control.bytes, 0, header.msg_controllen);
        struct cmsghdr *each = CMSG_FIRSTHDR(&header);

        each->cmsg_level = SOL_SOCKET;
        each->cmsg_type = SCM_RIGHTS;
        each->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(each), fds, fd_count * sizeof(int));
    }
    do
        sent = sendmsg(socket, &header, flags | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    return (size_t)sent == size ? 0 : -EMSGSIZE;
}

ssize_t
message_pack(const ProtobufCMessage *message, void *buffer, size_t capacity)
{
    size_t size = protobuf_c_message_get_packed_size(message);

    if (size > capacity)
        return -EMSGSIZE;
    return (ssize_t)protobuf_c_message_pack(message, buffer);
}

void *
message_unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size)
{
    return protobuf_c_message_unpack(descriptor, &arena->allocator, size, data);
}

static const void *
member(const ProtobufCMessage *message, unsigned offset)
{
    return (const uint8_t *)message + offset;
}

bool
message_has_unknown_fields(const ProtobufCMessage *message)
{
    if (message->n_unknown_fields > 0)
        return true;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)member(message, field->quantifier_offset);
            ProtobufCMessage *const *each = *(ProtobufCMessage *const *const *)member(message, field->offset);

            for (size_t k = 0; k < count; k++)
                if (message_has_unknown_fields(each[k]))
                    return true;
            continue;
        }
        /* The member of a oneof that is not the chosen one shares its memory with the one that is. */
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            *(const uint32_t *)member(message, field->quantifier_offset) != field->id)
            continue;
        const ProtobufCMessage *inner = *(ProtobufCMessage *const *)member(message, field->offset);

        if (inner != NULL && message_has_unknown_fields(inner))
            return true;
    }
    return false;
}
