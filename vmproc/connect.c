/* A further main connection: independent of the one it is asked for on. */
#include "vmproc/request.h"

#include <errno.h>
#include <sys/socket.h>

int
connect_new(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    int sockets[2];

    (void)vm;
    if (!request->connections_left)
        return -EMFILE;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    reply->new_connection = sockets[0];
    reply_add_fd(reply, sockets[1], REPLY_FD_GIVEN);
    return 0;
}
