/*
 * A split virtqueue, the device's half (virtio 1.2, 2.7), with indirect descriptors and the event index. Everything in it is the
 * guest's to forge: each field is copied once, then checked, then used, and a queue that lies is -EPROTO, upon which its device asks to
 * be reset. Whoever made the struct owns it; one thread at a time, and the guest memory outlives it. Nothing is allocated.
 */
#ifndef VMSUP_PLUGIN_MICROVM_QUEUE_H
#define VMSUP_PLUGIN_MICROVM_QUEUE_H

#include "plugin/microvm/memory.h"

#include <stdbool.h>
#include <sys/uio.h>

/* At most so many entries, and so many buffers of one request. */
#define QUEUE_SIZE_MAX 256

struct queue {
    const struct guest_memory *memory;
    /* What the driver configures, unchecked before queue_check(). */
    uint64_t descriptors, available, used;
    uint32_t size;
    bool ready;
    /* Negotiated: VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC. */
    bool event_index, indirect;
    /* How far we are; all wrap at 2^16. `used_signalled`: what the used index was when an interrupt was last considered. */
    uint16_t next_available, next_used, used_signalled;
};

/* One request: what the device reads, then what it writes. The buffers are the guest's: copy before checking. */
struct chain {
    uint16_t head;
    size_t readable_count, writable_count;
    uint64_t readable_size, writable_size;
    struct iovec buffer[QUEUE_SIZE_MAX]; /* the readable ones first */
};

/* Forgets how far it was. Its configuration stays. */
void queue_start(struct queue *queue);

/* -EINVAL: the size is no power of two up to the limit, or an area is not aligned or not in guest memory. */
int queue_check(const struct queue *queue);

/* 1: the next request is in *chain; 0: there is none. -EPROTO: the driver broke the queue. */
int queue_pop(struct queue *queue, struct chain *chain);

/* The last `count` requests were not taken after all. None of them may have been filled. */
void queue_unpop(struct queue *queue, uint16_t count);

/*
 * Gives a request back, `written` bytes of it having been written: queue_fill() the one at `index` of those the guest has not seen,
 * queue_publish() shows it the first `count`; queue_push() does both for one. -EPROTO as above.
 */
int queue_fill(struct queue *queue, uint16_t index, uint16_t head, uint32_t written);
int queue_publish(struct queue *queue, uint16_t count);
int queue_push(struct queue *queue, uint16_t head, uint32_t written);

/* Asks the driver not to notify while we look anyway. */
int queue_disable_notify(struct queue *queue);
/* Asks it to notify when more than `known` requests wait: 1, they do already, look once more; 0; or -EPROTO. */
int queue_enable_notify(struct queue *queue, uint16_t known);

/* 1: what was published since the last call wants an interrupt; 0: it does not. */
int queue_needs_interrupt(struct queue *queue);

/* Copies from what is readable, or to what is writable, of a chain, beginning `offset` bytes into it. false: there is not so much. */
bool chain_read(const struct chain *chain, uint64_t offset, void *to, size_t size);
bool chain_write(const struct chain *chain, uint64_t offset, const void *from, size_t size);

/*
 * The part of the readable or writable buffers that begins after `offset` bytes and has `size` bytes, as new iovecs, of which there is
 * room for QUEUE_SIZE_MAX. Gives their number; 0 also where there is not so much.
 */
size_t chain_slice_readable(const struct chain *chain, uint64_t offset, uint64_t size, struct iovec *slice);
size_t chain_slice_writable(const struct chain *chain, uint64_t offset, uint64_t size, struct iovec *slice);

#endif
