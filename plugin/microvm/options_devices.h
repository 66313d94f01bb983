/*
 * The options that describe a disk, the network card or the socket device, NAME=VALUE between commas where there are several. Each mistake
 * is one line to the log, and -EINVAL.
 */
#ifndef VMSUP_PLUGIN_MICROVM_OPTIONS_DEVICES_H
#define VMSUP_PLUGIN_MICROVM_OPTIONS_DEVICES_H

#include "plugin/microvm/rate_limit.h"
#include "plugin/microvm/virtio_blk.h"
#include "plugin/microvm/virtio_net.h"
#include "plugin/microvm/virtio_vsock.h"

struct options_disk {
    const char *name; /* of the grant */
    bool read_only;
    bool direct; /* the grant has O_DIRECT; it is an error if it has not */
    unsigned queues;
    const char *serial; /* at most VIRTIO_BLK_ID_BYTES */
    struct rate_limit_settings limit;
};

struct options_net {
    bool present;
    unsigned queues; /* pairs of them, 1 to VIRTIO_NET_PAIRS_MAX where there is a card */
    struct rate_limit_settings limit; /* of each direction */
};

/* What follows --disk, which is cut into pieces that the disk's strings are then. */
int options_parse_disk(char *text, struct options_disk *disk);

/* What follows --net=; NULL: nothing does. What is not in it stays as it was. */
int options_parse_net(char *text, struct options_net *net);

/* What follows --vsock: the guest's address. */
int options_parse_vsock(const char *text, uint32_t *cid);

#endif
