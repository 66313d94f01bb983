/*
 * A driver for unit tests of virtio devices: a guest memory of its own, a machine that has doorbells and counts interrupts, and registers
 * as the guest sees them. Each call that fails ends its test. The device's thread really runs.
 */
#ifndef VMSUP_TESTS_UNIT_VIRTIO_DRIVER_H
#define VMSUP_TESTS_UNIT_VIRTIO_DRIVER_H

#include "plugin/microvm/virtio_mmio.h"
#include "tests/unit/scratch.h"

#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define DRIVER_MEMORY 0x40000
#define DRIVER_START 0x10000ULL
#define DRIVER_QUEUE_SIZE 8
#define DRIVER_STRIDE 0x1000
/* From here on memory is for requests. */
#define DRIVER_BUFFERS (DRIVER_START + 0x10000)
#define DRIVER_ENOUGH_MS 5000

struct driver {
    uint8_t bytes[DRIVER_MEMORY] __attribute__((aligned(4096)));
    uint32_t page[VIRTIO_MMIO_LENGTH / sizeof(uint32_t)];
    struct guest_memory memory;
    struct virtio_device *device;
    struct virtio_mmio *mmio;
    int interrupt, acknowledged, doorbell[VIRTIO_QUEUES_MAX];
    uint16_t available[VIRTIO_QUEUES_MAX];
};

static inline int
driver_add_range(void *machine, uint64_t address, uint64_t length, const struct device_operations *operations, void *device)
{
    (void)machine, (void)device;
    assert_int_equal(address, 0xfeb00000);
    assert_int_equal(length, VIRTIO_MMIO_LENGTH);
    assert_ptr_equal(operations, &virtio_mmio_operations);
    return 0;
}

static inline int
driver_add_doorbell(void *machine, uint64_t address, uint32_t value, int *fd)
{
    struct driver *driver = machine;

    *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (address == 0xfeb00000 + VIRTIO_MMIO_INTERRUPT_ACK) {
        assert_int_equal(value, VIRTIO_INTERRUPT_QUEUE);
        driver->acknowledged = *fd;
    } else {
        assert_int_equal(address, 0xfeb00000 + VIRTIO_MMIO_QUEUE_NOTIFY);
        driver->doorbell[value] = *fd;
    }
    return 0;
}

static inline struct driver *
driver_make(void)
{
    struct driver *driver = aligned_alloc(4096, sizeof *driver);

    assert_non_null(driver);
    memset(driver, 0, sizeof *driver);
    driver->memory = (struct guest_memory){
        .region[0] = { .start = DRIVER_START, .size = DRIVER_MEMORY, .host = driver->bytes },
        .count = 1,
    };
    for (size_t i = 0; i < VIRTIO_QUEUES_MAX; i++)
        driver->doorbell[i] = -1;
    driver->acknowledged = -1;
    driver->interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    log_set_level(LOG_LEVEL_ERROR);
    return driver;
}

static inline void
driver_connect(struct driver *driver, struct virtio_device *device)
{
    struct virtio_mmio_config config = {
        .address = 0xfeb00000,
        .page = driver->page,
        .interrupt = driver->interrupt,
        .machine = driver,
        .add_range = driver_add_range,
        .add_doorbell = driver_add_doorbell,
    };

    driver->device = device;
    assert_int_equal(virtio_mmio_create(&config, device, &driver->mmio), 0);
}

static inline void
driver_free(struct driver *driver)
{
    virtio_mmio_destroy(driver->mmio);
    fd_close_all(driver->doorbell, VIRTIO_QUEUES_MAX);
    fd_close(&driver->interrupt);
    fd_close(&driver->acknowledged);
    free(driver);
}

/* As a guest does: from the page, without asking. */
static inline uint32_t
driver_read(struct driver *driver, uint64_t offset)
{
    return __atomic_load_n(&driver->page[offset / sizeof(uint32_t)], __ATOMIC_ACQUIRE);
}

static inline void
driver_write(struct driver *driver, uint64_t offset, uint32_t value)
{
    virtio_mmio_operations.write(driver->mmio, offset, (const uint8_t *)&value, sizeof value);
}

static inline uint64_t
driver_queue(unsigned queue)
{
    return DRIVER_START + (uint64_t)queue * DRIVER_STRIDE;
}

/* Where a guest address is in our memory. */
static inline void *
driver_at(struct driver *driver, uint64_t address)
{
    assert_true(address >= DRIVER_START && address < DRIVER_START + DRIVER_MEMORY);
    return driver->bytes + (address - DRIVER_START);
}

static inline void
driver_negotiate(struct driver *driver, uint64_t features)
{
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    driver_write(driver, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    driver_write(driver, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (uint32_t i = 0; i < 2; i++) {
        driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
        driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> (32 * i)));
    }
    driver_write(driver, VIRTIO_MMIO_STATUS, 11);
}

static inline void
driver_set_queue(struct driver *driver, unsigned queue)
{
    driver->available[queue] = 0;
    memset(driver_at(driver, driver_queue(queue)), 0, DRIVER_STRIDE);
    driver_write(driver, VIRTIO_MMIO_QUEUE_SEL, queue);
    driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, DRIVER_QUEUE_SIZE);
    driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)driver_queue(queue));
    driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)driver_queue(queue) + 0x400);
    driver_write(driver, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)driver_queue(queue) + 0x800);
    driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* All of it, up to DRIVER_OK. */
static inline void
driver_set_up(struct driver *driver, uint64_t features)
{
    driver_negotiate(driver, features);
    for (unsigned i = 0; i < driver->device->queue_count; i++)
        driver_set_queue(driver, i);
    driver_write(driver, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

static inline void
driver_describe(struct driver *driver, unsigned queue, unsigned index, struct vring_desc descriptor)
{
    memcpy(driver_at(driver, driver_queue(queue) + index * sizeof descriptor), &descriptor, sizeof descriptor);
}

static inline void
driver_offer(struct driver *driver, unsigned queue, uint16_t head)
{
    uint16_t *ring = driver_at(driver, driver_queue(queue) + 0x400);

    ring[2 + driver->available[queue]++ % DRIVER_QUEUE_SIZE] = head;
    __atomic_store_n(&ring[1], driver->available[queue], __ATOMIC_RELEASE);
}

static inline void
driver_ring(struct driver *driver, unsigned queue)
{
    driver_write(driver, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static inline uint16_t
driver_used(struct driver *driver, unsigned queue)
{
    const uint16_t *ring = driver_at(driver, driver_queue(queue) + 0x800);

    return __atomic_load_n(&ring[1], __ATOMIC_ACQUIRE);
}

static inline struct vring_used_elem
driver_used_at(struct driver *driver, unsigned queue, unsigned index)
{
    struct vring_used_elem element;

    memcpy(&element, driver_at(driver, driver_queue(queue) + 0x804 + index % DRIVER_QUEUE_SIZE * sizeof element), sizeof element);
    return element;
}

/* An interrupt comes; what it was for is acknowledged. */
static inline uint32_t
driver_wait(struct driver *driver)
{
    struct pollfd wait = { .fd = driver->interrupt, .events = POLLIN };
    eventfd_t count;
    uint32_t status;

    assert_int_equal(poll(&wait, 1, DRIVER_ENOUGH_MS), 1);
    eventfd_read(driver->interrupt, &count);
    status = driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS);
    driver_write(driver, VIRTIO_MMIO_INTERRUPT_ACK, status);
    return status;
}

/* Until so many requests came back. */
static inline void
driver_wait_used(struct driver *driver, unsigned queue, uint16_t used)
{
    while (driver_used(driver, queue) != used)
        driver_wait(driver);
}

/* The device says that it needs a reset, by an interrupt too, and works after one. */
static inline void
driver_expect_broken(struct driver *driver)
{
    /* An interrupt for a request that has been seen in its ring may still come first. */
    while ((driver_wait(driver) & VIRTIO_INTERRUPT_CONFIG) == 0)
        continue;
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 0);
}

#endif
