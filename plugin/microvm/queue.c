#include "plugin/microvm/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

/* Offsets in the available and in the used ring (2.7.6, 2.7.8). Each has its event word after its last entry. */
#define RING_FLAGS 0
#define RING_INDEX 2
#define RING_ENTRIES 4

static uint64_t
available_entry(const struct queue *queue, uint16_t index)
{
    return queue->available + RING_ENTRIES + sizeof(uint16_t) * (index % queue->size);
}

static uint64_t
used_entry(const struct queue *queue, uint16_t index)
{
    return queue->used + RING_ENTRIES + sizeof(struct vring_used_elem) * (index % queue->size);
}

static uint64_t
used_event(const struct queue *queue)
{
    return queue->available + RING_ENTRIES + sizeof(uint16_t) * queue->size;
}

static uint64_t
available_event(const struct queue *queue)
{
    return queue->used + RING_ENTRIES + sizeof(struct vring_used_elem) * queue->size;
}

/* An area was inside guest memory when the queue was checked, so what fails here is the driver's doing all the same. */
static int
broken_if(int result)
{
    return result < 0 ? -EPROTO : result;
}

void
queue_start(struct queue *queue)
{
    queue->next_available = 0;
    queue->next_used = 0;
    queue->used_signalled = 0;
}

static bool
area_is_good(const struct queue *queue, uint64_t address, uint64_t alignment, uint64_t size)
{
    return address % alignment == 0 && memory_at(queue->memory, address, size) != NULL;
}

/* 2.7: sizes are powers of two; alignments and sizes of the three parts are those of its table, with the event words. */
int
queue_check(const struct queue *queue)
{
    uint64_t size = queue->size;

    if (size == 0 || size > QUEUE_SIZE_MAX || (size & (size - 1)) != 0)
        return -EINVAL;
    if (!area_is_good(queue, queue->descriptors, VRING_DESC_ALIGN_SIZE, sizeof(struct vring_desc) * size) ||
        !area_is_good(queue, queue->available, VRING_AVAIL_ALIGN_SIZE, RING_ENTRIES + sizeof(uint16_t) * (size + 1)) ||
        !area_is_good(queue, queue->used, VRING_USED_ALIGN_SIZE,
                      RING_ENTRIES + sizeof(struct vring_used_elem) * size + sizeof(uint16_t)))
        return -EINVAL;
    return 0;
}

/* 2.7.4.2: all that the device writes comes after all that it reads. 2.7.4: together less than 2^32 bytes. */
static int
add_buffer(const struct queue *queue, struct chain *chain, const struct vring_desc *descriptor)
{
    size_t count = chain->readable_count + chain->writable_count;
    bool writable = (descriptor->flags & VRING_DESC_F_WRITE) != 0;
    void *host = memory_at(queue->memory, descriptor->addr, descriptor->len);

    if (host == NULL || count >= queue->size || (!writable && chain->writable_count > 0))
        return -EPROTO;
    if (chain->readable_size + chain->writable_size + descriptor->len > UINT32_MAX)
        return -EPROTO;
    chain->buffer[count] = (struct iovec){ .iov_base = host, .iov_len = descriptor->len };
    *(writable ? &chain->writable_count : &chain->readable_count) += 1;
    *(writable ? &chain->writable_size : &chain->readable_size) += descriptor->len;
    return 0;
}

/*
 * Follows the descriptors of one table, the queue's own or an indirect one (*indirect is then unused). A loop ends where there are
 * more buffers than the queue has entries (2.7.5.3.1). 0: the chain is at its end; 1: it goes on in the table that *indirect tells.
 */
static int
walk_table(const struct queue *queue, uint64_t table, uint32_t entries, uint16_t first, struct chain *chain,
           struct vring_desc *indirect)
{
    struct vring_desc descriptor;
    uint32_t next = first;

    for (;;) {
        if (next >= entries || memory_read(queue->memory, table + next * sizeof descriptor, &descriptor, sizeof descriptor) < 0)
            return -EPROTO;
        if ((descriptor.flags & VRING_DESC_F_INDIRECT) != 0) {
            *indirect = descriptor;
            return 1;
        }
        if (add_buffer(queue, chain, &descriptor) < 0)
            return -EPROTO;
        if ((descriptor.flags & VRING_DESC_F_NEXT) == 0)
            return 0;
        next = descriptor.next;
    }
}

/* 2.7.5.3: one indirect table, only at the end, of whole descriptors, never in another; its own write flag says nothing. */
static int
walk_chain(const struct queue *queue, struct chain *chain)
{
    struct vring_desc indirect;
    uint32_t entries;
    int result = walk_table(queue, queue->descriptors, queue->size, chain->head, chain, &indirect);

    if (result <= 0)
        return result;
    entries = indirect.len / (uint32_t)sizeof indirect;
    if (!queue->indirect || (indirect.flags & VRING_DESC_F_NEXT) != 0 || indirect.len % sizeof indirect != 0 || entries == 0 ||
        entries > queue->size || memory_at(queue->memory, indirect.addr, indirect.len) == NULL)
        return -EPROTO;
    return walk_table(queue, indirect.addr, entries, 0, chain, &indirect) == 0 ? 0 : -EPROTO;
}

/* How many requests wait. The driver may be ahead by no more than the queue's size (2.7.13.3). */
static int
count_available(const struct queue *queue, uint16_t *count)
{
    uint16_t index;

    if (memory_load_u16(queue->memory, queue->available + RING_INDEX, &index) < 0)
        return -EPROTO;
    *count = (uint16_t)(index - queue->next_available);
    return *count <= queue->size ? 0 : -EPROTO;
}

int
queue_pop(struct queue *queue, struct chain *chain)
{
    uint16_t count;

    if (count_available(queue, &count) < 0)
        return -EPROTO;
    if (count == 0)
        return 0;
    if (memory_load_u16(queue->memory, available_entry(queue, queue->next_available), &chain->head) < 0)
        return -EPROTO;
    chain->readable_count = chain->writable_count = 0;
    chain->readable_size = chain->writable_size = 0;
    if (walk_chain(queue, chain) < 0)
        return -EPROTO;
    queue->next_available++;
    return 1;
}

void
queue_unpop(struct queue *queue, uint16_t count)
{
    queue->next_available = (uint16_t)(queue->next_available - count);
}

int
queue_fill(struct queue *queue, uint16_t index, uint16_t head, uint32_t written)
{
    struct vring_used_elem element = { .id = head, .len = written };

    return broken_if(
        memory_write(queue->memory, used_entry(queue, (uint16_t)(queue->next_used + index)), &element, sizeof element));
}

int
queue_publish(struct queue *queue, uint16_t count)
{
    queue->next_used = (uint16_t)(queue->next_used + count);
    return broken_if(memory_store_u16(queue->memory, queue->used + RING_INDEX, queue->next_used));
}

int
queue_push(struct queue *queue, uint16_t head, uint32_t written)
{
    int result = queue_fill(queue, 0, head, written);

    return result < 0 ? result : queue_publish(queue, 1);
}

/* With the event index, a number that is not moved on asks for nothing: 2.7.10. */
int
queue_disable_notify(struct queue *queue)
{
    if (queue->event_index)
        return 0;
    return broken_if(memory_store_u16(queue->memory, queue->used + RING_FLAGS, VRING_USED_F_NO_NOTIFY));
}

int
queue_enable_notify(struct queue *queue, uint16_t known)
{
    uint16_t count;
    int result;

    if (queue->event_index)
        result = memory_store_u16(queue->memory, available_event(queue), (uint16_t)(queue->next_available + known));
    else
        result = memory_store_u16(queue->memory, queue->used + RING_FLAGS, 0);
    if (result < 0)
        return -EPROTO;
    /* What we asked must be seen before we look for the last time: the driver does the reverse (2.7.13.4.1). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (count_available(queue, &count) < 0)
        return -EPROTO;
    return count > known;
}

/* 2.7.7.2: with the event index, an interrupt is due when the index passed the number that the driver named; otherwise its flag tells. */
int
queue_needs_interrupt(struct queue *queue)
{
    uint16_t before = queue->used_signalled, now = queue->next_used, word;

    if (before == now)
        return 0;
    queue->used_signalled = now;
    /* The used index must be visible before we read what the driver wants. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (memory_load_u16(queue->memory, queue->event_index ? used_event(queue) : queue->available + RING_FLAGS, &word) < 0)
        return -EPROTO;
    if (!queue->event_index)
        return (word & VRING_AVAIL_F_NO_INTERRUPT) == 0;
    return vring_need_event(word, now, before) != 0;
}

/* Buffers [*buffer, *buffer + count), cut to `size` bytes after `offset`. */
static size_t
slice(const struct iovec *buffer, size_t count, uint64_t offset, uint64_t size, struct iovec *out)
{
    size_t made = 0;

    for (size_t i = 0; i < count && size > 0; i++) {
        uint64_t length = buffer[i].iov_len;

        if (offset >= length) {
            offset -= length;
            continue;
        }
        length -= offset;
        if (length > size)
            length = size;
        out[made++] = (struct iovec){ .iov_base = (uint8_t *)buffer[i].iov_base + offset, .iov_len = length };
        offset = 0;
        size -= length;
    }
    return size == 0 ? made : 0;
}

size_t
chain_slice_readable(const struct chain *chain, uint64_t offset, uint64_t size, struct iovec *out)
{
    return slice(chain->buffer, chain->readable_count, offset, size, out);
}

size_t
chain_slice_writable(const struct chain *chain, uint64_t offset, uint64_t size, struct iovec *out)
{
    return slice(chain->buffer + chain->readable_count, chain->writable_count, offset, size, out);
}

bool
chain_read(const struct chain *chain, uint64_t offset, void *to, size_t size)
{
    struct iovec part[QUEUE_SIZE_MAX];
    size_t count = chain_slice_readable(chain, offset, size, part);
    uint8_t *at = to;

    for (size_t i = 0; i < count; i++) {
        memcpy(at, part[i].iov_base, part[i].iov_len);
        at += part[i].iov_len;
    }
    return count > 0 || size == 0;
}

bool
chain_write(const struct chain *chain, uint64_t offset, const void *from, size_t size)
{
    struct iovec part[QUEUE_SIZE_MAX];
    size_t count = chain_slice_writable(chain, offset, size, part);
    const uint8_t *at = from;

    for (size_t i = 0; i < count; i++) {
        memcpy(part[i].iov_base, at, part[i].iov_len);
        at += part[i].iov_len;
    }
    return count > 0 || size == 0;
}
