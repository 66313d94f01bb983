/*
 * The credit of one vsock connection, both ways (virtio 1.2, 5.10.6.3): no side sends what the other has no room for. All counters count
 * bytes since the connection began and wrap at 2^32. Nothing but arithmetic: the struct is its owner's, one thread at a time.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VSOCK_CREDIT_H
#define VMSUP_PLUGIN_MICROVM_VSOCK_CREDIT_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stdint.h>

/* What one connection of the guest's may have under way to the host: the room that we promise. */
#define VSOCK_BUFFER_SIZE (128U << 10)

struct vsock_credit {
    uint32_t received;  /* came from the guest */
    uint32_t forwarded; /* of that, the host took */
    uint32_t told;      /* of that, the guest knows */
    uint32_t sent;      /* went to the guest */
    uint32_t taken;     /* of that, its program took, as far as we were told */
    uint32_t room;      /* what the guest has room for */
};

/* What a packet of the guest's says of its room. false: it says that more was taken than was sent. */
bool vsock_credit_learn(struct vsock_credit *credit, uint32_t room, uint32_t taken);

/* So many bytes the guest has room for. */
uint32_t vsock_credit_left(const struct vsock_credit *credit);
/* They go to it, at most as many as there is room for. */
void vsock_credit_send(struct vsock_credit *credit, uint32_t size);

/* They came from the guest. false: it was not told that there is room for them, and nothing is counted. */
bool vsock_credit_receive(struct vsock_credit *credit, uint32_t size);
/* The host took them. */
void vsock_credit_forward(struct vsock_credit *credit, uint32_t size);

/* The guest should hear of what the host took, though nothing else is to be said. */
bool vsock_credit_is_due(const struct vsock_credit *credit);
/* Says it in a packet that goes to the guest. */
void vsock_credit_tell(struct vsock_credit *credit, struct virtio_vsock_hdr *header);

#endif
