/*
 * What the fuzz targets of virtio devices share: a guest memory in memory.c's place, small, in which a byte that was just read may be
 * another one when it is read again; no threads, in virtio_thread.c's place; a machine without interrupts; and the input's reading.
 *
 * The input: whether the driver behaves until it is ready, the exponent of its queues' size, how often memory changes (0: never), the
 * number of steps, then so many steps of STEP_SIZE bytes, then what memory contains. Included once by each target.
 */
#ifndef VMSUP_TESTS_FUZZ_FUZZ_VIRTIO_H
#define VMSUP_TESTS_FUZZ_FUZZ_VIRTIO_H

#include "common/log.h"
#include "plugin/microvm/virtio_mmio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FAKE_START 0x1000
#define FAKE_SIZE 0x10000
#define QUEUE_STRIDE 0x400
#define STEP_SIZE 6

static uint8_t fake_bytes[FAKE_SIZE] __attribute__((aligned(16)));
static uint32_t fake_period, fake_reads, fake_random;

/* The guest's other vCPU: every so many reads it writes where we just read. */
static void
fake_change(uint8_t *at, size_t size)
{
    if (fake_period == 0 || ++fake_reads % fake_period != 0)
        return;
    fake_random = fake_random * 1664525 + 1013904223;
    at[(fake_random >> 8) % size] ^= (uint8_t)(fake_random >> 24);
}

void *
memory_at(const struct guest_memory *memory, uint64_t address, uint64_t size)
{
    (void)memory;
    if (size == 0 || address < FAKE_START || address - FAKE_START >= FAKE_SIZE || size > FAKE_SIZE - (address - FAKE_START))
        return NULL;
    return fake_bytes + (address - FAKE_START);
}

int
memory_read(const struct guest_memory *memory, uint64_t address, void *to, size_t size)
{
    uint8_t *from = memory_at(memory, address, size);

    if (from == NULL)
        return -EFAULT;
    memcpy(to, from, size);
    fake_change(from, size);
    return 0;
}

int
memory_write(const struct guest_memory *memory, uint64_t address, const void *from, size_t size)
{
    void *to = memory_at(memory, address, size);

    if (to == NULL)
        return -EFAULT;
    memcpy(to, from, size);
    return 0;
}

int
memory_load_u16(const struct guest_memory *memory, uint64_t address, uint16_t *value)
{
    return address % sizeof *value == 0 ? memory_read(memory, address, value, sizeof *value) : -EFAULT;
}

int
memory_store_u16(const struct guest_memory *memory, uint64_t address, uint16_t value)
{
    return address % sizeof value == 0 ? memory_write(memory, address, &value, sizeof value) : -EFAULT;
}

/* What is given back is memory of the guest's, and zeroes from then on: for speed, only where it begins. */
int
memory_discard(void *at, uint64_t size)
{
    const uint8_t *bytes = at;

    if (bytes < fake_bytes || bytes > fake_bytes + FAKE_SIZE || size > (uint64_t)(fake_bytes + FAKE_SIZE - bytes))
        abort();
    memset(at, 0, size < 16 ? size : 16);
    return 0;
}

int
virtio_thread_start(struct virtio_device *device)
{
    device->thread.running = true;
    return 0;
}

void
virtio_thread_stop(struct virtio_device *device)
{
    device->thread.running = false;
}

/* As it is told, by steps. */
static uint64_t fake_now = 1;

uint64_t
virtio_thread_now(void)
{
    return fake_now;
}

static int
fake_add_range(void *machine, uint64_t address, uint64_t length, const struct device_operations *operations, void *device)
{
    (void)machine, (void)address, (void)length, (void)operations, (void)device;
    return 0;
}

static int
fake_add_doorbell(void *machine, uint64_t address, uint32_t value, int *fd)
{
    (void)machine, (void)address, (void)value;
    *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return *fd < 0 ? -errno : 0;
}

static uint32_t fake_page[VIRTIO_MMIO_LENGTH / sizeof(uint32_t)];

static struct virtio_mmio *
fake_connect(struct virtio_device *device)
{
    struct virtio_mmio_config config = {
        .address = 0xfeb00000,
        .page = fake_page,
        .interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .add_range = fake_add_range,
        .add_doorbell = fake_add_doorbell,
    };
    struct virtio_mmio *mmio;

    log_set_level(LOG_LEVEL_ERROR);
    if (virtio_mmio_create(&config, device, &mmio) < 0)
        abort();
    return mmio;
}

static void
fake_write(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    virtio_mmio_operations.write(mmio, offset, (const uint8_t *)&value, sizeof value);
}

/* As a driver that has read the specification. */
static void
fake_set_up(struct virtio_mmio *mmio, struct virtio_device *device, uint32_t size)
{
    fake_write(mmio, VIRTIO_MMIO_STATUS, 1);
    fake_write(mmio, VIRTIO_MMIO_STATUS, 3);
    for (uint32_t i = 0; i < 2; i++) {
        fake_write(mmio, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
        fake_write(mmio, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(device->offered >> (32 * i)));
    }
    fake_write(mmio, VIRTIO_MMIO_STATUS, 11);
    for (uint32_t i = 0; i < device->queue_count; i++) {
        fake_write(mmio, VIRTIO_MMIO_QUEUE_SEL, i);
        fake_write(mmio, VIRTIO_MMIO_QUEUE_NUM, size);
        fake_write(mmio, VIRTIO_MMIO_QUEUE_DESC_LOW, FAKE_START + i * QUEUE_STRIDE);
        fake_write(mmio, VIRTIO_MMIO_QUEUE_AVAIL_LOW, FAKE_START + i * QUEUE_STRIDE + 0x100);
        fake_write(mmio, VIRTIO_MMIO_QUEUE_USED_LOW, FAKE_START + i * QUEUE_STRIDE + 0x200);
        fake_write(mmio, VIRTIO_MMIO_QUEUE_READY, 1);
    }
    fake_write(mmio, VIRTIO_MMIO_STATUS, 15);
}

/* A step: which, where, and a value; the device's own are `own`. */
static void
fake_step(struct virtio_mmio *mmio, struct virtio_device *device, const uint8_t *step, void (*own)(const uint8_t *step))
{
    uint8_t data[16];
    uint32_t value;

    memcpy(&value, step + 2, sizeof value);
    switch (step[0] % 6) {
    case 0:
        fake_write(mmio, (uint64_t)step[1] * 4, value);
        break;
    case 1:
        virtio_mmio_operations.read(mmio, (value % 0x200), data, step[1] % (sizeof data + 1));
        break;
    case 2:
    case 3:
        virtio_serve(device, step[1] % VIRTIO_QUEUES_MAX);
        break;
    case 4:
        fake_bytes[value % FAKE_SIZE] = step[1];
        break;
    case 5:
        own(step);
        break;
    }
}

static void
fake_run(struct virtio_mmio *mmio, struct virtio_device *device, const uint8_t *data, size_t size, void (*own)(const uint8_t *step))
{
    size_t steps;

    if (size < 4)
        return;
    fake_period = data[2];
    fake_reads = 0;
    fake_random = 1;
    steps = data[3];
    if (size - 4 < steps * STEP_SIZE)
        steps = (size - 4) / STEP_SIZE;
    memset(fake_bytes, 0, sizeof fake_bytes);
    size -= 4 + steps * STEP_SIZE;
    memcpy(fake_bytes, data + 4 + steps * STEP_SIZE, size < FAKE_SIZE ? size : FAKE_SIZE);
    if ((data[0] & 1) != 0)
        fake_set_up(mmio, device, 1U << data[1] % 10);
    for (size_t i = 0; i < device->queue_count; i++)
        virtio_serve(device, (unsigned)i);
    for (size_t i = 0; i < steps; i++)
        fake_step(mmio, device, data + 4 + i * STEP_SIZE, own);
    fake_write(mmio, VIRTIO_MMIO_STATUS, 0);
    if (virtio_get_status(device) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
