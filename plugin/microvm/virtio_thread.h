/*
 * The thread in which a virtio device works: it waits for the doorbells of the queues, and for the one descriptor the device may name,
 * and calls the device. It runs from the moment the driver is ready until the device is reset, so that all that configures a
 * device happens while no thread works on it. Part of virtio.h, which owns the struct.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_THREAD_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_THREAD_H

#include <pthread.h>
#include <stdbool.h>

struct virtio_device;

struct virtio_thread {
    pthread_t id;
    int stop; /* an eventfd */
    bool running;
};

/* 0, or a negative errno, and then nothing runs. */
int virtio_thread_start(struct virtio_device *device);

/* Returns when the thread is gone. Nothing happens where there is none. */
void virtio_thread_stop(struct virtio_device *device);

#endif
