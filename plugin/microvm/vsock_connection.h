/*
 * One connection between a program on the host, behind a unix stream socket, and a program in the guest (virtio 1.2, 5.10.6). It knows
 * its socket, its credit, what waits for the host, and what it has to say to the guest; it knows no queue and no other connection.
 * Whoever holds the struct (vsock_hub.h) owns the connection, and the connection its socket. One thread at a time; nothing blocks.
 *
 * Each direction ends by itself: what one side will no longer send, or no longer take, the other one hears as SHUTDOWN or as shutdown(2)
 * does it. A connection that is over says RST if the guest must hear of it, and is then VSOCK_FREE for its owner to take back.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VSOCK_CONNECTION_H
#define VMSUP_PLUGIN_MICROVM_VSOCK_CONNECTION_H

#include "plugin/microvm/queue.h"
#include "plugin/microvm/vsock_buffer.h"
#include "plugin/microvm/vsock_credit.h"
#include "plugin/microvm/vsock_line.h"

#include <sys/queue.h>

#define VSOCK_HEADER_SIZE sizeof(struct virtio_vsock_hdr)
/* One packet carries at most so many bytes to the guest, whatever buffer it gives: others want their turn. */
#define VSOCK_PACKET_MAX (64U << 10)

enum vsock_state {
    VSOCK_FREE,
    VSOCK_CALLING,   /* a client has not written its line yet; it has no ports */
    VSOCK_REQUESTED, /* the guest was asked, or is to be, and did not answer yet */
    VSOCK_BROKERED,  /* the guest asks, and somebody looks for a socket */
    VSOCK_OPEN,
    VSOCK_ENDED, /* only RST is still to be said */
};

struct vsock_connection {
    enum vsock_state state;
    uint32_t host_port, guest_port;
    int fd;
    unsigned say; /* a set of VSOCK_SAY(operation) */
    bool readable; /* the socket may have something: nobody read it empty */
    bool asked; /* for credit, since there was none */
    bool host_sends, host_takes, guest_sends, guest_takes;
    struct vsock_credit credit;
    struct vsock_buffer buffer;
    char line[VSOCK_LINE_MAX];
    size_t line_size;

    /* The owner's. */
    uint32_t generation;
    int64_t deadline;
    int watched;
    bool is_ready, is_waiting, has_ports;
    TAILQ_ENTRY(vsock_connection) ready, waiting;
    LIST_ENTRY(vsock_connection) same;
};

#define VSOCK_SAY(operation) (1U << (operation))

/* It becomes one in this state, with a socket or -1, which is its own from now on. */
void vsock_connection_begin(struct vsock_connection *connection, enum vsock_state state, int fd);

/* VSOCK_BROKERED no longer: here is its socket, and the guest is told. */
void vsock_connection_accept(struct vsock_connection *connection, int fd);

/* It is over, at once; the guest hears of it if it knows the connection. */
void vsock_connection_reset(struct vsock_connection *connection);
/* The same, and nobody hears of it. */
void vsock_connection_drop(struct vsock_connection *connection);

/* A packet of the guest's. Its header is copied and names this connection; its payload, behind it in the chain, is as long as it says. */
void vsock_connection_take(struct vsock_connection *connection, const struct virtio_vsock_hdr *header, const struct chain *chain);

/* There is something for the guest. */
bool vsock_connection_has_something(struct vsock_connection *connection);
/*
 * Says it, in a chain with room for more than a header: a packet's payload goes behind the room for the header, which is filled but for
 * addresses and type. false: there was nothing after all, and the chain is as before.
 */
bool vsock_connection_say(struct vsock_connection *connection, const struct chain *chain, struct virtio_vsock_hdr *header);

/* What epoll(7) shall wait for, maybe only for what it always tells (0); -1: for nothing at all. */
int vsock_connection_wants(const struct vsock_connection *connection);
/* It came, for a connection that is past VSOCK_CALLING. */
void vsock_connection_happened(struct vsock_connection *connection, uint32_t events);

#endif
