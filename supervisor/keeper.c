#include "supervisor/keeper.h"

#include "common/fd.h"
#include "proto/message.h"

#include <errno.h>
#include <sys/socket.h>

int
keeper_make(struct keeper *keeper)
{
    int sockets[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    *keeper = (struct keeper){ sockets[0], sockets[1] };
    return 0;
}

/*
 * The chamber is put into its own queue. Once its descriptor is closed nobody can reach it, and the kernel's collector of such sockets
 * (unix(7), "garbage collector") finds it and closes what lies in it, in a thread of the kernel's. The collector looks whenever a socket
 * is closed: so the entrance is closed last. Where the chamber does not take itself, closing it frees what is kept, in line.
 */
void
keeper_release(struct keeper *keeper)
{
    if (keeper->entrance >= 0 && keeper->chamber >= 0)
        message_send(keeper->entrance, "", 1, &keeper->chamber, 1, MSG_DONTWAIT);
    fd_close(&keeper->chamber);
    fd_close(&keeper->entrance);
}
