/*
 * The host's side of a vsock device: programs connect to its socket and say by a line which port of the guest they want (vsock_line.h).
 * Who does not in time, or says something else, is hung up on; there are at most VSOCK_CALLERS_MAX of them, others wait in the kernel.
 * The listening socket is the caller's and outlives this.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VSOCK_HOST_H
#define VMSUP_PLUGIN_MICROVM_VSOCK_HOST_H

#include "plugin/microvm/vsock_hub.h"

struct vsock_host {
    int listener;
    int watched;
    int64_t pause; /* nobody is accepted before this time */
};

/* `listener` may be -1: nobody connects. It is made non-blocking. 0 or a negative errno. */
int vsock_host_init(struct vsock_host *host, int listener);

/* Somebody connects. */
void vsock_host_accept(struct vsock_host *host, struct vsock_hub *hub);

/* A client that is VSOCK_CALLING wrote something; to be settled. */
void vsock_host_hear(struct vsock_hub *hub, struct vsock_connection *connection);

/* After every change: the listener is waited for while there is room for one more. */
void vsock_host_settle(struct vsock_host *host, struct vsock_hub *hub);

#endif
