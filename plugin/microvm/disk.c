#include "plugin/microvm/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <unistd.h>

/* Written by us where a file system cannot do it by itself. */
#define ZEROES_SIZE (64 * 1024)

/* --- What it is. */

static bool
can_read(int fd, uint32_t size)
{
    static uint8_t probe[DISK_BLOCK_MAX] __attribute__((aligned(DISK_BLOCK_MAX)));

    return pread(fd, probe, size, size) >= 0;
}

/* The kernel tells what O_DIRECT needs, or, if it is an old one, shows it by refusing less. 0: nothing that we have. */
static uint32_t
find_direct_block(int fd)
{
    struct statx about = { 0 };

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &about) == 0 && (about.stx_mask & STATX_DIOALIGN) != 0 &&
        about.stx_dio_offset_align > 0) {
        uint32_t block = MAX(MAX(about.stx_dio_offset_align, about.stx_dio_mem_align), DISK_SECTOR);

        return block <= DISK_BLOCK_MAX && (block & (block - 1)) == 0 ? block : 0;
    }
    if (can_read(fd, DISK_SECTOR))
        return DISK_SECTOR;
    return can_read(fd, DISK_BLOCK_MAX) ? DISK_BLOCK_MAX : 0;
}

int
disk_look(struct disk *disk, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    off_t size = lseek(fd, 0, SEEK_END);

    if (flags < 0 || size < 0)
        return -errno;
    *disk = (struct disk){
        .fd = fd,
        .direct = (flags & O_DIRECT) != 0,
        .read_only = (flags & O_ACCMODE) == O_RDONLY,
        .block = DISK_SECTOR,
    };
    if (disk->direct)
        disk->block = find_direct_block(fd);
    if (disk->block == 0)
        return -EOPNOTSUPP;
    disk->size = (uint64_t)size - (uint64_t)size % disk->block;
    return 0;
}

void *
disk_make_bounce(const struct disk *disk)
{
    return disk->direct ? aligned_alloc(DISK_BLOCK_MAX, DISK_BOUNCE_SIZE) : NULL;
}

/* --- Bytes to and fro. */

/* Moves past what was done. Gives how many are left. */
static size_t
advance(struct iovec **part, size_t count, size_t done)
{
    while (count > 0 && done >= (*part)->iov_len) {
        done -= (*part)->iov_len;
        (*part)++;
        count--;
    }
    if (count > 0) {
        (*part)->iov_base = (uint8_t *)(*part)->iov_base + done;
        (*part)->iov_len -= done;
    }
    return count;
}

static int
transfer_plain(const struct disk *disk, bool writes, struct iovec *part, size_t count, uint64_t offset)
{
    while (count > 0) {
        ssize_t done =
            writes ? pwritev(disk->fd, part, (int)count, (off_t)offset) : preadv(disk->fd, part, (int)count, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        if (done == 0)
            return -EIO;
        offset += (uint64_t)done;
        count = advance(&part, count, (size_t)done);
    }
    return 0;
}

static size_t
size_of(const struct iovec *part, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += part[i].iov_len;
    return size;
}

/* Between the bounce buffer and the parts, as many bytes as the buffer has. Gives how many parts are left. */
static size_t
copy_parts(uint8_t *bounce, size_t size, bool to_bounce, struct iovec **part, size_t count)
{
    while (size > 0) {
        size_t length = MIN(size, (*part)->iov_len);

        if (to_bounce)
            memcpy(bounce, (*part)->iov_base, length);
        else
            memcpy((*part)->iov_base, bounce, length);
        bounce += length;
        size -= length;
        count = advance(part, count, length);
    }
    return count;
}

static int
transfer_bounced(const struct disk *disk, bool writes, struct iovec *part, size_t count, uint64_t offset, void *bounce)
{
    size_t left = size_of(part, count);

    while (left > 0) {
        struct iovec whole = { .iov_base = bounce, .iov_len = MIN(left, DISK_BOUNCE_SIZE) };
        size_t size = whole.iov_len;
        int result;

        if (writes)
            count = copy_parts(bounce, size, true, &part, count);
        result = transfer_plain(disk, writes, &whole, 1, offset);
        if (result < 0)
            return result;
        if (!writes)
            count = copy_parts(bounce, size, false, &part, count);
        offset += size;
        left -= size;
    }
    return 0;
}

static bool
is_aligned(const struct disk *disk, const struct iovec *part, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if ((uintptr_t)part[i].iov_base % disk->block != 0 || part[i].iov_len % disk->block != 0)
            return false;
    }
    return true;
}

int
disk_transfer(const struct disk *disk, bool writes, struct iovec *part, size_t count, uint64_t offset, void *bounce)
{
    if (disk->direct && !is_aligned(disk, part, count))
        return transfer_bounced(disk, writes, part, count, offset, bounce);
    return transfer_plain(disk, writes, part, count, offset);
}

int
disk_flush(const struct disk *disk)
{
    return fdatasync(disk->fd) == 0 ? 0 : -errno;
}

/* --- Less than bytes. */

/* Neither this kind of file nor this kernel has it, or not for such a range: then we do without. */
static bool
is_unsupported(int error)
{
    return error == -EOPNOTSUPP || error == -ENOSYS || error == -EINVAL || error == -ENODEV;
}

static int
allocate(const struct disk *disk, int mode, uint64_t offset, uint64_t size)
{
    int result;

    do
        result = fallocate(disk->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}

int
disk_discard(const struct disk *disk, uint64_t offset, uint64_t size)
{
    int result = allocate(disk, FALLOC_FL_PUNCH_HOLE, offset, size);

    return is_unsupported(result) ? 0 : result;
}

static int
write_zeroes(const struct disk *disk, uint64_t offset, uint64_t size, uint64_t *written)
{
    static uint8_t zeroes[ZEROES_SIZE] __attribute__((aligned(DISK_BLOCK_MAX)));
    int result = 0;

    while (size > 0 && result == 0) {
        struct iovec part = { .iov_base = zeroes, .iov_len = MIN(size, sizeof zeroes) };
        uint64_t length = part.iov_len;

        result = transfer_plain(disk, true, &part, 1, offset);
        offset += length;
        size -= length;
        *written += length;
    }
    return result;
}

/* A hole reads as zeroes too, but only who allows it gets one: it may take the place that was reserved. */
int
disk_zero(const struct disk *disk, uint64_t offset, uint64_t size, bool as_hole, uint64_t *written)
{
    int result = allocate(disk, as_hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, offset, size);

    return is_unsupported(result) ? write_zeroes(disk, offset, size, written) : result;
}
