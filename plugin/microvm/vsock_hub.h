/*
 * All connections of a vsock device: who is where, which of them have something to say to the guest, in turn, which sockets are waited
 * for, and who was waited for too long. The device owns the hub, and the hub the connections. One thread at a time.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VSOCK_HUB_H
#define VMSUP_PLUGIN_MICROVM_VSOCK_HUB_H

#include "plugin/microvm/vsock_connection.h"

#define VSOCK_CONNECTIONS_MAX 256
/* Of those, so many of the host's that the guest did not accept yet. */
#define VSOCK_CALLERS_MAX 32
/* The ports that stand for the host's programs. */
#define VSOCK_HOST_PORT_MIN (1U << 30)
#define VSOCK_HOST_PORT_MAX ((1U << 31) - 1)
#define VSOCK_BUCKETS 64

/* What epoll tells: a connection's index, or one of these. */
enum vsock_tag {
    VSOCK_TAG_TIMER = VSOCK_CONNECTIONS_MAX,
    VSOCK_TAG_LISTENER,
    VSOCK_TAG_BROKER,
};

struct vsock_hub {
    int epoll, timer;
    uint32_t patience_ms; /* with a client's line and the guest's answer together */
    int64_t alarm;        /* what the timer is set to; 0: it is not */
    uint32_t next_port;
    size_t in_use, callers;
    struct vsock_connection connection[VSOCK_CONNECTIONS_MAX];
    LIST_HEAD(vsock_bucket, vsock_connection) bucket[VSOCK_BUCKETS];
    TAILQ_HEAD(vsock_turn, vsock_connection) ready;
    TAILQ_HEAD(vsock_waiters, vsock_connection) waiting; /* the first to lose its patience first */
};

/* 0 or a negative errno; after either, vsock_hub_destroy() is right. */
int vsock_hub_init(struct vsock_hub *hub, uint32_t patience_ms);
void vsock_hub_destroy(struct vsock_hub *hub);

/* As in the beginning: every connection is dropped, and nobody hears of it. */
void vsock_hub_clear(struct vsock_hub *hub);

/* A new connection, to be settled; the socket, or -1, is its own. NULL: there are too many, and the socket stays the caller's. */
struct vsock_connection *vsock_hub_add(struct vsock_hub *hub, enum vsock_state state, int fd);
void vsock_hub_set_ports(struct vsock_hub *hub, struct vsock_connection *connection, uint32_t host_port, uint32_t guest_port);
/* A port of the host's that has no connection to this one of the guest's. */
uint32_t vsock_hub_choose_port(struct vsock_hub *hub, uint32_t guest_port);

struct vsock_connection *vsock_hub_find(struct vsock_hub *hub, uint32_t host_port, uint32_t guest_port);
/* Names a connection until it is over, whoever has its place later. NULL: it is. */
uint64_t vsock_hub_token(const struct vsock_hub *hub, const struct vsock_connection *connection);
struct vsock_connection *vsock_hub_by_token(struct vsock_hub *hub, uint64_t token);

/* After every change to a connection: its turn, its socket and its time are as it wants them, and it is taken back if it is over. */
void vsock_hub_settle(struct vsock_hub *hub, struct vsock_connection *connection);

/* The next to say something, which goes to the end of the line; NULL: nobody has anything. */
struct vsock_connection *vsock_hub_next(struct vsock_hub *hub);

/* Whose time is over is reset. */
void vsock_hub_expire(struct vsock_hub *hub);

/* Waits for a descriptor with these events; -1: no longer. `watched` is what was asked before, and becomes what is asked now. */
int vsock_hub_watch(struct vsock_hub *hub, int fd, uint64_t tag, int events, int *watched);

/* The timer rings at this time at the latest, which is of clock_milliseconds(). */
void vsock_hub_alarm(struct vsock_hub *hub, int64_t when);

#endif
