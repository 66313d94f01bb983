/*
 * The channel to the supervisor (proto/host.proto), which is granted as `supervisor`: it presses the power button, asks for the balloon's
 * memory, and makes the connections that the guest begins, since the jail opens nothing. One thread reads it and calls those who have said
 * that they want to hear; any thread may write to it, and none waits for the supervisor. A channel that there is not, or not any more,
 * is no failure: the machine then has nobody to talk to.
 *
 * Whoever holds the struct owns the channel. It is put together before host_start() and lives as long as the process.
 */
#ifndef VMSUP_PLUGIN_MICROVM_HOST_H
#define VMSUP_PLUGIN_MICROVM_HOST_H

#include "proto/message.h"

#include <stdbool.h>
#include <stdint.h>

/* All are called in the channel's thread. */
struct host_balloon {
    void (*set)(void *context, uint64_t size); /* so many bytes are asked of the guest */
    void (*ask)(void *context);                /* its statistics are; host_tell_balloon() when they come */
    void *context;
};

struct host {
    int socket; /* -1: there is none */
    bool closed; /* atomic */
    struct arena arena;
    void (*button)(void *context);
    void *button_context;
    struct host_balloon balloon;
    void (*connected)(void *context, uint64_t token, int result);
    void *connected_context;
};

/* Takes over the socket; a negative number is none. 0 or -ENOMEM. */
int host_init(struct host *host, int socket);

void host_on_power_button(struct host *host, void (*button)(void *context), void *context);
void host_on_balloon(struct host *host, const struct host_balloon *balloon);
/* `result` is a connected unix stream socket, the callee's from now on, or a negative errno. */
void host_on_vsock(struct host *host, void (*connected)(void *context, uint64_t token, int result), void *context);

/* Says that the guest runs, and reads from now on. 0 or a negative errno. */
int host_start(struct host *host);

/*
 * Asks for a connection to a port of the host's; `host` is a struct host, as for vsock_broker.h. 0, and host_on_vsock()'s function is
 * called once with this token, unless the channel ends before; -ECONNREFUSED: there is no channel; -EAGAIN: too much was asked already.
 */
int host_vsock_connect(void *host, uint32_t port, uint64_t token);

/*
 * What the guest says of its memory, by the numbers of virtio 1.2, 5.5.6.3; bits of `present` say which. Where it does not go out at once,
 * it is lost.
 */
void host_tell_balloon(struct host *host, uint64_t size, const uint64_t *value, size_t count, uint32_t present);

#endif
