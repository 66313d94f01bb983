/* Requests to a virtio block device (virtio 1.2, 5.2.6): a few of them at once at most, each answered with a status. */
#ifndef VMSUP_TESTS_SYSTEM_GUESTS_COMMON_DISK_H
#define VMSUP_TESTS_SYSTEM_GUESTS_COMMON_DISK_H

#include "tests/system/guests/common/virtio.h"

#include <linux/virtio_blk.h>

#define SECTOR 512

/* Its features but for those that every device has. */
#define DISK_FEATURES \
    (VIRTIO_BIT(VIRTIO_BLK_F_RO) | VIRTIO_BIT(VIRTIO_BLK_F_FLUSH) | VIRTIO_BIT(VIRTIO_BLK_F_DISCARD) | \
     VIRTIO_BIT(VIRTIO_BLK_F_WRITE_ZEROES))

/* In sectors. */
uint64_t disk_capacity(const struct driver *driver);

/* Does a request with this much data and gives its status, VIRTIO_BLK_S_*. The bytes that a good one writes are counted. */
uint8_t disk_do(struct driver *driver, uint32_t type, uint64_t sector, void *data, uint32_t size);

/* Puts a request to read or write into the queue; notifying is the caller's. */
uint16_t disk_offer(struct driver *driver, uint32_t type, uint64_t sector, void *data, uint32_t size);
/* Waits until a request is done, gives its number and fails where its status is not good. */
uint16_t disk_wait(struct driver *driver);

#endif
