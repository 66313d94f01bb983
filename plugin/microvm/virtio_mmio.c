#include "plugin/microvm/virtio_mmio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define MAGIC 0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR 0x50534d56 /* "VMSP" */
/* 4.2.2: shared memory regions that do not exist have this length, and this base. */
#define NO_SHARED_MEMORY UINT32_MAX

struct virtio_mmio {
    struct virtio_device *device;
    pthread_mutex_t lock;
    int interrupt;
    uint32_t interrupt_status; /* atomic: the device's thread sets bits without the lock */
    uint32_t feature_select, driver_feature_select, queue_select;
    uint64_t driver_features;
};

/* 4.2.2, InterruptStatus: the bit first, then the edge, so that whoever comes for the edge finds the bit. */
static void
interrupt(void *transport, enum virtio_interrupt reason)
{
    struct virtio_mmio *mmio = transport;

    __atomic_fetch_or(&mmio->interrupt_status, (uint32_t)reason, __ATOMIC_ACQ_REL);
    eventfd_write(mmio->interrupt, 1);
}

static uint32_t
half(uint64_t whole, uint32_t which)
{
    return which > 1 ? 0 : (uint32_t)(whole >> (32 * which));
}

static void
set_half(uint64_t *whole, uint32_t which, uint32_t value)
{
    uint64_t mask = UINT64_C(0xffffffff) << (32 * which);

    *whole = (*whole & ~mask) | (uint64_t)value << (32 * which);
}

/* The queue that is selected; NULL where there is none of this number. */
static const struct queue *
selected_queue(const struct virtio_mmio *mmio)
{
    return mmio->queue_select < mmio->device->queue_count ? &mmio->device->queue[mmio->queue_select] : NULL;
}

/* 4.2.2, table 4.1. What may only be written reads as zero. */
static uint32_t
read_register(const struct virtio_mmio *mmio, uint64_t offset)
{
    const struct virtio_device *device = mmio->device;
    const struct queue *queue = selected_queue(mmio);

    switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return MAGIC;
    case VIRTIO_MMIO_VERSION:
        return VERSION;
    case VIRTIO_MMIO_DEVICE_ID:
        return device->operations->id;
    case VIRTIO_MMIO_VENDOR_ID:
        return VENDOR;
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return half(device->offered, mmio->feature_select);
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return queue != NULL ? QUEUE_SIZE_MAX : 0;
    case VIRTIO_MMIO_QUEUE_READY:
        return queue != NULL && queue->ready;
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        return __atomic_load_n(&mmio->interrupt_status, __ATOMIC_ACQUIRE);
    case VIRTIO_MMIO_STATUS:
        return virtio_get_status(device);
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
        return NO_SHARED_MEMORY;
    default:
        /* ConfigGeneration too: no configuration of ours changes. */
        return 0;
    }
}

static void
write_queue_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    struct queue *queue = virtio_configure_queue(mmio->device, mmio->queue_select);

    if (queue == NULL)
        return;
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        queue->size = value;
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_half(&queue->descriptors, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_half(&queue->available, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_half(&queue->used, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
        break;
    }
}

static void
write_driver_features(struct virtio_mmio *mmio, uint32_t value)
{
    if (mmio->driver_feature_select <= 1)
        set_half(&mmio->driver_features, mmio->driver_feature_select, value);
    else if (value != 0)
        return;
    virtio_set_features(mmio->device, mmio->driver_features);
}

/* A reset takes the transport's part along (4.2.2.1: no interrupt stays pending). */
static void
write_status(struct virtio_mmio *mmio, uint32_t value)
{
    virtio_set_status(mmio->device, value);
    if (value != 0)
        return;
    __atomic_store_n(&mmio->interrupt_status, 0, __ATOMIC_RELEASE);
    mmio->driver_features = 0;
    mmio->feature_select = mmio->driver_feature_select = mmio->queue_select = 0;
}

/* Comes here only where no doorbell took it: with a value that names no queue, or before there were doorbells. */
static void
notify(const struct virtio_mmio *mmio, uint32_t value)
{
    if (value < mmio->device->queue_count && mmio->device->doorbell[value] >= 0)
        eventfd_write(mmio->device->doorbell[value], 1);
}

/* What may only be read is not written. */
static void
write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        mmio->feature_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        mmio->driver_feature_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        write_driver_features(mmio, value);
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        mmio->queue_select = value;
        break;
    case VIRTIO_MMIO_QUEUE_NUM:
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
    case VIRTIO_MMIO_QUEUE_USED_LOW:
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        write_queue_register(mmio, offset, value);
        break;
    case VIRTIO_MMIO_QUEUE_READY:
        virtio_set_ready(mmio->device, mmio->queue_select, (value & 1) != 0);
        break;
    case VIRTIO_MMIO_QUEUE_NOTIFY:
        notify(mmio, value);
        break;
    case VIRTIO_MMIO_INTERRUPT_ACK:
        __atomic_fetch_and(&mmio->interrupt_status, ~value, __ATOMIC_ACQ_REL);
        break;
    case VIRTIO_MMIO_STATUS:
        write_status(mmio, value);
        break;
    }
}

/* 4.2.2.2: below the configuration space only whole, aligned words are read and written. Anything else reads as zeroes. */
static bool
is_register(uint64_t offset, size_t size)
{
    return size == sizeof(uint32_t) && offset % sizeof(uint32_t) == 0;
}

static void
handle_read(void *device, uint64_t offset, uint8_t *data, size_t size)
{
    struct virtio_mmio *mmio = device;
    uint32_t value;

    pthread_mutex_lock(&mmio->lock);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        virtio_read_config(mmio->device, offset - VIRTIO_MMIO_CONFIG, data, size);
    } else if (is_register(offset, size)) {
        value = read_register(mmio, offset);
        memcpy(data, &value, sizeof value);
    } else {
        memset(data, 0, size);
    }
    pthread_mutex_unlock(&mmio->lock);
}

/* No configuration of ours can be written. */
static void
handle_write(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    struct virtio_mmio *mmio = device;
    uint32_t value;

    if (offset >= VIRTIO_MMIO_CONFIG || !is_register(offset, size))
        return;
    memcpy(&value, data, sizeof value);
    pthread_mutex_lock(&mmio->lock);
    write_register(mmio, offset, value);
    pthread_mutex_unlock(&mmio->lock);
}

const struct device_operations virtio_mmio_operations = { .read = handle_read, .write = handle_write };

static int
connect_machine(struct virtio_mmio *mmio, const struct virtio_mmio_config *config)
{
    struct virtio_device *device = mmio->device;
    int result = 0;

    for (unsigned i = 0; result == 0 && i < device->queue_count; i++)
        result = config->add_doorbell(config->machine, config->address + VIRTIO_MMIO_QUEUE_NOTIFY, i, &device->doorbell[i]);
    if (result == 0)
        result = config->add_range(config->machine, config->address, VIRTIO_MMIO_LENGTH, &virtio_mmio_operations, mmio);
    return result;
}

int
virtio_mmio_create(const struct virtio_mmio_config *config, struct virtio_device *device, struct virtio_mmio **out)
{
    struct virtio_mmio *mmio = calloc(1, sizeof *mmio);
    int result;

    if (mmio == NULL)
        return -ENOMEM;
    mmio->device = device;
    mmio->interrupt = config->interrupt;
    pthread_mutex_init(&mmio->lock, NULL);
    device->interrupt = interrupt;
    device->transport = mmio;
    result = connect_machine(mmio, config);
    if (result < 0) {
        virtio_mmio_destroy(mmio);
        return result;
    }
    *out = mmio;
    return 0;
}

void
virtio_mmio_destroy(struct virtio_mmio *mmio)
{
    if (mmio == NULL)
        return;
    virtio_reset(mmio->device);
    pthread_mutex_destroy(&mmio->lock);
    free(mmio);
}
