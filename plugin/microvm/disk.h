/*
 * The bytes behind a virtual disk: one descriptor of a regular file or a block device, raw, with or without O_DIRECT. Nothing here knows of
 * virtio. The descriptor stays the caller's. A struct disk does not change after disk_look(), so that any thread may use it; a bounce
 * buffer is one thread's. What fails is a negative errno, also where the file turns out to be shorter than it was.
 */
#ifndef VMSUP_PLUGIN_MICROVM_DISK_H
#define VMSUP_PLUGIN_MICROVM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* A place on a disk is always in units of this, and no block is smaller. */
#define DISK_SECTOR 512
/* No block is larger, and no alignment. */
#define DISK_BLOCK_MAX 4096
/* At most so many bytes at once where a guest's buffers are not aligned as O_DIRECT needs them. */
#define DISK_BOUNCE_SIZE (64 * 1024)

struct disk {
    int fd;
    bool direct;    /* O_DIRECT is set: offsets and sizes are whole blocks, and so are addresses, or go through a bounce buffer */
    bool read_only; /* opened so */
    uint32_t block; /* bytes */
    uint64_t size;  /* bytes, whole blocks: what is left at the end is no part of the disk */
};

/* -EOPNOTSUPP: the blocks for O_DIRECT are larger than DISK_BLOCK_MAX; or why the descriptor has no size. */
int disk_look(struct disk *disk, int fd);

/* A bounce buffer, for free(3). NULL where there is no memory, or where the disk needs none. */
void *disk_make_bounce(const struct disk *disk);

/* All bytes of the parts, which are used up, from `offset` on. -EIO: the file ends before. */
int disk_transfer(const struct disk *disk, bool writes, struct iovec *part, size_t count, uint64_t offset, void *bounce);

/* What was written before is on the disk. */
int disk_flush(const struct disk *disk);

/* The guest does not need these bytes any more. Who cannot give them back keeps them, which is no error. */
int disk_discard(const struct disk *disk, uint64_t offset, uint64_t size);

/* Zeroes from `offset` on, as a hole where that is allowed. *written: so many bytes had to be written for it. */
int disk_zero(const struct disk *disk, uint64_t offset, uint64_t size, bool as_hole, uint64_t *written);

#endif
