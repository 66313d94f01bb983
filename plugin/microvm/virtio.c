#include "plugin/microvm/virtio.h"

#include "common/log.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#define STATUS_KNOWN                                                                                                     \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | \
     VIRTIO_CONFIG_S_FAILED)

void
virtio_init(struct virtio_device *device, const struct virtio_setup *setup)
{
    *device = (struct virtio_device){
        .operations = setup->operations,
        .context = setup->context,
        .memory = setup->memory,
        .offered = setup->features | VIRTIO_CORE_FEATURES,
        .config_lock = PTHREAD_MUTEX_INITIALIZER,
        .config = setup->config,
        .config_size = setup->config_size,
        .queue_count = setup->queue_count,
        .queues_per_thread = setup->queues_per_thread > 0 ? setup->queues_per_thread : setup->queue_count,
        .thread.stop = -1,
    };
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
        device->doorbell[i] = -1;
    virtio_reset(device);
}

static uint32_t
own_status(const struct virtio_device *device)
{
    return __atomic_load_n(&device->status, __ATOMIC_ACQUIRE);
}

bool
virtio_is_broken(const struct virtio_device *device)
{
    return __atomic_load_n(&device->broken, __ATOMIC_ACQUIRE);
}

/* 2.1.2: once the driver is ready, it is told by a configuration change. */
static void
break_device(struct virtio_device *device, const char *why)
{
    if (__atomic_exchange_n(&device->broken, true, __ATOMIC_ACQ_REL))
        return;
    log_warn("%s: %s: the device needs a reset", device->operations->name, why);
    if ((own_status(device) & VIRTIO_CONFIG_S_DRIVER_OK) != 0)
        device->interrupt(device->transport, VIRTIO_INTERRUPT_CONFIG);
}

void
virtio_reset(struct virtio_device *device)
{
    virtio_thread_stop(device);
    for (unsigned i = 0; i < device->queue_count; i++)
        device->queue[i] = (struct queue){ .memory = device->memory, .size = QUEUE_SIZE_MAX };
    memset(device->serve_at, 0, sizeof device->serve_at);
    device->accepted = 0;
    __atomic_store_n(&device->status, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&device->broken, false, __ATOMIC_RELEASE);
}

uint32_t
virtio_get_status(const struct virtio_device *device)
{
    return own_status(device) | (virtio_is_broken(device) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

static void
start_threads(struct virtio_device *device)
{
    int result = virtio_thread_start(device);

    if (result < 0)
        break_device(device, strerror(-result));
}

/* 3.1.1, step 8. A queue was checked when it became ready, and nothing about it could change since. */
static void
activate(struct virtio_device *device)
{
    int result = 0;

    for (unsigned i = 0; i < device->queue_count; i++) {
        struct queue *queue = &device->queue[i];

        queue->event_index = (device->accepted & VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)) != 0;
        queue->indirect = (device->accepted & VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC)) != 0;
        queue_start(queue);
    }
    if (device->operations->activate != NULL)
        result = device->operations->activate(device->context, device->accepted);
    if (result < 0)
        break_device(device, strerror(-result));
    else
        start_threads(device);
}

/* 2.2.1 and 6.1: nothing that was not offered, and version 1 always. */
static bool
features_are_good(const struct virtio_device *device)
{
    return (device->accepted & ~device->offered) == 0 && (device->accepted & VIRTIO_FEATURE(VIRTIO_F_VERSION_1)) != 0;
}

/* 3.1.1: each bit stands on the one before it. */
static bool
order_is_good(uint32_t status)
{
    static const uint32_t order[] = { VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_FEATURES_OK,
                                      VIRTIO_CONFIG_S_DRIVER_OK };

    for (size_t i = 1; i < sizeof order / sizeof order[0]; i++) {
        if ((status & order[i]) != 0 && (status & order[i - 1]) == 0)
            return false;
    }
    return true;
}

void
virtio_set_status(struct virtio_device *device, uint32_t status)
{
    uint32_t before = own_status(device), added;
    bool in_order;

    if (status == 0) {
        virtio_reset(device);
        return;
    }
    status &= STATUS_KNOWN;
    added = status & ~before;
    in_order = order_is_good(status);
    /* 2.1.1: the driver must not clear a bit. */
    if ((before & ~status) != 0) {
        break_device(device, "the driver cleared a bit of the status");
        return;
    }
    /* 2.2.2, 3.1.1: where the features are not good, the bit does not stay, which the driver looks for. */
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) != 0 && !features_are_good(device))
        status &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
    if (!in_order || !order_is_good(status)) {
        break_device(device, "the driver set the status out of order");
        return;
    }
    __atomic_store_n(&device->status, status, __ATOMIC_RELEASE);
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && !virtio_is_broken(device))
        activate(device);
}

void
virtio_set_features(struct virtio_device *device, uint64_t features)
{
    if ((own_status(device) & VIRTIO_CONFIG_S_FEATURES_OK) == 0)
        device->accepted = features;
    else
        break_device(device, "the driver changed features that were settled");
}

struct queue *
virtio_configure_queue(struct virtio_device *device, unsigned index)
{
    if (index >= device->queue_count)
        return NULL;
    if (device->queue[index].ready || (own_status(device) & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
        break_device(device, "the driver changed a queue in use");
        return NULL;
    }
    return &device->queue[index];
}

/* A queue is taken out of use while no thread works on the device; the others go on after. */
static void
retire_queue(struct virtio_device *device, struct queue *queue)
{
    bool was_running = device->thread.running;

    virtio_thread_stop(device);
    queue->ready = false;
    if (was_running)
        start_threads(device);
}

void
virtio_set_ready(struct virtio_device *device, unsigned index, bool ready)
{
    struct queue *queue;

    if (index >= device->queue_count || device->queue[index].ready == ready)
        return;
    if (!ready) {
        retire_queue(device, &device->queue[index]);
        return;
    }
    queue = virtio_configure_queue(device, index);
    if (queue == NULL)
        return;
    if (queue_check(queue) < 0)
        break_device(device, "a queue's size or address is wrong");
    else
        queue->ready = true;
}

void
virtio_read_config(struct virtio_device *device, uint64_t offset, uint8_t *data, size_t size)
{
    memset(data, 0, size);
    if (offset >= device->config_size)
        return;
    if (size > device->config_size - offset)
        size = device->config_size - offset;
    pthread_mutex_lock(&device->config_lock);
    memcpy(data, (const uint8_t *)device->config + offset, size);
    pthread_mutex_unlock(&device->config_lock);
}

void
virtio_write_config(struct virtio_device *device, uint64_t offset, const uint8_t *data, size_t size)
{
    if (device->operations->write_config == NULL || offset > device->config_size || size > device->config_size - offset)
        return;
    pthread_mutex_lock(&device->config_lock);
    device->operations->write_config(device->context, offset, data, size);
    pthread_mutex_unlock(&device->config_lock);
}

/* Changed first: a driver that becomes ready meanwhile finds what is new without being told. */
void
virtio_change_config(struct virtio_device *device, uint64_t offset, uint32_t value)
{
    const uint32_t stored = htole32(value);

    pthread_mutex_lock(&device->config_lock);
    memcpy((uint8_t *)device->config + offset, &stored, sizeof stored);
    pthread_mutex_unlock(&device->config_lock);
    if ((own_status(device) & VIRTIO_CONFIG_S_DRIVER_OK) != 0)
        device->interrupt(device->transport, VIRTIO_INTERRUPT_CONFIG);
}

void
virtio_serve(struct virtio_device *device, unsigned index)
{
    if (index < device->queue_count)
        device->serve_at[index] = 0;
    if (index >= device->queue_count || !device->queue[index].ready || virtio_is_broken(device))
        return;
    if (device->operations->serve(device->context, index) < 0)
        break_device(device, "the driver broke a queue");
}

void
virtio_own_ready(struct virtio_device *device, unsigned thread)
{
    if (!virtio_is_broken(device) && device->operations->own_ready(device->context, thread) < 0)
        break_device(device, "the driver broke a queue");
}

int
virtio_signal(struct virtio_device *device, unsigned index)
{
    int result = queue_needs_interrupt(&device->queue[index]);

    if (result > 0)
        device->interrupt(device->transport, VIRTIO_INTERRUPT_QUEUE);
    return result < 0 ? result : 0;
}

void
virtio_serve_later(struct virtio_device *device, unsigned index, uint64_t delay)
{
    uint64_t *at = &device->serve_at[index];

    if (__builtin_add_overflow(virtio_thread_now(), delay, at))
        *at = UINT64_MAX;
}

void
virtio_ring(struct virtio_device *device, unsigned index)
{
    /* It fails only where it is rung often enough already. */
    eventfd_write(device->doorbell[index], 1);
}

/*
 * One request from pop to interrupt. Each is shown to the driver at once, since the next one may take long; the event index sees to it that
 * a driver which is still busy with those before is not interrupted again. 1: done; 0: there was none; negative as from the handler.
 */
static int
do_request(struct virtio_device *device, unsigned index, virtio_handler handle, void *context)
{
    struct queue *queue = &device->queue[index];
    struct chain chain;
    uint32_t written = 0;
    int result = queue_pop(queue, &chain);

    if (result <= 0)
        return result;
    /* What is offered to a device after it broke is not served, by a thread neither that has not heard of it yet. */
    if (virtio_is_broken(device)) {
        queue_unpop(queue, 1);
        return -EAGAIN;
    }
    result = handle(context, &chain, &written);
    if (result == -EAGAIN)
        queue_unpop(queue, 1);
    if (result == 0)
        result = queue_push(queue, chain.head, written);
    if (result == 0)
        result = virtio_signal(device, index);
    return result < 0 ? result : 1;
}

int
virtio_each_request_of(struct virtio_device *device, unsigned index, virtio_handler handle, void *context)
{
    struct queue *queue = &device->queue[index];
    uint32_t left = queue->size;
    int result;

    do {
        if (queue_disable_notify(queue) < 0)
            return -EPROTO;
        while ((result = do_request(device, index, handle, context)) > 0) {
            /* The other queues, and the end, have their turn; then this one again. */
            if (--left == 0) {
                virtio_ring(device, index);
                return 0;
            }
        }
        if (result < 0)
            return result == -EAGAIN ? 0 : result;
        result = queue_enable_notify(queue, 0);
    } while (result > 0);
    return result;
}

int
virtio_each_request(struct virtio_device *device, unsigned index, virtio_handler handle)
{
    return virtio_each_request_of(device, index, handle, device->context);
}
