/*
 * A network link's addresses and state, over rtnetlink(7). One socket for a few requests, each answered before the next; a request gives 0
 * or the kernel's negative errno. Needs CAP_NET_ADMIN. Internal to supervisor/tap.c.
 */
#ifndef VMSUP_SUPERVISOR_NETLINK_H
#define VMSUP_SUPERVISOR_NETLINK_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct mnl_socket;

struct netlink {
    struct mnl_socket *socket; /* owned */
    uint32_t sequence;
};

int netlink_open(struct netlink *netlink);
void netlink_close(struct netlink *netlink);

int netlink_set_mac(struct netlink *netlink, int link, const uint8_t mac[ETH_ALEN]);
/* With the broadcast address of its network, where that has one. */
int netlink_add_address(struct netlink *netlink, int link, struct in_addr address, struct in_addr netmask);
int netlink_set_up(struct netlink *netlink, int link);

#endif
