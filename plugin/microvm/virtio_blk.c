#include "plugin/microvm/virtio_blk.h"

#include "plugin/microvm/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

_Static_assert(VIRTIO_BLK_QUEUES_MAX <= VIRTIO_QUEUES_MAX, "each has a thread");

/* 5.2.2: capacities and places are in units of this, whatever the block size. */
#define SECTOR DISK_SECTOR
/* Those of a disk in LBA mode, for who still wants to know. */
#define GEOMETRY_HEADS 16
#define GEOMETRY_SECTORS 63
/* What a host's file system or disk does best in one piece, whatever its logical blocks are. */
#define PHYSICAL_BLOCK 4096

struct blk_queue {
    struct virtio_blk *blk;
    unsigned index;
    void *bounce; /* NULL where the disk needs none */
};

struct virtio_blk {
    struct virtio_device device;
    struct virtio_blk_config config;
    struct disk disk;
    bool read_only;
    bool write_back; /* the driver knows how to flush; otherwise each write is on the disk when it is answered (5.2.6.2) */
    char serial[VIRTIO_BLK_ID_BYTES];
    struct rate_limit limit;
    struct blk_queue queue[VIRTIO_BLK_QUEUES_MAX];
};

/* A request, its header copied: from here on the guest cannot change it. */
struct request {
    struct virtio_blk *blk;
    struct blk_queue *queue;
    const struct chain *chain;
    struct virtio_blk_outhdr header;
    uint64_t readable, writable; /* bytes of data: without the header, without the status */
    uint32_t written;            /* bytes of data that the guest may use */
    uint64_t zeroed;             /* bytes that had to be written though the guest sent none */
};

/* Whole blocks, at least one, that the disk has. */
static bool
is_on_disk(const struct disk *disk, uint64_t sector, uint64_t size)
{
    return size > 0 && size % disk->block == 0 && sector <= disk->size / SECTOR && sector * SECTOR % disk->block == 0 &&
           size <= disk->size - sector * SECTOR;
}

static uint8_t
status_of(int result)
{
    if (result < 0)
        return VIRTIO_BLK_S_IOERR;
    return VIRTIO_BLK_S_OK;
}

/* After what changes the disk. */
static uint8_t
settle(const struct virtio_blk *blk, uint8_t status)
{
    return status == VIRTIO_BLK_S_OK && !blk->write_back ? status_of(disk_flush(&blk->disk)) : status;
}

static uint8_t
do_in(struct request *request)
{
    const struct disk *disk = &request->blk->disk;
    struct iovec part[QUEUE_SIZE_MAX];
    uint64_t size = request->writable;
    size_t count;
    int result;

    if (!is_on_disk(disk, request->header.sector, size))
        return VIRTIO_BLK_S_IOERR;
    count = chain_slice_writable(request->chain, 0, size, part);
    result = disk_transfer(disk, false, part, count, request->header.sector * SECTOR, request->queue->bounce);
    if (result == 0)
        request->written = (uint32_t)size;
    return status_of(result);
}

static uint8_t
do_out(struct request *request)
{
    const struct disk *disk = &request->blk->disk;
    struct iovec part[QUEUE_SIZE_MAX];
    uint64_t size = request->readable;
    size_t count;
    int result;

    if (!is_on_disk(disk, request->header.sector, size))
        return VIRTIO_BLK_S_IOERR;
    count = chain_slice_readable(request->chain, sizeof request->header, size, part);
    result = disk_transfer(disk, true, part, count, request->header.sector * SECTOR, request->queue->bounce);
    return settle(request->blk, status_of(result));
}

static uint8_t
do_flush(struct request *request)
{
    return status_of(disk_flush(&request->blk->disk));
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

/* 5.2.6.2: flags that are not known, and unmap where discarding means it anyway, are not supported. */
static uint8_t
check_segment(const struct request *request, const struct virtio_blk_discard_write_zeroes *segment)
{
    uint32_t allowed = request->header.type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

    if ((segment->flags & ~allowed) != 0)
        return VIRTIO_BLK_S_UNSUPP;
    if (segment->num_sectors > VIRTIO_BLK_SEGMENT_SECTORS_MAX ||
        !is_on_disk(&request->blk->disk, segment->sector, (uint64_t)segment->num_sectors * SECTOR))
        return VIRTIO_BLK_S_IOERR;
    return VIRTIO_BLK_S_OK;
}

static uint8_t
do_segment(struct request *request, const struct virtio_blk_discard_write_zeroes *segment)
{
    uint64_t offset = segment->sector * SECTOR, size = (uint64_t)segment->num_sectors * SECTOR;
    const struct disk *disk = &request->blk->disk;
    bool as_hole = (segment->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;

    if (request->header.type == VIRTIO_BLK_T_DISCARD)
        return status_of(disk_discard(disk, offset, size));
    return status_of(disk_zero(disk, offset, size, as_hole, &request->zeroed));
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
answer(struct request *request, uint32_t *written)
{
    const struct chain *chain = request->chain;
    uint8_t status;

    /* Where there is no room for a status, nobody can be told of a failure. */
    if (chain->writable_size == 0 || !chain_read(chain, 0, &request->header, sizeof request->header))
        return -EPROTO;
    request->readable = chain->readable_size - sizeof request->header;
    request->writable = chain->writable_size - sizeof status;
    status = dispatch(request);
    chain_write(chain, request->writable, &status, sizeof status);
    /* So many bytes from the first on were written, the status among them only if nothing before it is left out (2.7.8.2). */
    *written = request->written + (request->written == request->writable ? (uint32_t)sizeof status : 0);
    return 0;
}

/* A request that the limit does not admit yet stays where it is, and so do all behind it. */
static int
do_request(void *context, const struct chain *chain, uint32_t *written)
{
    struct blk_queue *queue = context;
    struct virtio_blk *blk = queue->blk;
    struct request request = { .blk = blk, .queue = queue, .chain = chain };
    uint64_t now, delay;
    int result;

    if (!blk->limit.is_set)
        return answer(&request, written);
    now = virtio_thread_now();
    delay = rate_limit_delay(&blk->limit, now);
    if (delay > 0) {
        virtio_serve_later(&blk->device, queue->index, delay);
        return -EAGAIN;
    }
    /* All of it beforehand, so that other queues see it while it goes; what turns out to be more, after. */
    rate_limit_charge(&blk->limit, now, chain->readable_size + chain->writable_size, 1);
    result = answer(&request, written);
    rate_limit_charge(&blk->limit, now, request.zeroed, 0);
    return result;
}

static int
serve(void *device, unsigned index)
{
    struct virtio_blk *blk = device;

    return virtio_each_request_of(&blk->device, index, do_request, &blk->queue[index]);
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
    const struct disk *disk = &blk->disk;
    uint64_t sectors = disk->size / SECTOR, cylinders = sectors / (GEOMETRY_HEADS * GEOMETRY_SECTORS);
    uint32_t physical = PHYSICAL_BLOCK / disk->block;

    blk->config = (struct virtio_blk_config){
        .capacity = sectors,
        /* One buffer for the header, one for the status. */
        .seg_max = QUEUE_SIZE_MAX - 2,
        .geometry = { .cylinders = (uint16_t)MIN(cylinders, UINT16_MAX), .heads = GEOMETRY_HEADS, .sectors = GEOMETRY_SECTORS },
        .blk_size = disk->block,
        .physical_block_exp = (uint8_t)__builtin_ctz(physical),
        .min_io_size = (uint16_t)physical,
        .num_queues = (uint16_t)queues,
        .max_discard_sectors = VIRTIO_BLK_SEGMENT_SECTORS_MAX,
        .max_discard_seg = VIRTIO_BLK_SEGMENTS_MAX,
        .discard_sector_alignment = PHYSICAL_BLOCK / SECTOR,
        .max_write_zeroes_sectors = VIRTIO_BLK_SEGMENT_SECTORS_MAX,
        .max_write_zeroes_seg = VIRTIO_BLK_SEGMENTS_MAX,
        .write_zeroes_may_unmap = 1,
    };
}

static uint64_t
choose_features(const struct virtio_blk *blk, unsigned queues)
{
    uint64_t features = VIRTIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIRTIO_FEATURE(VIRTIO_BLK_F_GEOMETRY) |
                        VIRTIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) | VIRTIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
                        VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH);

    if (queues > 1)
        features |= VIRTIO_FEATURE(VIRTIO_BLK_F_MQ);
    if (blk->read_only)
        return features | VIRTIO_FEATURE(VIRTIO_BLK_F_RO);
    return features | VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD) | VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
}

/* Also a bounce buffer for each, since each has a thread. */
static int
make_queues(struct virtio_blk *blk, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        blk->queue[i] = (struct blk_queue){ .blk = blk, .index = i, .bounce = disk_make_bounce(&blk->disk) };
        if (blk->disk.direct && blk->queue[i].bounce == NULL)
            return -ENOMEM;
    }
    return 0;
}

int
virtio_blk_create(const struct guest_memory *memory, const struct virtio_blk_settings *settings, struct virtio_blk **out)
{
    struct virtio_blk *blk;
    int result;

    if (settings->queues == 0 || settings->queues > VIRTIO_BLK_QUEUES_MAX)
        return -EINVAL;
    blk = calloc(1, sizeof *blk);
    if (blk == NULL)
        return -ENOMEM;
    result = disk_look(&blk->disk, settings->fd);
    if (result == 0 && settings->direct && !blk->disk.direct)
        result = -EOPNOTSUPP;
    if (result == 0)
        result = make_queues(blk, settings->queues);
    if (result < 0) {
        virtio_blk_destroy(blk);
        return result;
    }
    blk->read_only = settings->read_only || blk->disk.read_only;
    memcpy(blk->serial, settings->serial, strnlen(settings->serial, sizeof blk->serial));
    rate_limit_init(&blk->limit, &settings->limit, virtio_thread_now());
    fill_config(blk, settings->queues);
    virtio_init(&blk->device, &(struct virtio_setup){
                                  .operations = &operations,
                                  .context = blk,
                                  .memory = memory,
                                  .features = choose_features(blk, settings->queues),
                                  .config = &blk->config,
                                  .config_size = sizeof blk->config,
                                  .queue_count = settings->queues,
                                  .queues_per_thread = 1,
                              });
    *out = blk;
    return 0;
}

void
virtio_blk_destroy(struct virtio_blk *blk)
{
    if (blk == NULL)
        return;
    for (unsigned i = 0; i < VIRTIO_BLK_QUEUES_MAX; i++)
        free(blk->queue[i].bounce);
    free(blk);
}

struct virtio_device *
virtio_blk_device(struct virtio_blk *blk)
{
    return &blk->device;
}
