/*
 * A virtio network card (virtio 1.2, 5.1) with one pair of queues, and the frames that a host answers: ARP and ICMP echo. The network is
 * one of two addresses, the host's and the guest's. What the host asks of the guest by ARP is answered by the way.
 */
#ifndef VMSUP_TESTS_SYSTEM_GUESTS_COMMON_NET_H
#define VMSUP_TESTS_SYSTEM_GUESTS_COMMON_NET_H

#include "tests/system/guests/common/virtio.h"

#include <linux/virtio_net.h>

#define NET_MAC 6
/* With the header of Ethernet. */
#define NET_FRAME_MAX 1514
/* What an echo can carry in one frame. */
#define NET_ECHO_MAX 1472

struct net {
    struct driver driver;
    uint8_t mac[NET_MAC], host_mac[NET_MAC];
    uint32_t buffer_size; /* of those that frames come into */
};

struct echo {
    uint16_t sequence;
    const uint8_t *data;
    size_t size;
};

/* Finds it and makes it ready; with VIRTIO_NET_F_MRG_RXBUF the buffers are too small for most frames. */
void net_begin(struct net *net, bool merged);

/* Asks for the host's address until it is told. */
void net_find_host(struct net *net);

/* The header of a frame that needs nothing. */
struct virtio_net_hdr_v1 net_plain_header(void);

/* Asks for an echo. In a frame that the host takes, `sum_error` is 0: it is added to the checksum. */
void net_ask(struct net *net, const struct virtio_net_hdr_v1 *header, const struct echo *echo, uint16_t sum_error);

/* Sends bytes that need not be a frame. */
void net_send_raw(struct net *net, const struct virtio_net_hdr_v1 *header, void *bytes, uint32_t size);

/* Waits for the next answer. It is kept until the next one is waited for. */
struct echo net_wait_for_answer(struct net *net);

/* Waits for the next request of the host's and answers it. */
void net_answer(struct net *net);

#endif
