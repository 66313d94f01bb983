#include "plugin/microvm/virtio_net_pair.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define FRAME_MIN ETH_HLEN

static bool
has_feature(const struct net_pair *pair, unsigned bit)
{
    return (pair->shared->features & VIRTIO_FEATURE(bit)) != 0;
}

/* 5.1.2: the pairs stand one after the other. */
static unsigned
queue_of(const struct net_pair *pair, enum virtio_net_queue direction)
{
    return pair->index * VIRTIO_NET_QUEUES + direction;
}

static bool
is_ready(const struct net_pair *pair, enum virtio_net_queue direction)
{
    return pair->shared->device->queue[queue_of(pair, direction)].ready;
}

/* 0; or -EAGAIN: the limit of this direction admits nothing now, and its queue is served again when it does. */
static int
wait_for_limit(struct net_pair *pair, enum virtio_net_queue direction)
{
    struct rate_limit *limit = &pair->shared->limit[direction];
    uint64_t delay = limit->is_set ? rate_limit_delay(limit, virtio_thread_now()) : 0;

    if (delay == 0)
        return 0;
    virtio_serve_later(pair->shared->device, queue_of(pair, direction), delay);
    return -EAGAIN;
}

static void
charge_limit(struct net_pair *pair, enum virtio_net_queue direction, uint64_t size)
{
    if (pair->shared->limit[direction].is_set)
        rate_limit_charge(&pair->shared->limit[direction], virtio_thread_now(), size, 1);
}

/* --- To the host. */

/* 5.1.6.2: which feature a kind of segmentation stands on. No ECN bit: it is not offered. */
static bool
segmentation_is_good(const struct virtio_net_hdr_v1 *header, uint64_t features)
{
    uint64_t needed;

    switch (header->gso_type) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        needed = VIRTIO_FEATURE(VIRTIO_NET_F_HOST_TSO4);
        break;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        needed = VIRTIO_FEATURE(VIRTIO_NET_F_HOST_TSO6);
        break;
    default:
        return false;
    }
    return (features & needed) != 0 && header->gso_size > 0 && (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
}

bool
virtio_net_header_is_good(const struct virtio_net_hdr_v1 *header, uint64_t size, uint64_t features)
{
    if ((header->flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0 || header->hdr_len > size)
        return false;
    if ((header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) {
        if ((features & VIRTIO_FEATURE(VIRTIO_NET_F_CSUM)) == 0)
            return false;
        /* The sum is two bytes, and lies within the frame. */
        if ((uint64_t)header->csum_start + header->csum_offset + sizeof(uint16_t) > size)
            return false;
    }
    return segmentation_is_good(header, features);
}

/* 0; or -EAGAIN: the limit admits none now, or the TAP takes none. What that refuses for another reason is lost, as frames may be. */
static int
send_frame(struct net_pair *pair, struct iovec *part, int count, uint64_t size)
{
    ssize_t sent;

    /* Who waits for the limit does not wait for the TAP, which may be ready all the time. */
    pair->transmit_waits = false;
    if (wait_for_limit(pair, VIRTIO_NET_TRANSMIT) < 0)
        return -EAGAIN;
    do
        sent = writev(pair->tap, part, count);
    while (sent < 0 && errno == EINTR);
    pair->transmit_waits = sent < 0 && errno == EAGAIN;
    if (pair->transmit_waits)
        return -EAGAIN;
    charge_limit(pair, VIRTIO_NET_TRANSMIT, size);
    return 0;
}

/* The header that was checked is the one that goes, from memory of ours. A frame whose header lies is dropped. */
static int
transmit(void *context, const struct chain *chain, uint32_t *written)
{
    struct net_pair *pair = context;
    struct iovec part[1 + QUEUE_SIZE_MAX];
    struct virtio_net_hdr_v1 header;
    uint64_t size;
    size_t count;

    *written = 0;
    /* 5.1.6.2: the device writes nothing here. */
    if (chain->writable_count > 0 || !chain_read(chain, 0, &header, sizeof header))
        return -EPROTO;
    size = chain->readable_size - sizeof header;
    if (size < FRAME_MIN || size > FRAME_MAX || !virtio_net_header_is_good(&header, size, pair->shared->features))
        return 0;
    header.num_buffers = 0;
    part[0] = (struct iovec){ .iov_base = &header, .iov_len = sizeof header };
    count = chain_slice_readable(chain, sizeof header, size, part + 1);
    if (pair->shared->vnet_header)
        return send_frame(pair, part, (int)count + 1, size);
    return send_frame(pair, part + 1, (int)count, size);
}

/* --- To the guest. */

/* false: the TAP has none. Otherwise one came, and is pending unless it is too short to be any. */
static bool
fetch_frame(struct net_pair *pair)
{
    size_t skip = pair->shared->vnet_header ? 0 : HEADER_SIZE;
    ssize_t got;

    memset(pair->frame, 0, HEADER_SIZE);
    do
        got = read(pair->tap, pair->frame + skip, sizeof pair->frame - skip);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        pair->failed = got == 0 || errno != EAGAIN;
        return false;
    }
    /* 5.1.6.4.1: a driver that does no sums is told nothing of them. */
    if (!has_feature(pair, VIRTIO_NET_F_GUEST_CSUM))
        memset(pair->frame, 0, HEADER_SIZE);
    pair->admitted = false;
    pair->pending = (size_t)got + skip >= HEADER_SIZE + FRAME_MIN ? (size_t)got + skip : 0;
    return true;
}

static void
set_buffer_count(const struct chain *first, uint16_t count)
{
    chain_write(first, offsetof(struct virtio_net_hdr_v1, num_buffers), &count, sizeof count);
}

/* As much of the frame as the request takes; its end is in the used ring, not yet shown. -EPROTO: not even a header fits. */
static int
fill_request(struct net_pair *pair, const struct chain *chain, uint16_t index, size_t *done)
{
    size_t size = pair->pending - *done;

    if (chain->readable_count > 0 || (index == 0 && chain->writable_size < HEADER_SIZE))
        return -EPROTO;
    if (size > chain->writable_size)
        size = (size_t)chain->writable_size;
    chain_write(chain, 0, pair->frame + *done, size);
    *done += size;
    return queue_fill(&pair->shared->device->queue[queue_of(pair, VIRTIO_NET_RECEIVE)], index, chain->head, (uint32_t)size);
}

/*
 * Takes requests until the frame is in them: one, or as many as needed where buffers are merged (5.1.6.4). Gives how many, having shown
 * none to the guest; 0: there are not enough, and none is taken; or -EPROTO.
 */
static int
fill_requests(struct net_pair *pair, struct chain *first)
{
    struct queue *queue = &pair->shared->device->queue[queue_of(pair, VIRTIO_NET_RECEIVE)];
    uint16_t limit = has_feature(pair, VIRTIO_NET_F_MRG_RXBUF) ? (uint16_t)queue->size : 1, count = 0;
    size_t done = 0;
    struct chain more;
    int result = 1;

    while (done < pair->pending && count < limit) {
        struct chain *chain = count == 0 ? first : &more;

        result = queue_pop(queue, chain);
        if (result <= 0)
            break;
        if (fill_request(pair, chain, count++, &done) < 0)
            return -EPROTO;
    }
    if (done == pair->pending)
        return count;
    queue_unpop(queue, count);
    pair->too_few = count;
    /* No number of requests would do: the frame is lost. */
    if (result > 0)
        pair->pending = 0;
    return result < 0 ? result : 0;
}

/* 1: the frame is gone, one way or the other; 0: it waits for buffers; -EPROTO. */
static int
deliver_frame(struct net_pair *pair)
{
    struct queue *queue = &pair->shared->device->queue[queue_of(pair, VIRTIO_NET_RECEIVE)];
    struct chain first;
    int count = fill_requests(pair, &first), result;

    if (count <= 0)
        return count < 0 ? count : pair->pending == 0;
    set_buffer_count(&first, (uint16_t)count);
    pair->pending = 0;
    result = queue_publish(queue, (uint16_t)count);
    return result < 0 ? result : 1;
}

/* 0; or -EAGAIN: the frame that is pending waits until the limit admits it, and then only for buffers. */
static int
admit_frame(struct net_pair *pair)
{
    if (pair->pending == 0 || pair->admitted)
        return 0;
    if (wait_for_limit(pair, VIRTIO_NET_RECEIVE) < 0)
        return -EAGAIN;
    charge_limit(pair, VIRTIO_NET_RECEIVE, pair->pending - HEADER_SIZE);
    pair->admitted = true;
    return 0;
}

/*
 * Frames until the TAP, the limit or the buffers are at their end. At most a queue's size before others have their turn; the TAP calls
 * again.
 */
static int
receive_frames(struct net_pair *pair)
{
    unsigned index = queue_of(pair, VIRTIO_NET_RECEIVE);
    struct queue *queue = &pair->shared->device->queue[index];
    uint32_t left = queue->size;
    int result = 1;

    for (; left > 0 && result > 0; left--) {
        if ((pair->pending == 0 && !fetch_frame(pair)) || admit_frame(pair) < 0)
            break;
        result = pair->pending == 0 ? 1 : deliver_frame(pair);
        /* Only who waits for buffers wants to hear of them; some may have come while we said so. */
        if (result == 0)
            result = queue_enable_notify(queue, pair->too_few);
        else if (result > 0)
            result = queue_disable_notify(queue) < 0 ? -EPROTO : 1;
    }
    /* Those that came while we said so are not told of, and the TAP is not listened to while a frame waits for them. */
    if (result > 0 && left == 0 && pair->pending > 0)
        virtio_ring(pair->shared->device, index);
    return result < 0 ? result : virtio_signal(pair->shared->device, index);
}

static int
receive(struct net_pair *pair)
{
    int result = 0;

    pthread_mutex_lock(&pair->lock);
    if (pair->active)
        result = receive_frames(pair);
    pthread_mutex_unlock(&pair->lock);
    return result;
}

/* --- What the device calls. */

void
net_pair_init(struct net_pair *pair, struct net_shared *shared, unsigned index, int tap)
{
    pair->shared = shared;
    pair->index = index;
    pair->tap = tap;
    pthread_mutex_init(&pair->lock, NULL);
}

void
net_pair_start(struct net_pair *pair, bool active)
{
    pair->pending = 0;
    pair->transmit_waits = false;
    pair->failed = false;
    pair->active = active;
}

void
net_pair_set_active(struct net_pair *pair, bool active)
{
    pthread_mutex_lock(&pair->lock);
    if (pair->active != active) {
        pair->active = active;
        pair->failed = false;
        pair->pending = 0;
    }
    pthread_mutex_unlock(&pair->lock);
}

int
net_pair_serve(struct net_pair *pair, enum virtio_net_queue direction)
{
    if (direction == VIRTIO_NET_RECEIVE)
        return receive(pair);
    return virtio_each_request_of(pair->shared->device, queue_of(pair, direction), transmit, pair);
}

int
net_pair_watch(struct net_pair *pair, short *events)
{
    bool receives, failed;

    pthread_mutex_lock(&pair->lock);
    receives = pair->active && is_ready(pair, VIRTIO_NET_RECEIVE) && pair->pending == 0;
    failed = pair->failed;
    pthread_mutex_unlock(&pair->lock);
    *events = (short)((receives ? POLLIN : 0) | (pair->transmit_waits ? POLLOUT : 0));
    return !failed && *events != 0 ? pair->tap : -1;
}

int
net_pair_ready(struct net_pair *pair)
{
    int result = 0;

    if (pair->transmit_waits && is_ready(pair, VIRTIO_NET_TRANSMIT))
        result = net_pair_serve(pair, VIRTIO_NET_TRANSMIT);
    if (result == 0 && is_ready(pair, VIRTIO_NET_RECEIVE))
        result = receive(pair);
    return result;
}
