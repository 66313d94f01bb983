#include "plugin/microvm/virtio_vsock.h"

#include "common/fd.h"
#include "plugin/microvm/vsock_host.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* 5.10.4 */
#define HOST_CID 2
/* 5.10.3; the kernel's header does not name it. */
#define FEATURE_STREAM 0
/* Packets that have no connection are answered by RST, so many at most before the guest must fetch some. */
#define REFUSALS_MAX 64
/* Of what happened to sockets, so much is looked at before the queues have their turn. */
#define EVENTS_MAX 32

struct refusal {
    uint32_t host_port, guest_port;
    uint16_t type;
};

struct virtio_vsock {
    struct virtio_device device;
    struct virtio_vsock_config config;
    struct vsock_hub hub;
    struct vsock_host host;
    struct vsock_broker broker;
    struct refusal refusal[REFUSALS_MAX];
    size_t first_refusal, refusal_count;
    /* The transmit queue waits for room among the refusals. */
    bool transmit_waits;
};

/* --- From the guest. */

/* 5.10.6.4.1: RST is the answer to all that cannot be, but to RST. */
static void
refuse(struct virtio_vsock *vsock, const struct virtio_vsock_hdr *header)
{
    if (header->op == VIRTIO_VSOCK_OP_RST)
        return;
    vsock->refusal[(vsock->first_refusal + vsock->refusal_count++) % REFUSALS_MAX] = (struct refusal){
        .host_port = header->dst_port,
        .guest_port = header->src_port,
        .type = header->type,
    };
}

/* The connection answers by itself from now on, also by RST where nobody makes it. */
static void
begin(struct virtio_vsock *vsock, const struct virtio_vsock_hdr *header)
{
    struct vsock_connection *connection = vsock_hub_add(&vsock->hub, VSOCK_BROKERED, -1);

    if (connection == NULL) {
        refuse(vsock, header);
        return;
    }
    vsock_hub_set_ports(&vsock->hub, connection, header->dst_port, header->src_port);
    if (!vsock_credit_learn(&connection->credit, header->buf_alloc, header->fwd_cnt) ||
        vsock_broker_ask(&vsock->broker, header->dst_port, vsock_hub_token(&vsock->hub, connection)) < 0)
        vsock_connection_reset(connection);
    vsock_hub_settle(&vsock->hub, connection);
}

/* A packet whose length is not its payload's is none that its connection survives. */
static void
take_packet(struct virtio_vsock *vsock, const struct virtio_vsock_hdr *header, const struct chain *chain)
{
    struct vsock_connection *connection = vsock_hub_find(&vsock->hub, header->dst_port, header->src_port);

    if (connection != NULL) {
        if (header->len > chain->readable_size - VSOCK_HEADER_SIZE)
            vsock_connection_reset(connection);
        else
            vsock_connection_take(connection, header, chain);
        vsock_hub_settle(&vsock->hub, connection);
    } else if (header->op == VIRTIO_VSOCK_OP_REQUEST)
        begin(vsock, header);
    else
        refuse(vsock, header);
}

/* A packet from or to somebody else is nobody's (5.10.4). An unknown type is refused in its own name (5.10.6.1). */
static int
transmit(void *device, const struct chain *chain, uint32_t *written)
{
    struct virtio_vsock *vsock = device;
    struct virtio_vsock_hdr header;

    *written = 0;
    if (chain->writable_count > 0 || !chain_read(chain, 0, &header, sizeof header))
        return -EPROTO;
    vsock->transmit_waits = vsock->refusal_count == REFUSALS_MAX;
    if (vsock->transmit_waits)
        return -EAGAIN;
    if (header.src_cid != vsock->config.guest_cid || header.dst_cid != HOST_CID)
        return 0;
    if (header.type == VIRTIO_VSOCK_TYPE_STREAM)
        take_packet(vsock, &header, chain);
    else
        refuse(vsock, &header);
    return 0;
}

/* --- To the guest. */

static void
say_refusal(struct virtio_vsock *vsock, struct virtio_vsock_hdr *header)
{
    const struct refusal *refusal = &vsock->refusal[vsock->first_refusal];

    header->op = VIRTIO_VSOCK_OP_RST;
    header->type = refusal->type;
    header->src_port = refusal->host_port;
    header->dst_port = refusal->guest_port;
    vsock->first_refusal = (vsock->first_refusal + 1) % REFUSALS_MAX;
    vsock->refusal_count--;
}

/* The connection whose turn it is. false: it had nothing to say after all. */
static bool
say_for(struct virtio_vsock *vsock, struct vsock_connection *connection, const struct chain *chain, struct virtio_vsock_hdr *header)
{
    bool said;

    header->type = VIRTIO_VSOCK_TYPE_STREAM;
    header->src_port = connection->host_port;
    header->dst_port = connection->guest_port;
    said = vsock_connection_say(connection, chain, header);
    vsock_hub_settle(&vsock->hub, connection);
    return said;
}

/* One packet into one request. 1; 0: there is nothing to say; -EPROTO: it cannot be written, or no byte fits behind the header. */
static int
fill(struct virtio_vsock *vsock, const struct chain *chain)
{
    struct virtio_vsock_hdr header = { .src_cid = HOST_CID, .dst_cid = vsock->config.guest_cid };
    struct vsock_connection *connection;

    if (chain->readable_count > 0 || chain->writable_size <= sizeof header)
        return -EPROTO;
    if (vsock->refusal_count > 0)
        say_refusal(vsock, &header);
    else {
        do
            connection = vsock_hub_next(&vsock->hub);
        while (connection != NULL && !say_for(vsock, connection, chain, &header));
        if (connection == NULL)
            return 0;
    }
    chain_write(chain, 0, &header, sizeof header);
    return queue_push(&vsock->device.queue[VIRTIO_VSOCK_RECEIVE], chain->head, (uint32_t)sizeof header + header.len) < 0 ? -EPROTO : 1;
}

static bool
has_something(const struct virtio_vsock *vsock)
{
    return vsock->refusal_count > 0 || !TAILQ_EMPTY(&vsock->hub.ready);
}

/* 1: a packet went; 0: there is none, or no request for it; then we hear of the next one. */
static int
deliver_one(struct virtio_vsock *vsock)
{
    struct queue *queue = &vsock->device.queue[VIRTIO_VSOCK_RECEIVE];
    struct chain chain;
    int result;

    if (!has_something(vsock))
        return 0;
    while ((result = queue_pop(queue, &chain)) == 0) {
        result = queue_enable_notify(queue, 0);
        if (result <= 0)
            return result;
    }
    if (result > 0)
        result = fill(vsock, &chain);
    if (result == 0)
        queue_unpop(queue, 1);
    return result;
}

/* What is to be said, at most a queue full before others have their turn. */
static int
deliver(struct virtio_vsock *vsock)
{
    struct queue *queue = &vsock->device.queue[VIRTIO_VSOCK_RECEIVE];
    uint32_t left = queue->size;
    int result;

    if (!queue->ready)
        return 0;
    result = queue_disable_notify(queue) < 0 ? -EPROTO : 1;
    while (result > 0 && left > 0) {
        result = deliver_one(vsock);
        left--;
    }
    if (result > 0)
        virtio_ring(&vsock->device, VIRTIO_VSOCK_RECEIVE);
    return result < 0 ? result : virtio_signal(&vsock->device, VIRTIO_VSOCK_RECEIVE);
}

/* After all that may have changed something: the guest hears of it, and what waited for that goes on. */
static int
settle(struct virtio_vsock *vsock)
{
    int result = deliver(vsock);

    vsock_host_settle(&vsock->host, &vsock->hub);
    if (result == 0 && vsock->transmit_waits && vsock->refusal_count < REFUSALS_MAX) {
        vsock->transmit_waits = false;
        virtio_ring(&vsock->device, VIRTIO_VSOCK_TRANSMIT);
    }
    return result;
}

/* --- From outside. */

/* An answer may come for a connection that is over. */
static void
take_answers(struct virtio_vsock *vsock)
{
    struct vsock_answer answer[VSOCK_BROKERED_MAX];
    size_t count = vsock_broker_take(&vsock->broker, answer);

    for (size_t i = 0; i < count; i++) {
        struct vsock_connection *connection = vsock_hub_by_token(&vsock->hub, answer[i].token);

        if (connection == NULL || connection->state != VSOCK_BROKERED) {
            fd_close(&answer[i].result);
            continue;
        }
        if (answer[i].result >= 0 && fd_set_nonblocking(answer[i].result, true) == 0)
            vsock_connection_accept(connection, answer[i].result);
        else {
            fd_close(&answer[i].result);
            vsock_connection_reset(connection);
        }
        vsock_hub_settle(&vsock->hub, connection);
    }
}

/* What is told of a connection that ended meanwhile does no harm to whoever has its place. */
static void
take_event(struct virtio_vsock *vsock, struct vsock_connection *connection, uint32_t events)
{
    if (connection->state == VSOCK_FREE)
        return;
    if (connection->state == VSOCK_CALLING)
        vsock_host_hear(&vsock->hub, connection);
    else
        vsock_connection_happened(connection, events);
    vsock_hub_settle(&vsock->hub, connection);
}

static int
own_ready(void *device, unsigned thread)
{
    struct virtio_vsock *vsock = device;
    struct epoll_event event[EVENTS_MAX];
    int count = epoll_wait(vsock->hub.epoll, event, EVENTS_MAX, 0);

    (void)thread;
    for (int i = 0; i < count; i++) {
        switch (event[i].data.u64) {
        case VSOCK_TAG_TIMER:
            vsock_hub_expire(&vsock->hub);
            break;
        case VSOCK_TAG_LISTENER:
            vsock_host_accept(&vsock->host, &vsock->hub);
            break;
        case VSOCK_TAG_BROKER:
            take_answers(vsock);
            break;
        default:
            take_event(vsock, &vsock->hub.connection[event[i].data.u64], event[i].events);
            break;
        }
    }
    return settle(vsock);
}

void
virtio_vsock_answer(struct virtio_vsock *vsock, uint64_t token, int result)
{
    vsock_broker_answer(&vsock->broker, token, result);
}

/* --- What the core calls. */

/* Of the event queue's buffers none is ever used: its one event is for guests that are moved (5.10.6.7). */
static int
serve(void *device, unsigned queue)
{
    struct virtio_vsock *vsock = device;
    int result = 0;

    if (queue == VIRTIO_VSOCK_TRANSMIT)
        result = virtio_each_request(&vsock->device, queue, transmit);
    return result < 0 || queue == VIRTIO_VSOCK_EVENT ? result : settle(vsock);
}

static int
watch(void *device, unsigned thread, short *events)
{
    const struct virtio_vsock *vsock = device;

    (void)thread;
    *events = EPOLLIN;
    return vsock->hub.epoll;
}

static int
activate(void *device, uint64_t features)
{
    struct virtio_vsock *vsock = device;

    (void)features;
    vsock_hub_clear(&vsock->hub);
    vsock->refusal_count = 0;
    vsock->transmit_waits = false;
    vsock_host_settle(&vsock->host, &vsock->hub);
    return 0;
}

static const struct virtio_operations operations = {
    .name = "vsock",
    .id = VIRTIO_ID_VSOCK,
    .activate = activate,
    .serve = serve,
    .watch = watch,
    .own_ready = own_ready,
};

static int
prepare(struct virtio_vsock *vsock, const struct virtio_vsock_settings *settings)
{
    int watched = -1;
    int result = vsock_hub_init(&vsock->hub, settings->patience_ms);

    if (result == 0)
        result = vsock_broker_init(&vsock->broker, settings->connect, settings->context);
    if (result == 0)
        result = vsock_hub_watch(&vsock->hub, vsock->broker.bell, VSOCK_TAG_BROKER, EPOLLIN, &watched);
    if (result == 0)
        result = vsock_host_init(&vsock->host, settings->listener);
    return result;
}

int
virtio_vsock_create(const struct guest_memory *memory, const struct virtio_vsock_settings *settings, struct virtio_vsock **out)
{
    struct virtio_vsock *vsock;
    int result;

    if (settings->cid < VIRTIO_VSOCK_CID_MIN || settings->cid > VIRTIO_VSOCK_CID_MAX)
        return -EINVAL;
    vsock = calloc(1, sizeof *vsock);
    if (vsock == NULL)
        return -ENOMEM;
    vsock->broker.bell = -1;
    vsock->config.guest_cid = settings->cid;
    result = prepare(vsock, settings);
    if (result < 0) {
        virtio_vsock_destroy(vsock);
        return result;
    }
    virtio_init(&vsock->device, &(struct virtio_setup){
                                    .operations = &operations,
                                    .context = vsock,
                                    .memory = memory,
                                    .features = VIRTIO_FEATURE(FEATURE_STREAM),
                                    .config = &vsock->config,
                                    .config_size = sizeof vsock->config,
                                    .queue_count = VIRTIO_VSOCK_QUEUES,
                                });
    *out = vsock;
    return 0;
}

void
virtio_vsock_destroy(struct virtio_vsock *vsock)
{
    if (vsock == NULL)
        return;
    vsock_hub_destroy(&vsock->hub);
    vsock_broker_destroy(&vsock->broker);
    free(vsock);
}

struct virtio_device *
virtio_vsock_device(struct virtio_vsock *vsock)
{
    return &vsock->device;
}
