/*
 * Filters go in one after the other, each behind the ones before it; the calls that are still needed pass all of them by the key in their
 * sixth argument (see policy_compile_options). That is why they are made by syscall(2) here and not by their names.
 */
#include "jail/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

long
filters_send(struct child *child, const struct child_report *report, int fd)
{
    struct child_report copy = *report;
    struct iovec part = { .iov_base = &copy, .iov_len = sizeof copy };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof fd)];
    } control = { 0 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    return syscall(SYS_sendmsg, child->socket, &message, MSG_NOSIGNAL, 0, 0, child->jail->key);
}

static int
load(struct child *child, const struct policy_filter *filter)
{
    struct sock_fprog program = { .len = filter->length, .filter = filter->instructions };
    struct child_report report = { .word = CHILD_LISTENER };
    const unsigned long flags = filter->listener ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program, 0, 0, child->jail->key);

    if (result < 0)
        return -errno;
    /* The listener is close-on-exec. */
    if (filter->listener && filters_send(child, &report, (int)result) < 0)
        return -errno;
    return 0;
}

int
filters_load(struct child *child)
{
    const struct policy_program *program = child->jail->program;
    int result = 0;

    for (size_t i = 0; i < program->count && result == 0; i++)
        result = load(child, &program->filter[i]);
    return result;
}

long
filters_exec(struct child *child)
{
    const struct jail *jail = child->jail;

    return syscall(SYS_execveat, child->executable, "", jail->argv, jail->environment, AT_EMPTY_PATH, jail->key);
}
