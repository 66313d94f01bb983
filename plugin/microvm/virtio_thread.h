/*
 * The threads in which a virtio device works. Each has a group of queues that no other touches: it waits for their doorbells, for the
 * one descriptor the device may name for it, and for the time at which a queue is to be looked at again, and calls the device. They run
 * from the moment the driver is ready until the device is reset, so that all that configures a device happens while no thread works on
 * it. What the device's groups share among each other is the device's to guard. Part of virtio.h, which owns the struct.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_THREAD_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A device has at most so many queues, and each may have a thread of its own. */
#define VIRTIO_QUEUES_MAX 17

struct virtio_device;

struct virtio_worker {
    struct virtio_device *device;
    unsigned number;
    unsigned first, end; /* its queues, without the last */
    pthread_t id;
};

struct virtio_threads {
    int stop; /* an eventfd that all of them wait for */
    bool running;
    unsigned count;
    struct virtio_worker worker[VIRTIO_QUEUES_MAX];
};

/* All of them: 0, or a negative errno, and then nothing runs. */
int virtio_thread_start(struct virtio_device *device);

/* Returns when they are gone. Nothing happens where there are none. */
void virtio_thread_stop(struct virtio_device *device);

/* Nanoseconds of the clock that virtio_serve_later() goes by. */
uint64_t virtio_thread_now(void);

#endif
