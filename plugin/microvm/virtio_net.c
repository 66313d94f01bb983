#include "plugin/microvm/virtio_net.h"

#include "common/fd.h"
#include "plugin/microvm/virtio_net_pair.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

_Static_assert(VIRTIO_NET_PAIRS_MAX * VIRTIO_NET_QUEUES + 1 <= VIRTIO_QUEUES_MAX, "and the control queue");

#define OFFLOAD_FEATURES                                                                                              \
    (VIRTIO_FEATURE(VIRTIO_NET_F_CSUM) | VIRTIO_FEATURE(VIRTIO_NET_F_HOST_TSO4) | VIRTIO_FEATURE(VIRTIO_NET_F_HOST_TSO6) | \
     VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_CSUM) | VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_TSO4) |                                \
     VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_TSO6))

struct virtio_net {
    struct virtio_device device;
    struct virtio_net_config config;
    struct net_shared shared;
    unsigned pair_count;
    struct net_pair *pair[VIRTIO_NET_PAIRS_MAX];
    bool attached[VIRTIO_NET_PAIRS_MAX];
};

static bool
has_feature(const struct virtio_net *net, unsigned bit)
{
    return (net->shared.features & VIRTIO_FEATURE(bit)) != 0;
}

/* --- The pairs, and how many of them the driver uses. */

/* The kernel spreads frames over all queues of the TAP that are attached: those that nobody reads must not be. */
static int
set_attached(struct virtio_net *net, unsigned index, bool attached)
{
    struct ifreq request = { .ifr_flags = (short)(attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE) };

    if (net->attached[index] == attached)
        return 0;
    if (ioctl(net->pair[index]->tap, TUNSETQUEUE, &request) < 0)
        return -errno;
    net->attached[index] = attached;
    return 0;
}

/* 5.1.6.5.5: from now on frames come into the first so many pairs only. A thread that has new ones to read is told so. */
static int
use_pairs(struct virtio_net *net, unsigned count)
{
    int result = 0;

    for (unsigned i = 1; i < net->pair_count; i++) {
        if (i >= count)
            net_pair_set_active(net->pair[i], false);
        result = set_attached(net, i, i < count);
        if (result < 0)
            return result;
        if (i < count) {
            net_pair_set_active(net->pair[i], true);
            virtio_ring(&net->device, i * VIRTIO_NET_QUEUES);
        }
    }
    return 0;
}

/* 5.1.6.5: one command is known. */
static uint8_t
obey(struct virtio_net *net, const struct virtio_net_ctrl_hdr *command, const struct chain *chain)
{
    uint16_t count;

    if (command->class != VIRTIO_NET_CTRL_MQ || command->cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !has_feature(net, VIRTIO_NET_F_MQ))
        return VIRTIO_NET_ERR;
    if (chain->readable_size != sizeof *command + sizeof count || !chain_read(chain, sizeof *command, &count, sizeof count))
        return VIRTIO_NET_ERR;
    if (count == 0 || count > net->pair_count || use_pairs(net, count) < 0)
        return VIRTIO_NET_ERR;
    return VIRTIO_NET_OK;
}

static int
control(void *device, const struct chain *chain, uint32_t *written)
{
    struct virtio_net *net = device;
    struct virtio_net_ctrl_hdr command;
    uint8_t answer;

    if (chain->writable_size < sizeof answer || !chain_read(chain, 0, &command, sizeof command))
        return -EPROTO;
    answer = obey(net, &command, chain);
    chain_write(chain, 0, &answer, sizeof answer);
    *written = sizeof answer;
    return 0;
}

/* 5.1.2: behind the pairs that there are, or the one that a driver knows of which has not accepted several. */
static bool
is_control(const struct virtio_net *net, unsigned queue)
{
    unsigned pairs = has_feature(net, VIRTIO_NET_F_MQ) ? net->pair_count : 1;

    return has_feature(net, VIRTIO_NET_F_CTRL_VQ) && queue == pairs * VIRTIO_NET_QUEUES;
}

/* --- What the core calls. */

static int
serve(void *device, unsigned queue)
{
    struct virtio_net *net = device;

    if (is_control(net, queue))
        return virtio_each_request(&net->device, queue, control);
    if (queue >= net->pair_count * VIRTIO_NET_QUEUES)
        return 0;
    return net_pair_serve(net->pair[queue / VIRTIO_NET_QUEUES], queue % VIRTIO_NET_QUEUES);
}

static int
watch(void *device, unsigned thread, short *events)
{
    const struct virtio_net *net = device;

    return thread < net->pair_count ? net_pair_watch(net->pair[thread], events) : -1;
}

static int
own_ready(void *device, unsigned thread)
{
    const struct virtio_net *net = device;

    return net_pair_ready(net->pair[thread]);
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

/* 5.1.5: until the driver says otherwise, it uses one pair. */
static int
activate(void *device, uint64_t features)
{
    struct virtio_net *net = device;
    int result = 0;

    net->shared.features = features;
    for (unsigned i = 0; i < net->pair_count && result == 0; i++) {
        net_pair_start(net->pair[i], i == 0);
        result = set_attached(net, i, i == 0);
    }
    if (result == 0 && net->shared.vnet_header && ioctl(net->pair[0]->tap, TUNSETOFFLOAD, choose_offloads(net)) < 0)
        result = -errno;
    return result;
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
prepare_tap(int tap, bool vnet_header)
{
    int size = HEADER_SIZE;

    if (vnet_header && ioctl(tap, TUNSETVNETHDRSZ, &size) < 0)
        return -errno;
    return fd_set_nonblocking(tap, true);
}

static int
make_pairs(struct virtio_net *net, const struct virtio_net_settings *settings)
{
    for (unsigned i = 0; i < settings->pairs; i++) {
        int result = prepare_tap(settings->tap[i], settings->vnet_header);

        if (result < 0)
            return result;
        net->pair[i] = calloc(1, sizeof *net->pair[i]);
        if (net->pair[i] == NULL)
            return -ENOMEM;
        net_pair_init(net->pair[i], &net->shared, i, settings->tap[i]);
        net->attached[i] = true;
        net->pair_count++;
    }
    return 0;
}

static uint64_t
choose_features(const struct virtio_net_settings *settings)
{
    uint64_t features = VIRTIO_FEATURE(VIRTIO_NET_F_MAC) | VIRTIO_FEATURE(VIRTIO_NET_F_STATUS) | VIRTIO_FEATURE(VIRTIO_NET_F_MRG_RXBUF);

    if (settings->vnet_header)
        features |= OFFLOAD_FEATURES;
    if (settings->pairs > 1)
        features |= VIRTIO_FEATURE(VIRTIO_NET_F_MQ) | VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_VQ);
    return features;
}

int
virtio_net_create(const struct guest_memory *memory, const struct virtio_net_settings *settings, struct virtio_net **out)
{
    struct virtio_net *net;
    int result;

    if (settings->pairs == 0 || settings->pairs > VIRTIO_NET_PAIRS_MAX)
        return -EINVAL;
    net = calloc(1, sizeof *net);
    if (net == NULL)
        return -ENOMEM;
    result = make_pairs(net, settings);
    if (result < 0) {
        virtio_net_destroy(net);
        return result;
    }
    net->shared.device = &net->device;
    net->shared.vnet_header = settings->vnet_header;
    for (unsigned i = 0; i < VIRTIO_NET_QUEUES; i++)
        rate_limit_init(&net->shared.limit[i], &settings->limit, virtio_thread_now());
    net->config.status = VIRTIO_NET_S_LINK_UP;
    net->config.max_virtqueue_pairs = (uint16_t)settings->pairs;
    memcpy(net->config.mac, settings->mac, sizeof net->config.mac);
    virtio_init(&net->device, &(struct virtio_setup){
                                  .operations = &operations,
                                  .context = net,
                                  .memory = memory,
                                  .features = choose_features(settings),
                                  .config = &net->config,
                                  .config_size = sizeof net->config,
                                  .queue_count = settings->pairs * VIRTIO_NET_QUEUES + (settings->pairs > 1),
                                  .queues_per_thread = VIRTIO_NET_QUEUES,
                              });
    *out = net;
    return 0;
}

void
virtio_net_destroy(struct virtio_net *net)
{
    if (net == NULL)
        return;
    for (unsigned i = 0; i < net->pair_count; i++)
        free(net->pair[i]);
    free(net);
}

struct virtio_device *
virtio_net_device(struct virtio_net *net)
{
    return &net->device;
}
