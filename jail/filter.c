/*
 * The filter goes in before the program is executed; the calls that are still needed pass it by the key in their sixth argument (see
 * policy_compile_options). That is why they are made by syscall(2) here and not by their names.
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
filter_send(struct child *child, const struct child_report *report, int fd)
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
    return syscall(SYS_sendmsg, child->socket, &message, MSG_NOSIGNAL, 0, 0, child->terms.key);
}

int
filter_load(struct child *child)
{
    const struct policy_program *program = child->terms.program;
    struct sock_fprog filter = { .len = program->length, .filter = program->instructions };
    const struct child_report report = { .word = CHILD_LISTENER };
    const unsigned long flags = program->listener ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);

    if (result < 0)
        return -errno;
    /* The listener is close-on-exec. */
    if (program->listener && filter_send(child, &report, (int)result) < 0)
        return -errno;
    return 0;
}

long
filter_exec(struct child *child)
{
    const struct jail *jail = child->jail;

    return syscall(SYS_execveat, child->executable, "", jail->argv, jail->environment, AT_EMPTY_PATH, child->terms.key);
}
