/*
 * The host's ends of a VM's sockets, all in its runtime folder, which is root's alone: NAME/vsock, a stream socket whose listening
 * descriptor the plugin is granted, and NAME/vsock_PORT, sockets that programs of the admin's make and listen on, to which the supervisor connects for
 * the guest. The guest names a port and nothing else.
 */
#ifndef VMSUP_SUPERVISOR_VSOCK_H
#define VMSUP_SUPERVISOR_VSOCK_H

#include "supervisor/failure.h"
#include "supervisor/runtime.h"

#include <stdint.h>

#define VSOCK_SOCKET_NAME "vsock"
/* Programs that have connected and were not accepted yet. */
#define VSOCK_QUEUE_MAX 64
/* The guest's address: those below and the last one are reserved (virtio 1.2, 5.10.4). */
#define VSOCK_CID_MIN 3u
#define VSOCK_CID_MAX (UINT32_MAX - 1)

/*
 * Makes and listens on NAME/vsock, of mode 0600; the file goes with the folder. 0 with *listener the caller's, or a negative errno with
 * `failure` filled: EX_CANTCREAT; EX_USAGE where the runtime folder's path leaves no room for the name of a port.
 */
int vsock_listen(const struct runtime *runtime, int *listener, struct failure *failure);

/*
 * Connects to NAME/vsock_PORT, without waiting. A connected stream socket, non-blocking, or a negative errno: -ENOENT or -ECONNREFUSED
 * where nobody listens, -EAGAIN where too many wait there already.
 */
int vsock_connect(const struct runtime *runtime, uint32_t port);

#endif
