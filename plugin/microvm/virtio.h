/*
 * What all virtio devices have in common, whatever carries them (virtio 1.2, sections 2 and 3): status, features, queues, a
 * configuration space, and threads that work while the driver is ready. A device fills struct virtio_operations; a transport drives
 * the functions under "For transports" with a lock of its own held, and gives doorbells and a way to interrupt. The core knows
 * neither. Who makes a device owns its struct, which contains all of this; the descriptors in it are borrowed.
 *
 * A driver that breaks the rules gets DEVICE_NEEDS_RESET (2.1.1) and no service until it has reset the device.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_H

#include "plugin/microvm/queue.h"
#include "plugin/microvm/virtio_thread.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#define VIRTIO_FEATURE(bit) (UINT64_C(1) << (bit))
/* What the core itself offers with every device (6). */
#define VIRTIO_CORE_FEATURES \
    (VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX))

enum virtio_interrupt {
    VIRTIO_INTERRUPT_QUEUE = 1,
    VIRTIO_INTERRUPT_CONFIG = 2,
};

struct virtio_operations {
    const char *name; /* of the threads, at most 15 bytes; where there are several, a number of theirs stands behind it */
    uint32_t id;      /* which device (5) */
    /* Optional: the driver is ready and accepted these features. No thread runs yet. 0, or a negative errno. */
    int (*activate)(void *device, uint64_t features);
    /* In the queue's thread: requests may have come in this queue, which is ready. 0, or -EPROTO: the driver broke it. */
    int (*serve)(void *device, unsigned queue);
    /*
     * Both or none, in the thread of this number: a descriptor to wait for besides (negative: none now), with poll(2)'s events; it has one.
     */
    int (*watch)(void *device, unsigned thread, short *events);
    int (*own_ready)(void *device, unsigned thread);
    /* Optional: the driver writes to the configuration space (2.5), all of it inside. From any thread, with config_lock held. */
    void (*write_config)(void *device, uint64_t offset, const uint8_t *data, size_t size);
};

struct virtio_device {
    const struct virtio_operations *operations;
    void *context;
    const struct guest_memory *memory;
    uint64_t offered;
    pthread_mutex_t config_lock; /* held while the configuration is read or changed */
    void *config;
    size_t config_size;
    unsigned queue_count, queues_per_thread;

    /* The transport's: eventfds that do not block, one a queue; and how the driver is interrupted, from any thread. */
    int doorbell[VIRTIO_QUEUES_MAX];
    void (*interrupt)(void *transport, enum virtio_interrupt reason);
    void *transport;

    /* The driver's. What the threads use too is accessed atomically, or while none runs; a queue's own is its thread's then. */
    struct queue queue[VIRTIO_QUEUES_MAX];
    uint64_t serve_at[VIRTIO_QUEUES_MAX]; /* when the queue is to be looked at by itself, until when its doorbell says nothing; 0: not */
    uint64_t accepted;
    uint32_t status;
    bool broken;
    struct virtio_threads thread;
};

/* All but the transport's part. `config` is kept by reference; once there is a transport it changes by virtio_change_config() alone. */
struct virtio_setup {
    const struct virtio_operations *operations;
    void *context;
    const struct guest_memory *memory;
    uint64_t features; /* beside VIRTIO_CORE_FEATURES */
    void *config;
    size_t config_size;
    unsigned queue_count;       /* at most VIRTIO_QUEUES_MAX */
    unsigned queues_per_thread; /* thread 0 serves the first so many queues, and so on; 0: one thread serves all */
};
void virtio_init(struct virtio_device *device, const struct virtio_setup *setup);

/* --- For transports. */

uint32_t virtio_get_status(const struct virtio_device *device);
void virtio_set_status(struct virtio_device *device, uint32_t status);
/* The driver accepts these features; past FEATURES_OK that is too late and changes nothing. */
void virtio_set_features(struct virtio_device *device, uint64_t features);
/* The queue, while it may still be configured; otherwise NULL. */
struct queue *virtio_configure_queue(struct virtio_device *device, unsigned index);
void virtio_set_ready(struct virtio_device *device, unsigned index, bool ready);
/* What lies beyond the configuration space reads as zeroes. */
void virtio_read_config(struct virtio_device *device, uint64_t offset, uint8_t *data, size_t size);
/* The driver writes there. What is not wholly inside is dropped, and so is all of it where the device takes none. */
void virtio_write_config(struct virtio_device *device, uint64_t offset, const uint8_t *data, size_t size);
/* Back to the beginning. No thread works on the device when this returns; what they had begun is done. */
void virtio_reset(struct virtio_device *device);

/* --- For the threads. */

void virtio_serve(struct virtio_device *device, unsigned index);
void virtio_own_ready(struct virtio_device *device, unsigned thread);
bool virtio_is_broken(const struct virtio_device *device);

/* --- For devices, in any thread. */

/*
 * A field of the configuration, which has it, gets another value, and a driver that is ready is told by an interrupt (2.5.1). It is one of
 * 32 bits, at a multiple of 4: a transport may let the driver read while this goes on, and a field that takes two reads, or two that belong
 * together, would be seen half changed. Devices that are not, or not yet, carried by a transport may do so, too.
 */
void virtio_change_config(struct virtio_device *device, uint64_t offset, uint32_t value);

/* --- For devices, in the queue's thread. */

/*
 * Does one request and says how many bytes were written to it. 0; -EAGAIN: not now, it stays in the queue, and the device will serve
 * the queue again by itself; -EPROTO: the driver broke the rules.
 */
typedef int (*virtio_handler)(void *context, const struct chain *chain, uint32_t *written);

/*
 * Takes requests and gives them back done, at most as many as the queue has entries before others get their turn. 0 or -EPROTO. The
 * handler gets the device's context; where one is not enough, what virtio_each_request_of() is given.
 */
int virtio_each_request(struct virtio_device *device, unsigned index, virtio_handler handle);
int virtio_each_request_of(struct virtio_device *device, unsigned index, virtio_handler handle, void *context);

/* The queue is served once more in so many nanoseconds, and until then is not because of its doorbell. The other queues go on. */
void virtio_serve_later(struct virtio_device *device, unsigned index, uint64_t delay);

/* The queue is served soon, whether the driver asks for it or not. From any thread. */
void virtio_ring(struct virtio_device *device, unsigned index);

/* Interrupts for what was published, if the driver wants that. 0 or -EPROTO. */
int virtio_signal(struct virtio_device *device, unsigned index);

#endif
