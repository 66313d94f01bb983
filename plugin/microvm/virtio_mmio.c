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
    /* Held while what the guest reads is made anew: threads of the device do that too, when it breaks. Taken last. */
    pthread_mutex_t page_lock;
    uint32_t *page;
    int interrupt;
    uint32_t feature_select, driver_feature_select, queue_select;
    uint64_t driver_features;
};

static uint32_t *
word_of(const struct virtio_mmio *mmio, uint64_t offset)
{
    return &mmio->page[offset / sizeof(uint32_t)];
}

static void
show(const struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    __atomic_store_n(word_of(mmio, offset), value, __ATOMIC_RELEASE);
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
static void
show_constants(const struct virtio_mmio *mmio)
{
    show(mmio, VIRTIO_MMIO_MAGIC_VALUE, MAGIC);
    show(mmio, VIRTIO_MMIO_VERSION, VERSION);
    show(mmio, VIRTIO_MMIO_DEVICE_ID, mmio->device->operations->id);
    show(mmio, VIRTIO_MMIO_VENDOR_ID, VENDOR);
    show(mmio, VIRTIO_MMIO_SHM_LEN_LOW, NO_SHARED_MEMORY);
    show(mmio, VIRTIO_MMIO_SHM_LEN_HIGH, NO_SHARED_MEMORY);
    show(mmio, VIRTIO_MMIO_SHM_BASE_LOW, NO_SHARED_MEMORY);
    show(mmio, VIRTIO_MMIO_SHM_BASE_HIGH, NO_SHARED_MEMORY);
}

/*
 * 2.5.1, 4.2.2: a driver that reads several words finds the same generation before and behind them only where they were there together. It
 * reads at any time, so no generation could tell of words that change together: it may do all of its reading between two of them. But
 * they never do (virtio_change_config()), and what it sees after each word is what the device had. The generation is another one before a
 * word changes, for who reads on both sides of it, and again behind it, for who kept what it read between.
 */
static void
show_configuration(const struct virtio_mmio *mmio)
{
    for (uint64_t at = 0; at < mmio->device->config_size; at += sizeof(uint32_t)) {
        uint32_t word;

        virtio_read_config(mmio->device, at, (uint8_t *)&word, sizeof word);
        if (word == *word_of(mmio, VIRTIO_MMIO_CONFIG + at))
            continue;
        __atomic_fetch_add(word_of(mmio, VIRTIO_MMIO_CONFIG_GENERATION), 1, __ATOMIC_SEQ_CST);
        show(mmio, VIRTIO_MMIO_CONFIG + at, word);
        __atomic_fetch_add(word_of(mmio, VIRTIO_MMIO_CONFIG_GENERATION), 1, __ATOMIC_SEQ_CST);
    }
}

/* What follows from the driver's writes and the device's state. */
static void
show_state(struct virtio_mmio *mmio)
{
    const struct queue *queue = selected_queue(mmio);

    pthread_mutex_lock(&mmio->page_lock);
    show(mmio, VIRTIO_MMIO_DEVICE_FEATURES, half(mmio->device->offered, mmio->feature_select));
    show(mmio, VIRTIO_MMIO_QUEUE_NUM_MAX, queue != NULL ? QUEUE_SIZE_MAX : 0);
    show(mmio, VIRTIO_MMIO_QUEUE_READY, queue != NULL && queue->ready);
    show(mmio, VIRTIO_MMIO_STATUS, virtio_get_status(mmio->device));
    show_configuration(mmio);
    pthread_mutex_unlock(&mmio->page_lock);
}

/*
 * 4.2.2, InterruptStatus: the bit first, then the edge, so that whoever comes for the edge finds the bit. The bit of queues stays: its
 * acknowledgement reaches nobody, and a driver that finds it without reason looks at its queues and that is all. Cleared late, it could
 * hide the next interrupt. A configuration's is acknowledged by an exit, and cleared before the driver goes on.
 */
static void
interrupt(void *transport, enum virtio_interrupt reason)
{
    struct virtio_mmio *mmio = transport;

    if (reason == VIRTIO_INTERRUPT_CONFIG) {
        pthread_mutex_lock(&mmio->page_lock);
        show_configuration(mmio);
        show(mmio, VIRTIO_MMIO_STATUS, virtio_get_status(mmio->device));
        pthread_mutex_unlock(&mmio->page_lock);
    }
    __atomic_fetch_or(word_of(mmio, VIRTIO_MMIO_INTERRUPT_STATUS), (uint32_t)reason, __ATOMIC_ACQ_REL);
    eventfd_write(mmio->interrupt, 1);
}

/* Comes here only where the configuration's bit is among those acknowledged. */
static void
acknowledge(const struct virtio_mmio *mmio, uint32_t bits)
{
    __atomic_fetch_and(word_of(mmio, VIRTIO_MMIO_INTERRUPT_STATUS), ~(bits & VIRTIO_INTERRUPT_CONFIG), __ATOMIC_ACQ_REL);
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
    show(mmio, VIRTIO_MMIO_INTERRUPT_STATUS, 0);
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
        acknowledge(mmio, value);
        break;
    case VIRTIO_MMIO_STATUS:
        write_status(mmio, value);
        break;
    }
}

/* 4.2.2.2: only whole, aligned words are written below the configuration space. */
static bool
is_register(uint64_t offset, size_t size)
{
    return size == sizeof(uint32_t) && offset % sizeof(uint32_t) == 0;
}

/* A guest reads the page by itself; this is for machines that cannot show it one. */
static void
handle_read(void *device, uint64_t offset, uint8_t *data, size_t size)
{
    const struct virtio_mmio *mmio = device;

    memset(data, 0, size);
    if (offset >= VIRTIO_MMIO_LENGTH)
        return;
    if (size > VIRTIO_MMIO_LENGTH - offset)
        size = VIRTIO_MMIO_LENGTH - offset;
    memcpy(data, (const uint8_t *)mmio->page + offset, size);
}

static void
handle_write(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    struct virtio_mmio *mmio = device;
    uint32_t value;

    if (offset < VIRTIO_MMIO_CONFIG && !is_register(offset, size))
        return;
    pthread_mutex_lock(&mmio->lock);
    if (offset < VIRTIO_MMIO_CONFIG) {
        memcpy(&value, data, sizeof value);
        write_register(mmio, offset, value);
    } else {
        virtio_write_config(mmio->device, offset - VIRTIO_MMIO_CONFIG, data, size);
    }
    show_state(mmio);
    pthread_mutex_unlock(&mmio->lock);
}

const struct device_operations virtio_mmio_operations = { .read = handle_read, .write = handle_write };

static int
connect_machine(struct virtio_mmio *mmio, const struct virtio_mmio_config *config)
{
    struct virtio_device *device = mmio->device;
    int result, nobody;

    result = config->add_doorbell(config->machine, config->address + VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_INTERRUPT_QUEUE, &nobody);
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
    mmio->page = config->page;
    pthread_mutex_init(&mmio->lock, NULL);
    pthread_mutex_init(&mmio->page_lock, NULL);
    device->interrupt = interrupt;
    device->transport = mmio;
    show_constants(mmio);
    show_state(mmio);
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
    pthread_mutex_destroy(&mmio->page_lock);
    pthread_mutex_destroy(&mmio->lock);
    free(mmio);
}
