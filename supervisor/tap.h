/*
 * The TAP of a VM: a network link of the host's whose other end is a descriptor. It is not persistent: it is gone when the last descriptor
 * is closed, so also when a supervisor is killed. The supervisor keeps one of its own, by which it takes back a TUNSETPERSIST that
 * somebody else who held it may have made; that needs no capability. Making a TAP needs CAP_NET_ADMIN.
 *
 *   tap_create()  →  net_filter_install()  →  tap_up()  →  tap_settle()  →  …  →  tap_destroy()
 */
#ifndef VMSUP_SUPERVISOR_TAP_H
#define VMSUP_SUPERVISOR_TAP_H

#include "supervisor/failure.h"

#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* Descriptors of one TAP, each a queue of its own. */
#define TAP_QUEUES_MAX 8

struct tap_settings {
    struct in_addr host_ip;
    struct in_addr netmask;
    uint8_t mac[ETH_ALEN];
    bool vnet_header;    /* frames begin with a virtio_net_hdr, of ten bytes until somebody sets another size */
    unsigned int queues; /* 0 or 1: one, of a TAP that takes no further ones */
};

struct tap {
    int fd;   /* for vmproc: fd_take() it, or let tap_destroy() close it */
    int kept; /* the supervisor's own, of the same open file */
    int more[TAP_QUEUES_MAX - 1]; /* the second queue and further ones, -1 behind the last; as fd */
    char name[IFNAMSIZ];
    int index;
};

/*
 * Makes the link and gives it its addresses: no IPv6, no router advertisements accepted, down. 0 or a negative errno with `failure`
 * filled (EX_OSERR, EX_NOPERM, EX_UNAVAILABLE without /dev/net/tun); then nothing is left.
 */
int tap_create(const struct tap_settings *settings, struct tap *tap, struct failure *failure);
int tap_up(const struct tap *tap, struct failure *failure);

/*
 * To be called as late as can be while there are privileges. A service of the host's may give each new link an address of its own, as
 * systemd-udevd does where it looked at the link before that had one; by now it has. 0 or a negative errno, likewise.
 */
int tap_settle(const struct tap *tap, const uint8_t mac[ETH_ALEN], struct failure *failure);

/* Closes all. The link goes with the last descriptor: call it when vmproc and the plugin are gone. Does nothing after itself. */
void tap_destroy(struct tap *tap);

#endif
