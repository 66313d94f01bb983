#include "plugin/microvm/virtio_net.h"

#include "common/fd.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* 5.1.6: under version 1 the header always has num_buffers. */
#define HEADER_SIZE sizeof(struct virtio_net_hdr_v1)
/* The largest frame either way: 64 KiB of IP behind an Ethernet header with a VLAN tag. */
#define FRAME_MAX (65536 + ETH_HLEN + 4)
#define FRAME_MIN ETH_HLEN

#define OFFLOAD_FEATURES                                                                                              \
    (VIRTIO_FEATURE(VIRTIO_NET_F_CSUM) | VIRTIO_FEATURE(VIRTIO_NET_F_HOST_TSO4) | VIRTIO_FEATURE(VIRTIO_NET_F_HOST_TSO6) | \
     VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_CSUM) | VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_TSO4) |                                \
     VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_TSO6))

struct virtio_net {
    struct virtio_device device;
    struct virtio_net_config config;
    int tap;
    bool vnet_header;
    uint64_t features;
    /* The TAP takes no more at the moment: the transmit queue waits for it. */
    bool transmit_waits;
    /* A frame that came and has no buffers yet, header and all; 0: none. */
    size_t pending;
    bool admitted; /* by the limit, which it was taken from */
    struct rate_limit limit[VIRTIO_NET_QUEUES];
    /* So many requests were there, and were too few for it. */
    uint16_t too_few;
    /* The TAP is gone. */
    bool failed;
    uint8_t frame[HEADER_SIZE + FRAME_MAX];
};

static bool
has_feature(const struct virtio_net *net, unsigned bit)
{
    return (net->features & VIRTIO_FEATURE(bit)) != 0;
}

/* 0; or -EAGAIN: the limit of this direction admits nothing now, and its queue is served again when it does. */
static int
wait_for_limit(struct virtio_net *net, enum virtio_net_queue direction)
{
    struct rate_limit *limit = &net->limit[direction];
    uint64_t delay = limit->is_set ? rate_limit_delay(limit, virtio_thread_now()) : 0;

    if (delay == 0)
        return 0;
    virtio_serve_later(&net->device, direction, delay);
    return -EAGAIN;
}

static void
charge_limit(struct virtio_net *net, enum virtio_net_queue direction, uint64_t size)
{
    if (net->limit[direction].is_set)
        rate_limit_charge(&net->limit[direction], virtio_thread_now(), size, 1);
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
send_frame(struct virtio_net *net, struct iovec *part, int count, uint64_t size)
{
    ssize_t sent;

    /* Who waits for the limit does not wait for the TAP, which may be ready all the time. */
    net->transmit_waits = false;
    if (wait_for_limit(net, VIRTIO_NET_TRANSMIT) < 0)
        return -EAGAIN;
    do
        sent = writev(net->tap, part, count);
    while (sent < 0 && errno == EINTR);
    net->transmit_waits = sent < 0 && errno == EAGAIN;
    if (net->transmit_waits)
        return -EAGAIN;
    charge_limit(net, VIRTIO_NET_TRANSMIT, size);
    return 0;
}

/* The header that was checked is the one that goes, from memory of ours. A frame whose header lies is dropped. */
static int
transmit(void *device, const struct chain *chain, uint32_t *written)
{
    struct virtio_net *net = device;
    struct iovec part[1 + QUEUE_SIZE_MAX];
    struct virtio_net_hdr_v1 header;
    uint64_t size;
    size_t count;

    *written = 0;
    /* 5.1.6.2: the device writes nothing here. */
    if (chain->writable_count > 0 || !chain_read(chain, 0, &header, sizeof header))
        return -EPROTO;
    size = chain->readable_size - sizeof header;
    if (size < FRAME_MIN || size > FRAME_MAX || !virtio_net_header_is_good(&header, size, net->features))
        return 0;
    header.num_buffers = 0;
    part[0] = (struct iovec){ .iov_base = &header, .iov_len = sizeof header };
    count = chain_slice_readable(chain, sizeof header, size, part + 1);
    if (net->vnet_header)
        return send_frame(net, part, (int)count + 1, size);
    return send_frame(net, part + 1, (int)count, size);
}

/* --- To the guest. */

/* false: the TAP has none. Otherwise one came, and is pending unless it is too short to be any. */
static bool
fetch_frame(struct virtio_net *net)
{
    size_t skip = net->vnet_header ? 0 : HEADER_SIZE;
    ssize_t got;

    memset(net->frame, 0, HEADER_SIZE);
    do
        got = read(net->tap, net->frame + skip, sizeof net->frame - skip);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        net->failed = got == 0 || errno != EAGAIN;
        return false;
    }
    /* 5.1.6.4.1: a driver that does no sums is told nothing of them. */
    if (!has_feature(net, VIRTIO_NET_F_GUEST_CSUM))
        memset(net->frame, 0, HEADER_SIZE);
    net->admitted = false;
    net->pending = (size_t)got + skip >= HEADER_SIZE + FRAME_MIN ? (size_t)got + skip : 0;
    return true;
}

static void
set_buffer_count(const struct chain *first, uint16_t count)
{
    chain_write(first, offsetof(struct virtio_net_hdr_v1, num_buffers), &count, sizeof count);
}

/* As much of the frame as the request takes; its end is in the used ring, not yet shown. -EPROTO: not even a header fits. */
static int
fill_request(struct virtio_net *net, const struct chain *chain, uint16_t index, size_t *done)
{
    size_t size = net->pending - *done;

    if (chain->readable_count > 0 || (index == 0 && chain->writable_size < HEADER_SIZE))
        return -EPROTO;
    if (size > chain->writable_size)
        size = (size_t)chain->writable_size;
    chain_write(chain, 0, net->frame + *done, size);
    *done += size;
    return queue_fill(&net->device.queue[VIRTIO_NET_RECEIVE], index, chain->head, (uint32_t)size);
}

/*
 * Takes requests until the frame is in them: one, or as many as needed where buffers are merged (5.1.6.4). Gives how many, having shown
 * none to the guest; 0: there are not enough, and none is taken; or -EPROTO.
 */
static int
fill_requests(struct virtio_net *net, struct chain *first)
{
    struct queue *queue = &net->device.queue[VIRTIO_NET_RECEIVE];
    uint16_t limit = has_feature(net, VIRTIO_NET_F_MRG_RXBUF) ? (uint16_t)queue->size : 1, count = 0;
    size_t done = 0;
    struct chain more;
    int result = 1;

    while (done < net->pending && count < limit) {
        struct chain *chain = count == 0 ? first : &more;

        result = queue_pop(queue, chain);
        if (result <= 0)
            break;
        if (fill_request(net, chain, count++, &done) < 0)
            return -EPROTO;
    }
    if (done == net->pending)
        return count;
    queue_unpop(queue, count);
    net->too_few = count;
    /* No number of requests would do: the frame is lost. */
    if (result > 0)
        net->pending = 0;
    return result < 0 ? result : 0;
}

/* 1: the frame is gone, one way or the other; 0: it waits for buffers; -EPROTO. */
static int
deliver_frame(struct virtio_net *net)
{
    struct queue *queue = &net->device.queue[VIRTIO_NET_RECEIVE];
    struct chain first;
    int count = fill_requests(net, &first), result;

    if (count <= 0)
        return count < 0 ? count : net->pending == 0;
    set_buffer_count(&first, (uint16_t)count);
    net->pending = 0;
    result = queue_publish(queue, (uint16_t)count);
    return result < 0 ? result : 1;
}

/* 0; or -EAGAIN: the frame that is pending waits until the limit admits it, and then only for buffers. */
static int
admit_frame(struct virtio_net *net)
{
    if (net->pending == 0 || net->admitted)
        return 0;
    if (wait_for_limit(net, VIRTIO_NET_RECEIVE) < 0)
        return -EAGAIN;
    charge_limit(net, VIRTIO_NET_RECEIVE, net->pending - HEADER_SIZE);
    net->admitted = true;
    return 0;
}

/* Frames until the TAP, the limit or the buffers are at their end. At most a queue's size before others have their turn; the TAP calls again. */
static int
receive(struct virtio_net *net)
{
    struct queue *queue = &net->device.queue[VIRTIO_NET_RECEIVE];
    int result = 1;

    for (uint32_t left = queue->size; left > 0 && result > 0; left--) {
        if ((net->pending == 0 && !fetch_frame(net)) || admit_frame(net) < 0)
            break;
        result = net->pending == 0 ? 1 : deliver_frame(net);
        /* Only who waits for buffers wants to hear of them; some may have come while we said so. */
        if (result == 0)
            result = queue_enable_notify(queue, net->too_few);
        else if (result > 0)
            result = queue_disable_notify(queue) < 0 ? -EPROTO : 1;
    }
    return result < 0 ? result : virtio_signal(&net->device, VIRTIO_NET_RECEIVE);
}

/* --- What the core calls. */

static int
serve(void *device, unsigned queue)
{
    struct virtio_net *net = device;

    return queue == VIRTIO_NET_RECEIVE ? receive(net) : virtio_each_request(&net->device, queue, transmit);
}

static int
watch(void *device, unsigned thread, short *events)
{
    const struct virtio_net *net = device;
    bool receives = net->device.queue[VIRTIO_NET_RECEIVE].ready && net->pending == 0;

    (void)thread;
    if (net->failed)
        return -1;
    *events = (short)((receives ? POLLIN : 0) | (net->transmit_waits ? POLLOUT : 0));
    return *events != 0 ? net->tap : -1;
}

static int
own_ready(void *device, unsigned thread)
{
    struct virtio_net *net = device;
    int result = 0;

    (void)thread;
    if (net->transmit_waits && net->device.queue[VIRTIO_NET_TRANSMIT].ready)
        result = serve(device, VIRTIO_NET_TRANSMIT);
    if (result == 0 && net->device.queue[VIRTIO_NET_RECEIVE].ready)
        result = receive(net);
    return result;
}

/* What the host may leave to the guest. TCP segments without sums are nothing the kernel can be asked for. */
static unsigned
choose_offloads(const struct virtio_net *net)
{
    unsigned offloads = 0;

    if (!has_feature(net, VIRTIO_NET_F_GUEST_CSUM))
        return 0;
    if (has_feature(net, VIRTIO_NET_F_GUEST_TSO4))
        offloads |= TUN_F_TSO4;
    if (has_feature(net, VIRTIO_NET_F_GUEST_TSO6))
        offloads |= TUN_F_TSO6;
    return offloads | TUN_F_CSUM;
}

static int
activate(void *device, uint64_t features)
{
    struct virtio_net *net = device;

    net->features = features;
    net->pending = 0;
    net->transmit_waits = false;
    net->failed = false;
    if (net->vnet_header && ioctl(net->tap, TUNSETOFFLOAD, choose_offloads(net)) < 0)
        return -errno;
    return 0;
}

static const struct virtio_operations operations = {
    .name = "net",
    .id = VIRTIO_ID_NET,
    .activate = activate,
    .serve = serve,
    .watch = watch,
    .own_ready = own_ready,
};

int
virtio_net_has_header(int tap)
{
    struct ifreq request = { .ifr_flags = 0 };

    if (ioctl(tap, TUNGETIFF, &request) < 0)
        return -errno;
    return (request.ifr_flags & IFF_VNET_HDR) != 0;
}

/* Whoever made the TAP chose whether it has a header; how long it is, we choose. */
static int
prepare_tap(const struct virtio_net_settings *settings)
{
    int size = HEADER_SIZE;

    if (settings->vnet_header && ioctl(settings->tap, TUNSETVNETHDRSZ, &size) < 0)
        return -errno;
    return fd_set_nonblocking(settings->tap, true);
}

int
virtio_net_create(const struct guest_memory *memory, const struct virtio_net_settings *settings, struct virtio_net **out)
{
    struct virtio_net *net;
    int result = prepare_tap(settings);

    if (result < 0)
        return result;
    net = calloc(1, sizeof *net);
    if (net == NULL)
        return -ENOMEM;
    net->tap = settings->tap;
    net->vnet_header = settings->vnet_header;
    net->config.status = VIRTIO_NET_S_LINK_UP;
    for (unsigned i = 0; i < VIRTIO_NET_QUEUES; i++)
        rate_limit_init(&net->limit[i], &settings->limit, virtio_thread_now());
    memcpy(net->config.mac, settings->mac, sizeof net->config.mac);
    virtio_init(&net->device, &(struct virtio_setup){
                                  .operations = &operations,
                                  .context = net,
                                  .memory = memory,
                                  .features = VIRTIO_FEATURE(VIRTIO_NET_F_MAC) | VIRTIO_FEATURE(VIRTIO_NET_F_STATUS) |
                                              VIRTIO_FEATURE(VIRTIO_NET_F_MRG_RXBUF) |
                                              (settings->vnet_header ? OFFLOAD_FEATURES : 0),
                                  .config = &net->config,
                                  .config_size = sizeof net->config,
                                  .queue_count = VIRTIO_NET_QUEUES,
                              });
    *out = net;
    return 0;
}

void
virtio_net_destroy(struct virtio_net *net)
{
    free(net);
}

struct virtio_device *
virtio_net_device(struct virtio_net *net)
{
    return &net->device;
}
