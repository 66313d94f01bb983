/*
 * A disk (virtio 1.2, 5.2): the bytes of one descriptor, raw. No format is ever looked for. Its size is what it was at creation;
 * a file that is cut, full or fails underneath gives I/O errors. Each queue has a thread of its own; they share the descriptor, and
 * the limits, if there are any. Who creates one owns it and destroys it after its transport; the
 * descriptor stays the caller's, and it and the guest memory outlive the disk.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_BLK_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_BLK_H

#include "plugin/microvm/rate_limit.h"
#include "plugin/microvm/virtio.h"

#include <linux/virtio_blk.h>

/* Of discard and write-zeroes: segments of one request, and sectors of one segment. */
#define VIRTIO_BLK_SEGMENTS_MAX 16
#define VIRTIO_BLK_SEGMENT_SECTORS_MAX (64 * 1024)
#define VIRTIO_BLK_QUEUES_MAX 16

struct virtio_blk;

struct virtio_blk_settings {
    int fd;          /* as disk.h has it: with O_DIRECT or not, and its block size is the guest's */
    bool read_only;  /* also where it was opened so */
    bool direct;     /* the descriptor must have O_DIRECT */
    unsigned queues; /* 1 to VIRTIO_BLK_QUEUES_MAX */
    /* At most VIRTIO_BLK_ID_BYTES of it are shown to the guest. */
    const char *serial;
    struct rate_limit_settings limit; /* of all queues together: bytes read, written and zeroed by writing; requests */
};

/* -EINVAL: that many queues; -EOPNOTSUPP: the descriptor has no O_DIRECT that should have it; -ENOMEM; or as disk_look(). */
int virtio_blk_create(const struct guest_memory *memory, const struct virtio_blk_settings *settings, struct virtio_blk **out);

/* NULL is nothing. */
void virtio_blk_destroy(struct virtio_blk *blk);

/* What a transport carries; the disk's own. */
struct virtio_device *virtio_blk_device(struct virtio_blk *blk);

#endif
