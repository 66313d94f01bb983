/*
 * A network card (virtio 1.2, 5.1) on a TAP. Where the TAP has a vnet header, checksums and TCP segmentation are left to whoever
 * does them best; where it has none, the device puts the header before each frame and takes it off, and offers no offload. Each pair
 * of queues has a queue of the TAP and a thread of its own; where there are several, the driver says over a control queue how many it uses.
 * Who creates a card owns it and destroys it after its transport; the TAP stays the caller's, and it and the guest
 * memory outlive the card. The TAP is made non-blocking.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_NET_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_NET_H

#include "plugin/microvm/rate_limit.h"
#include "plugin/microvm/virtio.h"

#include <linux/if_ether.h>
#include <linux/virtio_net.h>

#define VIRTIO_NET_PAIRS_MAX 8

/* The queues of a pair. */
enum virtio_net_queue {
    VIRTIO_NET_RECEIVE,
    VIRTIO_NET_TRANSMIT,
    VIRTIO_NET_QUEUES,
};

struct virtio_net;

struct virtio_net_settings {
    int tap[VIRTIO_NET_PAIRS_MAX]; /* queues of one TAP, each attached; made for several where there are several */
    unsigned pairs;                /* 1 to VIRTIO_NET_PAIRS_MAX */
    bool vnet_header; /* as virtio_net_has_header() says */
    uint8_t mac[ETH_ALEN];
    struct rate_limit_settings limit; /* of each direction, over all pairs: bytes of frames, without their vnet headers; frames */
};

/* 1: the TAP was made with a vnet header; 0: without; or a negative errno. */
int virtio_net_has_header(int tap);

/* -EINVAL: that many pairs; -ENOMEM; or why the TAP cannot be prepared. */
int virtio_net_create(const struct guest_memory *memory, const struct virtio_net_settings *settings, struct virtio_net **out);

/* NULL is nothing. */
void virtio_net_destroy(struct virtio_net *net);

/* What a transport carries; the card's own. */
struct virtio_device *virtio_net_device(struct virtio_net *net);

/* What the guest may ask of the host with a frame of `size` bytes, header apart, under these features; anything else is a lie. */
bool virtio_net_header_is_good(const struct virtio_net_hdr_v1 *header, uint64_t size, uint64_t features);

#endif
