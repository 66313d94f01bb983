#include "tests/system/guests/common/net.h"

#include "tests/system/guests/common/machine.h"

/* Of a network 10.118.76.0/30. */
#define HOST_ADDRESS 0x0a764c01
#define GUEST_ADDRESS 0x0a764c02

#define RECEIVE 0
#define TRANSMIT 1
#define BUFFERS 32
#define BUFFER_MAX 2048
#define SMALL_BUFFER 256

#define TYPE_IP 0x0800
#define TYPE_ARP 0x0806
#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2
#define IP_VERSION_AND_LENGTH 0x45
#define IP_TIME_TO_LIVE 64
#define IP_ICMP 1
#define ICMP_REQUEST 8
#define ICMP_REPLY 0
/* Of our requests. Not zero: a message of zeroes has no sum that tells anything. */
#define OUR_ID 0x7673

struct __attribute__((packed)) ethernet {
    uint8_t to[NET_MAC], from[NET_MAC];
    uint16_t type;
};

struct __attribute__((packed)) arp {
    struct ethernet ethernet;
    uint16_t hardware, protocol;
    uint8_t hardware_size, protocol_size;
    uint16_t operation;
    uint8_t from_mac[NET_MAC];
    uint32_t from;
    uint8_t to_mac[NET_MAC];
    uint32_t to;
};

struct __attribute__((packed)) icmp {
    struct ethernet ethernet;
    uint8_t version_and_length, service;
    uint16_t length, identification, fragment;
    uint8_t time_to_live, protocol;
    uint16_t header_sum;
    uint32_t from, to;
    uint8_t type, code;
    uint16_t sum, id, sequence;
    uint8_t data[NET_ECHO_MAX];
};

#define IP_START offsetof(struct icmp, version_and_length)
#define ICMP_START offsetof(struct icmp, type)
#define ICMP_HEADER offsetof(struct icmp, data)

union frame {
    struct ethernet ethernet;
    struct arp arp;
    struct icmp icmp;
    uint8_t bytes[NET_FRAME_MAX];
};

/* Of one card. A buffer is known by the number of its request. */
static uint8_t buffers[BUFFERS][BUFFER_MAX] __attribute__((aligned(8)));
static uint8_t *buffer_of[QUEUE_SIZE];
static union frame received, sent;

static uint16_t
swap16(uint16_t value)
{
    return __builtin_bswap16(value);
}

/* RFC 1071, of whole frames' parts in the order of the network. */
static uint16_t
sum_of(const void *from, size_t size)
{
    const uint8_t *bytes = from;
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < size; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    if (size % 2 != 0)
        sum += (uint32_t)bytes[size - 1] << 8;
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* --- The card. */

static void
offer_buffer(struct net *net, uint8_t *buffer)
{
    const struct piece piece = { .at = buffer, .size = net->buffer_size, .writable = true };

    buffer_of[queue_offer(&net->driver.queue[RECEIVE], &piece, 1)] = buffer;
}

void
net_begin(struct net *net, bool merged)
{
    const uint64_t merging = VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF);
    volatile uint8_t *config;

    driver_find(&net->driver, VIRTIO_ID_NET);
    config = (volatile uint8_t *)(net->driver.registers + VIRTIO_MMIO_CONFIG);
    for (unsigned i = 0; i < NET_MAC; i++)
        net->mac[i] = config[offsetof(struct virtio_net_config, mac) + i];
    net->buffer_size = merged ? SMALL_BUFFER : BUFFER_MAX;
    driver_begin(&net->driver, VIRTIO_BIT(VIRTIO_NET_F_MAC) | VIRTIO_BIT(VIRTIO_NET_F_CSUM) | (merged ? merging : 0), 2);
    expect(!merged || (net->driver.features & merging) != 0, "it does not merge buffers");
    for (unsigned i = 0; i < BUFFERS; i++)
        offer_buffer(net, buffers[i]);
    queue_notify(&net->driver.queue[RECEIVE]);
}

struct virtio_net_hdr_v1
net_plain_header(void)
{
    return (struct virtio_net_hdr_v1){ .gso_type = VIRTIO_NET_HDR_GSO_NONE };
}

void
net_send_raw(struct net *net, const struct virtio_net_hdr_v1 *header, void *bytes, uint32_t size)
{
    struct virtio_net_hdr_v1 copy = *header;
    const struct piece piece[] = { { .at = &copy, .size = sizeof copy }, { .at = bytes, .size = size } };

    expect(queue_do(&net->driver.queue[TRANSMIT], piece, 2) == 0, "something was written to a frame that was sent");
}

/* One request's part of a frame; it says where the first one's header tells how many follow. */
static uint32_t
take_part(struct net *net, uint8_t *to, uint32_t room, uint32_t skip, uint16_t *more)
{
    uint32_t written;
    uint8_t *buffer = buffer_of[queue_wait(&net->driver.queue[RECEIVE], &written)];

    expect(written >= skip && written <= net->buffer_size, "%u bytes came in one buffer", written);
    if (skip > 0)
        *more = ((const struct virtio_net_hdr_v1 *)(const void *)buffer)->num_buffers;
    expect(written - skip <= room, "a frame is too large");
    memcpy(to, buffer + skip, written - skip);
    offer_buffer(net, buffer);
    return written - skip;
}

/* 5.1.6.4: each buffer but the last one is full. */
static uint32_t
receive(struct net *net)
{
    const uint32_t header = sizeof(struct virtio_net_hdr_v1);
    uint16_t count = 0;
    uint32_t size = take_part(net, received.bytes, sizeof received, header, &count), needed;

    for (uint16_t i = 1; i < count; i++)
        size += take_part(net, received.bytes + size, (uint32_t)sizeof received - size, 0, NULL);
    needed = (size + header + net->buffer_size - 1) / net->buffer_size;
    expect(count == needed, "a frame of %u bytes is in %u buffers, expected %u", size, count, needed);
    queue_notify(&net->driver.queue[RECEIVE]);
    return size;
}

/* --- Frames. */

static void
send_arp(struct net *net, uint16_t operation, const uint8_t *to)
{
    const struct virtio_net_hdr_v1 header = net_plain_header();

    sent.arp = (struct arp){
        .ethernet.type = swap16(TYPE_ARP),
        .hardware = swap16(ARP_ETHERNET),
        .protocol = swap16(TYPE_IP),
        .hardware_size = NET_MAC,
        .protocol_size = sizeof(uint32_t),
        .operation = swap16(operation),
        .from = __builtin_bswap32(GUEST_ADDRESS),
        .to = __builtin_bswap32(HOST_ADDRESS),
    };
    memcpy(sent.arp.ethernet.from, net->mac, NET_MAC);
    memcpy(sent.arp.from_mac, net->mac, NET_MAC);
    if (to == NULL) {
        memset(sent.arp.ethernet.to, 0xff, NET_MAC);
    } else {
        memcpy(sent.arp.ethernet.to, to, NET_MAC);
        memcpy(sent.arp.to_mac, to, NET_MAC);
    }
    net_send_raw(net, &header, &sent, sizeof sent.arp);
}

static bool
is_arp(uint32_t size, uint16_t operation)
{
    return size >= sizeof received.arp && received.ethernet.type == swap16(TYPE_ARP) && received.arp.operation == swap16(operation) &&
           received.arp.from == __builtin_bswap32(HOST_ADDRESS) && received.arp.to == __builtin_bswap32(GUEST_ADDRESS);
}

/* The next frame that is not a question for our address. */
static uint32_t
receive_other(struct net *net)
{
    uint32_t size = receive(net);

    while (is_arp(size, ARP_REQUEST)) {
        uint8_t asking[NET_MAC];

        memcpy(asking, received.arp.from_mac, NET_MAC);
        send_arp(net, ARP_REPLY, asking);
        size = receive(net);
    }
    return size;
}

void
net_find_host(struct net *net)
{
    send_arp(net, ARP_REQUEST, NULL);
    while (!is_arp(receive_other(net), ARP_REPLY))
        ;
    memcpy(net->host_mac, received.arp.from_mac, NET_MAC);
}

static uint16_t
size_of_ip(const struct echo *echo)
{
    return (uint16_t)(ICMP_HEADER - IP_START + echo->size);
}

/* In `sent`, without the sum of ICMP. Gives the size of all. */
static uint32_t
make_icmp(const struct net *net, uint8_t type, uint16_t id, const struct echo *echo)
{
    struct icmp *icmp = &sent.icmp;

    memset(icmp, 0, ICMP_HEADER);
    memcpy(icmp->ethernet.to, net->host_mac, NET_MAC);
    memcpy(icmp->ethernet.from, net->mac, NET_MAC);
    icmp->ethernet.type = swap16(TYPE_IP);
    icmp->version_and_length = IP_VERSION_AND_LENGTH;
    icmp->length = swap16(size_of_ip(echo));
    icmp->time_to_live = IP_TIME_TO_LIVE;
    icmp->protocol = IP_ICMP;
    icmp->from = __builtin_bswap32(GUEST_ADDRESS);
    icmp->to = __builtin_bswap32(HOST_ADDRESS);
    icmp->header_sum = swap16(sum_of(&icmp->version_and_length, ICMP_START - IP_START));
    icmp->type = type;
    icmp->id = swap16(id);
    icmp->sequence = swap16(echo->sequence);
    memcpy(icmp->data, echo->data, echo->size);
    return (uint32_t)(ICMP_HEADER + echo->size);
}

void
net_ask(struct net *net, const struct virtio_net_hdr_v1 *header, const struct echo *echo, uint16_t sum_error)
{
    uint32_t size = make_icmp(net, ICMP_REQUEST, OUR_ID, echo);

    sent.icmp.sum = swap16((uint16_t)(sum_of(&sent.icmp.type, size - ICMP_START) + sum_error));
    net_send_raw(net, header, &sent, size);
}

/* A whole message of this type for us. Its sum is looked at, too. */
static bool
is_icmp(uint32_t size, uint8_t type)
{
    const struct icmp *icmp = &received.icmp;
    uint32_t end = (uint32_t)IP_START + swap16(icmp->length);

    return size >= ICMP_HEADER && icmp->ethernet.type == swap16(TYPE_IP) && icmp->version_and_length == IP_VERSION_AND_LENGTH &&
           icmp->protocol == IP_ICMP && icmp->from == __builtin_bswap32(HOST_ADDRESS) && icmp->to == __builtin_bswap32(GUEST_ADDRESS) &&
           icmp->type == type && end >= ICMP_HEADER && end <= size && sum_of(&icmp->type, end - ICMP_START) == 0;
}

static struct echo
wait_for_icmp(struct net *net, uint8_t type)
{
    while (!is_icmp(receive_other(net), type))
        ;
    return (struct echo){
        .sequence = swap16(received.icmp.sequence),
        .data = received.icmp.data,
        .size = IP_START + swap16(received.icmp.length) - ICMP_HEADER,
    };
}

struct echo
net_wait_for_answer(struct net *net)
{
    struct echo answer = wait_for_icmp(net, ICMP_REPLY);

    expect(received.icmp.id == swap16(OUR_ID), "an answer to somebody else");
    return answer;
}

void
net_answer(struct net *net)
{
    const struct virtio_net_hdr_v1 header = net_plain_header();
    struct echo question = wait_for_icmp(net, ICMP_REQUEST);
    uint32_t size;

    memcpy(net->host_mac, received.ethernet.from, NET_MAC);
    size = make_icmp(net, ICMP_REPLY, swap16(received.icmp.id), &question);
    sent.icmp.sum = swap16(sum_of(&sent.icmp.type, size - ICMP_START));
    net_send_raw(net, &header, &sent, size);
}
