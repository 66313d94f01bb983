/*
 * The server: the event loop of the VM process's first thread. It serves main requests on every connection, tells the
 * supervisor how the VM fares, and ends the vCPUs. It owns the connections and the control socket; the VM is the
 * caller's and outlives it.
 *
 *   server.c      connections: one request in, one answer out, at most one answer waiting
 *   control.c     the supervisor's side: start-up, running, ended, stop
 */
#ifndef VMSUP_VMPROC_SERVER_H
#define VMSUP_VMPROC_SERVER_H

#include "common/loop.h"
#include "proto/message.h"
#include "vmproc/request.h"
#include "vmproc/vm.h"

#include <stdbool.h>
#include <sys/queue.h>

struct server;

/* An answer that did not fit into the socket. */
struct pending_answer {
    uint8_t *data; /* NULL: there is none */
    size_t size;
    struct reply_fd fd[WIRE_RESPONSE_FDS_MAX];
    size_t fd_count;
};

struct connection {
    LIST_ENTRY(connection) link;
    struct server *server;
    int fd;
    struct loop_source *source; /* NULL while the connection is not read */
    struct loop_source *timer;  /* NULL unless it waits for its turn */
    struct pending_answer pending;
};

struct server {
    struct loop *loop;
    struct vm *vm;
    LIST_HEAD(, connection) connections;
    size_t connection_count;
    struct arena request_arena;
    struct arena reply_arena;
    uint8_t request[WIRE_REQUEST_MAX];
    uint8_t response[WIRE_RESPONSE_MAX];
    struct reply reply;
};

/* 0 or a negative errno. Takes over `plugin`, the first connection, in either case. */
int server_create(struct server *server, struct loop *loop, struct vm *vm, int plugin);
void server_destroy(struct server *server);

#endif
