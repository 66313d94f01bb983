/* The terms of a jail as they go from the parent to the child: one datagram, of a head and the filter's instructions. */
#include "jail/child.h"

#include <errno.h>
#include <linux/bpf_common.h>
#include <stdlib.h>
#include <sys/socket.h>

struct head {
    uint64_t key;
    uid_t uid;
    gid_t gid;
    unsigned short length; /* of the filter, in instructions */
    bool filtered;
    bool listener;
};

/* The socket's buffer holds the longest filter, and nothing is sent before. */
int
terms_send(int socket, const struct jail_terms *terms)
{
    const struct policy_program *program = terms->program;
    struct head head = { .key = terms->key, .uid = terms->uid, .gid = terms->gid, .filtered = program != NULL };
    struct iovec parts[2] = { { .iov_base = &head, .iov_len = sizeof head } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 1 };

    if (program != NULL) {
        head.length = program->length;
        head.listener = program->listener;
        parts[1] = (struct iovec){ .iov_base = program->instructions, .iov_len = program->length * sizeof *program->instructions };
        message.msg_iovlen = 2;
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int
terms_hear(struct child *child)
{
    struct policy_program *program = &child->program;
    struct head head;
    struct iovec parts[2] = { { .iov_base = &head, .iov_len = sizeof head } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    ssize_t size;

    program->instructions = calloc(BPF_MAXINSNS, sizeof *program->instructions);
    if (program->instructions == NULL)
        return -errno;
    parts[1] = (struct iovec){ .iov_base = program->instructions, .iov_len = BPF_MAXINSNS * sizeof *program->instructions };
    size = recvmsg(child->socket, &message, 0);
    if (size < 0)
        return -errno;
    if (size == 0)
        return -EPIPE;
    if ((size_t)size < sizeof head || (size_t)size != sizeof head + head.length * sizeof *program->instructions)
        return -EBADMSG;
    program->length = head.length;
    program->listener = head.listener;
    child->terms = (struct jail_terms){ .uid = head.uid, .gid = head.gid, .key = head.key, .program = head.filtered ? program : NULL };
    return 0;
}
