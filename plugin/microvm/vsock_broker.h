/*
 * Connections that the guest begins: somebody else makes them, since the jail opens nothing, and answers when they are made, or are not,
 * from a thread of its own. At most VSOCK_BROKERED_MAX are asked for at a time.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VSOCK_BROKER_H
#define VMSUP_PLUGIN_MICROVM_VSOCK_BROKER_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define VSOCK_BROKERED_MAX 16

/*
 * Asks for a connection to a port of the host's, to be answered with this token, once, by virtio_vsock_answer(), maybe before this
 * returns. 0; or a negative errno, and then there is no answer.
 */
typedef int (*vsock_connect)(void *context, uint32_t port, uint64_t token);

struct vsock_answer {
    uint64_t token;
    int result; /* a connected socket, or a negative errno */
};

struct vsock_broker {
    vsock_connect connect; /* NULL: the guest reaches nobody */
    void *context;
    int bell; /* readable when there are answers */
    pthread_mutex_t lock;
    size_t asked; /* and not taken yet */
    size_t count;
    struct vsock_answer answer[VSOCK_BROKERED_MAX];
};

/* 0 or a negative errno; after either, vsock_broker_destroy() is right. */
int vsock_broker_init(struct vsock_broker *broker, vsock_connect connect, void *context);
void vsock_broker_destroy(struct vsock_broker *broker);

/* 0; -ECONNREFUSED: there is nobody to ask; -EAGAIN: too much was asked already; or what `connect` says. */
int vsock_broker_ask(struct vsock_broker *broker, uint32_t port, uint64_t token);

/* From any thread; the socket is the broker's from now on. */
void vsock_broker_answer(struct vsock_broker *broker, uint64_t token, int result);

/* Fetches the answers that are there, whose sockets are the caller's. Gives their number. */
size_t vsock_broker_take(struct vsock_broker *broker, struct vsock_answer answer[VSOCK_BROKERED_MAX]);

#endif
