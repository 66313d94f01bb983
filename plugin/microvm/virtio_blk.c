#include "plugin/microvm/virtio_blk.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <unistd.h>

/* 5.2.2: capacities and places are in units of this, whatever the block size. */
#define SECTOR 512
/* Those of a disk in LBA mode, for who still wants to know. */
#define GEOMETRY_HEADS 16
#define GEOMETRY_SECTORS 63
/* Physical blocks of 4 KiB: 2^3 logical ones. */
#define PHYSICAL_BLOCK_EXPONENT 3
/* Written by us where a file system cannot do it by itself. */
#define ZEROES_SIZE (64 * 1024)

struct virtio_blk {
    struct virtio_device device;
    struct virtio_blk_config config;
    int fd;
    bool read_only;
    bool write_back; /* the driver knows how to flush; otherwise each write is on the disk when it is answered (5.2.6.2) */
    uint64_t sectors;
    char serial[VIRTIO_BLK_ID_BYTES];
};

/* A request, its header copied: from here on the guest cannot change it. */
struct request {
    struct virtio_blk *blk;
    const struct chain *chain;
    struct virtio_blk_outhdr header;
    uint64_t readable, writable; /* bytes of data: without the header, without the status */
    uint32_t written;            /* bytes of data that the guest may use */
};

static bool
is_inside(const struct virtio_blk *blk, uint64_t sector, uint64_t sectors)
{
    return sector <= blk->sectors && sectors <= blk->sectors - sector;
}

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

/* All of it, or VIRTIO_BLK_S_IOERR: also where the file ends before the disk does. */
static uint8_t
transfer(const struct virtio_blk *blk, bool writes, struct iovec *part, size_t count, uint64_t offset)
{
    while (count > 0) {
        ssize_t done = writes ? pwritev(blk->fd, part, (int)count, (off_t)offset) : preadv(blk->fd, part, (int)count, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return VIRTIO_BLK_S_IOERR;
        offset += (uint64_t)done;
        count = advance(&part, count, (size_t)done);
    }
    return VIRTIO_BLK_S_OK;
}

static uint8_t
flush(const struct virtio_blk *blk)
{
    return fdatasync(blk->fd) == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

/* After what changes the disk. */
static uint8_t
settle(const struct virtio_blk *blk, uint8_t status)
{
    return status == VIRTIO_BLK_S_OK && !blk->write_back ? flush(blk) : status;
}

static uint8_t
do_in(struct request *request)
{
    struct iovec part[QUEUE_SIZE_MAX];
    uint64_t size = request->writable;
    uint8_t status;

    if (size == 0 || size % SECTOR != 0 || !is_inside(request->blk, request->header.sector, size / SECTOR))
        return VIRTIO_BLK_S_IOERR;
    status = transfer(request->blk, false, part, chain_slice_writable(request->chain, 0, size, part), request->header.sector * SECTOR);
    if (status == VIRTIO_BLK_S_OK)
        request->written = (uint32_t)size;
    return status;
}

static uint8_t
do_out(struct request *request)
{
    struct iovec part[QUEUE_SIZE_MAX];
    uint64_t size = request->readable;
    size_t count;

    if (size == 0 || size % SECTOR != 0 || !is_inside(request->blk, request->header.sector, size / SECTOR))
        return VIRTIO_BLK_S_IOERR;
    count = chain_slice_readable(request->chain, sizeof request->header, size, part);
    return settle(request->blk, transfer(request->blk, true, part, count, request->header.sector * SECTOR));
}

static uint8_t
do_flush(struct request *request)
{
    return flush(request->blk);
}

/* 5.2.6: twenty bytes, not ended by a NUL where they are all used. */
static uint8_t
do_get_id(struct request *request)
{
    const struct virtio_blk *blk = request->blk;

    if (request->writable < sizeof blk->serial || !chain_write(request->chain, 0, blk->serial, sizeof blk->serial))
        return VIRTIO_BLK_S_IOERR;
    request->written = sizeof blk->serial;
    return VIRTIO_BLK_S_OK;
}

static uint8_t
write_zeroes(const struct virtio_blk *blk, uint64_t offset, uint64_t size)
{
    static uint8_t zeroes[ZEROES_SIZE];
    uint8_t status = VIRTIO_BLK_S_OK;

    while (size > 0 && status == VIRTIO_BLK_S_OK) {
        struct iovec part = { .iov_base = zeroes, .iov_len = MIN(size, sizeof zeroes) };
        uint64_t length = part.iov_len;

        status = transfer(blk, true, &part, 1, offset);
        offset += length;
        size -= length;
    }
    return status;
}

/* A hint: a file system without holes keeps what it has. */
static uint8_t
discard(const struct virtio_blk *blk, uint64_t offset, uint64_t size)
{
    if (fallocate(blk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) == 0 || errno == EOPNOTSUPP)
        return VIRTIO_BLK_S_OK;
    return VIRTIO_BLK_S_IOERR;
}

/* A hole reads as zeroes too, but only a driver that allows it gets one. */
static uint8_t
zero(const struct virtio_blk *blk, uint64_t offset, uint64_t size, bool unmap)
{
    int mode = unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

    if (fallocate(blk->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) == 0)
        return VIRTIO_BLK_S_OK;
    return errno == EOPNOTSUPP ? write_zeroes(blk, offset, size) : VIRTIO_BLK_S_IOERR;
}

/* 5.2.6.2: flags that are not known, and unmap where discarding means it anyway, are not supported. */
static uint8_t
check_segment(const struct request *request, const struct virtio_blk_discard_write_zeroes *segment)
{
    uint32_t allowed = request->header.type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

    if ((segment->flags & ~allowed) != 0)
        return VIRTIO_BLK_S_UNSUPP;
    if (segment->num_sectors == 0 || segment->num_sectors > VIRTIO_BLK_SEGMENT_SECTORS_MAX ||
        !is_inside(request->blk, segment->sector, segment->num_sectors))
        return VIRTIO_BLK_S_IOERR;
    return VIRTIO_BLK_S_OK;
}

static uint8_t
do_segment(const struct request *request, const struct virtio_blk_discard_write_zeroes *segment)
{
    uint64_t offset = segment->sector * SECTOR, size = (uint64_t)segment->num_sectors * SECTOR;

    if (request->header.type == VIRTIO_BLK_T_DISCARD)
        return discard(request->blk, offset, size);
    return zero(request->blk, offset, size, (segment->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0);
}

/* All segments are copied and checked before the first one is done. */
static uint8_t
do_segments(struct request *request)
{
    struct virtio_blk_discard_write_zeroes segment[VIRTIO_BLK_SEGMENTS_MAX];
    uint64_t count = request->readable / sizeof segment[0];
    uint8_t status = VIRTIO_BLK_S_OK;

    if (count == 0 || count > VIRTIO_BLK_SEGMENTS_MAX || request->readable % sizeof segment[0] != 0 ||
        !chain_read(request->chain, sizeof request->header, segment, (size_t)request->readable))
        return VIRTIO_BLK_S_IOERR;
    for (uint64_t i = 0; i < count && status == VIRTIO_BLK_S_OK; i++)
        status = check_segment(request, &segment[i]);
    for (uint64_t i = 0; i < count && status == VIRTIO_BLK_S_OK; i++)
        status = do_segment(request, &segment[i]);
    return settle(request->blk, status);
}

/* 5.2.6: what a request may be. */
static const struct {
    uint32_t type;
    bool changes; /* not for a read-only disk */
    uint8_t (*handle)(struct request *request);
} requests[] = {
    { VIRTIO_BLK_T_IN, false, do_in },
    { VIRTIO_BLK_T_OUT, true, do_out },
    { VIRTIO_BLK_T_FLUSH, false, do_flush },
    { VIRTIO_BLK_T_GET_ID, false, do_get_id },
    { VIRTIO_BLK_T_DISCARD, true, do_segments },
    { VIRTIO_BLK_T_WRITE_ZEROES, true, do_segments },
};

static uint8_t
dispatch(struct request *request)
{
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        if (requests[i].type != request->header.type)
            continue;
        if (requests[i].changes && request->blk->read_only)
            return VIRTIO_BLK_S_IOERR;
        return requests[i].handle(request);
    }
    return VIRTIO_BLK_S_UNSUPP;
}

/* The header is what is read first, the status the last byte that is written (5.2.6), however they are cut into buffers (2.7.4.1). */
static int
do_request(void *device, const struct chain *chain, uint32_t *written)
{
    struct request request = { .blk = device, .chain = chain };
    uint8_t status;

    /* Where there is no room for a status, nobody can be told of a failure. */
    if (chain->writable_size == 0 || !chain_read(chain, 0, &request.header, sizeof request.header))
        return -EPROTO;
    request.readable = chain->readable_size - sizeof request.header;
    request.writable = chain->writable_size - sizeof status;
    status = dispatch(&request);
    chain_write(chain, request.writable, &status, sizeof status);
    /* So many bytes from the first on were written, the status among them only if nothing before it is left out (2.7.8.2). */
    *written = request.written + (request.written == request.writable ? (uint32_t)sizeof status : 0);
    return 0;
}

static int
serve(void *device, unsigned queue)
{
    struct virtio_blk *blk = device;

    return virtio_each_request(&blk->device, queue, do_request);
}

static int
activate(void *device, uint64_t features)
{
    struct virtio_blk *blk = device;

    blk->write_back = (features & VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH)) != 0;
    return 0;
}

static const struct virtio_operations operations = {
    .name = "disk",
    .id = VIRTIO_ID_BLOCK,
    .activate = activate,
    .serve = serve,
};

/* 5.2.4. */
static void
fill_config(struct virtio_blk *blk, unsigned queues)
{
    uint64_t cylinders = blk->sectors / (GEOMETRY_HEADS * GEOMETRY_SECTORS);

    blk->config = (struct virtio_blk_config){
        .capacity = blk->sectors,
        /* One buffer for the header, one for the status. */
        .seg_max = QUEUE_SIZE_MAX - 2,
        .geometry = { .cylinders = (uint16_t)MIN(cylinders, UINT16_MAX), .heads = GEOMETRY_HEADS, .sectors = GEOMETRY_SECTORS },
        .blk_size = SECTOR,
        .physical_block_exp = PHYSICAL_BLOCK_EXPONENT,
        .min_io_size = 1 << PHYSICAL_BLOCK_EXPONENT,
        .num_queues = (uint16_t)queues,
        .max_discard_sectors = VIRTIO_BLK_SEGMENT_SECTORS_MAX,
        .max_discard_seg = VIRTIO_BLK_SEGMENTS_MAX,
        .discard_sector_alignment = 1 << PHYSICAL_BLOCK_EXPONENT,
        .max_write_zeroes_sectors = VIRTIO_BLK_SEGMENT_SECTORS_MAX,
        .max_write_zeroes_seg = VIRTIO_BLK_SEGMENTS_MAX,
        .write_zeroes_may_unmap = 1,
    };
}

static uint64_t
choose_features(const struct virtio_blk_settings *settings)
{
    uint64_t features = VIRTIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIRTIO_FEATURE(VIRTIO_BLK_F_GEOMETRY) |
                        VIRTIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) | VIRTIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
                        VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH);

    if (settings->queues > 1)
        features |= VIRTIO_FEATURE(VIRTIO_BLK_F_MQ);
    if (settings->read_only)
        return features | VIRTIO_FEATURE(VIRTIO_BLK_F_RO);
    return features | VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD) | VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
}

int
virtio_blk_create(const struct guest_memory *memory, const struct virtio_blk_settings *settings, struct virtio_blk **out)
{
    off_t size = lseek(settings->fd, 0, SEEK_END);
    struct virtio_blk *blk;

    if (settings->queues == 0 || settings->queues > VIRTIO_QUEUES_MAX)
        return -EINVAL;
    if (size < 0)
        return -errno;
    blk = calloc(1, sizeof *blk);
    if (blk == NULL)
        return -ENOMEM;
    blk->fd = settings->fd;
    blk->read_only = settings->read_only;
    blk->sectors = (uint64_t)size / SECTOR;
    memcpy(blk->serial, settings->serial, strnlen(settings->serial, sizeof blk->serial));
    fill_config(blk, settings->queues);
    virtio_init(&blk->device, &(struct virtio_setup){
                                  .operations = &operations,
                                  .context = blk,
                                  .memory = memory,
                                  .features = choose_features(settings),
                                  .config = &blk->config,
                                  .config_size = sizeof blk->config,
                                  .queue_count = settings->queues,
                              });
    *out = blk;
    return 0;
}

void
virtio_blk_destroy(struct virtio_blk *blk)
{
    free(blk);
}

struct virtio_device *
virtio_blk_device(struct virtio_blk *blk)
{
    return &blk->device;
}
