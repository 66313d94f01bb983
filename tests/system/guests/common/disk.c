#include "tests/system/guests/common/disk.h"

#include "tests/system/guests/common/machine.h"

/* What the device never writes. */
#define NO_STATUS 0xff

/* Of the request of this number. A machine has one disk that is driven at a time. */
static struct virtio_blk_outhdr headers[QUEUE_SIZE];
static volatile uint8_t statuses[QUEUE_SIZE];

static bool
is_written(uint32_t type)
{
    return type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
}

uint64_t
disk_capacity(const struct driver *driver)
{
    return driver_read(driver, VIRTIO_MMIO_CONFIG) | (uint64_t)driver_read(driver, VIRTIO_MMIO_CONFIG + 4) << 32;
}

/* The head of the chain is the queue's next free entry, whose number is so known beforehand. */
uint16_t
disk_offer(struct driver *driver, uint32_t type, uint64_t sector, void *data, uint32_t size)
{
    struct queue *queue = &driver->queue[0];
    uint16_t number = queue->free;
    struct piece piece[3] = { { .at = &headers[number], .size = sizeof headers[number] } };
    unsigned count = 1;

    expect(number < QUEUE_SIZE, "the disk's queue is full");
    headers[number] = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
    statuses[number] = NO_STATUS;
    if (size > 0)
        piece[count++] = (struct piece){ .at = data, .size = size, .writable = is_written(type) };
    piece[count++] = (struct piece){ .at = (void *)&statuses[number], .size = 1, .writable = true };
    return queue_offer(queue, piece, count);
}

uint8_t
disk_do(struct driver *driver, uint32_t type, uint64_t sector, void *data, uint32_t size)
{
    uint16_t offered = disk_offer(driver, type, sector, data, size), number;
    uint32_t written, expected;

    queue_notify(&driver->queue[0]);
    number = queue_wait(&driver->queue[0], &written);
    expect(number == offered, "request %u was offered, %u is done", offered, number);
    expected = is_written(type) ? size + 1 : 1;
    expect(statuses[number] != VIRTIO_BLK_S_OK || written == expected, "%u bytes were written, expected %u", written, expected);
    return statuses[number];
}

uint16_t
disk_wait(struct driver *driver)
{
    uint32_t written;
    uint16_t number = queue_wait(&driver->queue[0], &written);

    expect(statuses[number] == VIRTIO_BLK_S_OK, "a request of type %u has the status %u", headers[number].type, statuses[number]);
    return number;
}
