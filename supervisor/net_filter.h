/*
 * What a guest may say on its TAP once its addresses are known: frames from its own MAC, IPv4 from its own address, ARP that says no other
 * sender; all else (another source, IPv6, VLANs, any other protocol) is dropped where it enters the host. An nftables table of the netdev
 * family, with a base chain on the ingress hook of that one link. The table is owned by this process's netlink socket: the kernel removes
 * it when the socket is closed, by net_filter_remove(), which needs no capability, or by death. Making it needs CAP_NET_ADMIN.
 */
#ifndef VMSUP_SUPERVISOR_NET_FILTER_H
#define VMSUP_SUPERVISOR_NET_FILTER_H

#include "supervisor/failure.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdint.h>

struct nft_ctx;

struct net_filter {
    struct nft_ctx *context; /* NULL: none */
};

/* `link` is the TAP's name, which must not be up yet. 0 or a negative errno with `failure` filled (EX_UNAVAILABLE, EX_NOPERM). */
int net_filter_install(const char *link, const uint8_t guest_mac[ETH_ALEN], struct in_addr guest_ip, struct net_filter *filter,
                       struct failure *failure);
void net_filter_remove(struct net_filter *filter);

#endif
