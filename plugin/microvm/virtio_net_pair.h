/*
 * The frames of one pair of a network card's queues and their TAP queue, both ways: a part of virtio_net.c, which owns the structs. A
 * pair is its thread's, but for net_pair_set_active(), by which the thread of the control queue turns its receiving on and off.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_NET_PAIR_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_NET_PAIR_H

#include "plugin/microvm/virtio_net.h"

/* 5.1.6: under version 1 the header always has num_buffers. */
#define HEADER_SIZE sizeof(struct virtio_net_hdr_v1)
/* The largest frame either way: 64 KiB of IP behind an Ethernet header with a VLAN tag. */
#define FRAME_MAX (65536 + ETH_HLEN + 4)

/* What all pairs have in common; it does not change while threads run. */
struct net_shared {
    struct virtio_device *device;
    bool vnet_header;
    uint64_t features;
    struct rate_limit limit[VIRTIO_NET_QUEUES]; /* of each direction, over all pairs */
};

struct net_pair {
    struct net_shared *shared;
    unsigned index;
    int tap;
    /* The TAP takes no more at the moment: the transmit queue waits for it. */
    bool transmit_waits;
    /* Guards all that follows: the receiving half. */
    pthread_mutex_t lock;
    /* The driver wants frames in this pair, too. */
    bool active;
    /* A frame that came and has no buffers yet, header and all; 0: none. */
    size_t pending;
    bool admitted; /* by the limit, which it was taken from */
    /* So many requests were there, and were too few for it. */
    uint16_t too_few;
    /* The TAP is gone. */
    bool failed;
    uint8_t frame[HEADER_SIZE + FRAME_MAX];
};

void net_pair_init(struct net_pair *pair, struct net_shared *shared, unsigned index, int tap);

/* Before its thread runs. */
void net_pair_start(struct net_pair *pair, bool active);

/* From any thread. When it is off, no frame comes into the queue any more; one that waited for buffers is lost. */
void net_pair_set_active(struct net_pair *pair, bool active);

/* As in struct virtio_operations. */
int net_pair_serve(struct net_pair *pair, enum virtio_net_queue direction);
int net_pair_watch(struct net_pair *pair, short *events);
int net_pair_ready(struct net_pair *pair);

#endif
