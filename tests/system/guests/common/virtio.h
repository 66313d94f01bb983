/*
 * A guest's half of a virtio device, by its registers (virtio 1.2, 4.2) and split queues (2.7): two queues at most, and requests of a few
 * buffers. How it is driven, the command line says by words: "interrupts", otherwise its queues are polled and no interrupt may come;
 * "index", with VIRTIO_F_EVENT_IDX; "indirect", with VIRTIO_F_INDIRECT_DESC; "elsewhere", with interrupts to the other processor than
 * the one that drives it, which does nothing else, and "crossed", where that drives something itself. A device is driven by one processor
 * at a time.
 */
#ifndef VMSUP_TESTS_SYSTEM_GUESTS_COMMON_VIRTIO_H
#define VMSUP_TESTS_SYSTEM_GUESTS_COMMON_VIRTIO_H

#include "tests/system/guests/common/processor.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTIO_BIT(bit) (UINT64_C(1) << (bit))

#define QUEUE_SIZE 64
#define QUEUES 2
#define PIECES_MAX 4

struct driver;

/* What a device reads, or with `writable` writes. */
struct piece {
    void *at;
    uint32_t size;
    bool writable;
};

/* What of it the device sees is the first four. */
struct queue {
    struct vring_desc table[QUEUE_SIZE] __attribute__((aligned(4096)));
    struct {
        uint16_t flags, index, entry[QUEUE_SIZE], used_event;
    } available;
    struct {
        volatile uint16_t flags, index;
        struct vring_used_elem entry[QUEUE_SIZE];
        volatile uint16_t available_event;
    } used __attribute__((aligned(8)));
    struct vring_desc indirect[QUEUE_SIZE][PIECES_MAX] __attribute__((aligned(16)));

    struct driver *driver;
    unsigned number;
    uint16_t taken;            /* of the used ring */
    uint16_t notified;         /* of the available ring */
    uint16_t free;             /* the first free entry of the table; each names the next one */
    unsigned notifications;
};

struct driver {
    uintptr_t registers;
    unsigned gsi;
    uint64_t features;
    bool interrupts;
    unsigned processor;                       /* that takes them */
    volatile unsigned interrupted[PROCESSORS]; /* how often each was, for the queues */
    volatile unsigned changes;                /* how often one was for the configuration */
    struct queue queue[QUEUES];
};

/* The registers, by VIRTIO_MMIO_*. */
uint32_t driver_read(const struct driver *driver, unsigned offset);
void driver_write(const struct driver *driver, unsigned offset, uint32_t value);

/* The first device of this kind; it fails where there is none. */
void driver_find(struct driver *driver, uint32_t id);

/* Up to FEATURES_OK: of what is offered, what is wanted, version 1, and what the command line says. Interrupts are routed. */
void driver_negotiate(struct driver *driver, uint64_t wanted);
/* Makes a queue ready. */
void driver_add_queue(struct driver *driver, unsigned number);
/* All of it, up to DRIVER_OK, with so many queues. */
void driver_begin(struct driver *driver, uint64_t wanted, unsigned queues);

/* Fails unless as many interrupts came as the way in which the device is driven can bring. */
void driver_check_interrupts(const struct driver *driver);

/* Puts a request into the queue and gives its number. The device hears of it by queue_notify(), if it wants to. */
uint16_t queue_offer(struct queue *queue, const struct piece *piece, unsigned count);
void queue_notify(struct queue *queue);

/* The number of a request that is done and the bytes that were written; false: none is. */
bool queue_take(struct queue *queue, uint16_t *number, uint32_t *written);
/* Waits for one. */
uint16_t queue_wait(struct queue *queue, uint32_t *written);

/* One request from offer to end, in a queue that has no other. Gives the bytes that were written. */
uint32_t queue_do(struct queue *queue, const struct piece *piece, unsigned count);

#endif
