/*
 * The channel between the supervisor and microvm (proto/host.proto): the power button and the balloon one way, connections that the guest
 * begins the other way. microvm may have fallen to its guest. What it sends is taken one message at a time, as often as a token bucket
 * has it: what comes faster stays in the socket, where it is in microvm's way alone. A message that there is not, or one out of turn,
 * closes the channel; the VM goes on without it. Nothing here blocks, and only machine_link_begin() allocates.
 *
 * Descriptors that are under way count against all of root's processes. So the socket's buffer is as small as can be, and an answer that
 * does not fit waits here, alone, before the next request is read.
 */
#ifndef VMSUP_SUPERVISOR_MACHINE_LINK_H
#define VMSUP_SUPERVISOR_MACHINE_LINK_H

#include "common/loop.h"
#include "proto/host.h"
#include "proto/message.h"
#include "supervisor/runtime.h"
#include "supervisor/token_bucket.h"

#include <stdbool.h>
#include <stdint.h>

/* Messages of microvm's that are read: at once, and in each second. */
#define MACHINE_LINK_BURST 32
#define MACHINE_LINK_RATE 200
/* Bytes of the supervisor's that microvm has not read: the kernel makes the least of it that there is, a few messages. */
#define MACHINE_LINK_BUFFER 1

/* What the guest said last; it may lie. */
struct machine_balloon {
    uint64_t target; /* asked of it, in bytes */
    uint64_t size;   /* that it gave, it says */
    uint32_t count;  /* how often it said anything */
    uint32_t present;
    uint64_t value[HOST_STATISTICS_MAX]; /* by the numbers of virtio 1.2, 5.5.6.3; 0 where `present` does not have its bit */
};

struct machine_link {
    struct loop *loop;
    const struct runtime *runtime; /* NULL: the guest connects to nobody */
    int socket;                    /* owned; -1: there is none, or not any more */
    struct loop_source *source, *timer;
    struct arena arena;
    struct token_bucket bucket;
    bool ready; /* the guest runs, and microvm listens */
    bool has_balloon;
    struct machine_balloon balloon;
    /* An answer that waits for room. */
    uint8_t answer[HOST_MESSAGE_MAX];
    size_t answer_size; /* 0: none */
    int answer_fd;      /* owned; -1: none */
    uint64_t answer_token;
};

/* Two connected sockets, neither of which blocks the supervisor. 0 or a negative errno. */
int machine_link_make(int *ours, int *theirs);

/* Takes over `socket`; -1 is none, and then nobody is asked for anything. 0 or a negative errno; machine_link_end() is due after either. */
int machine_link_begin(struct machine_link *link, struct loop *loop, int socket, const struct runtime *runtime);
void machine_link_end(struct machine_link *link);

/* 0; -ENOTCONN: microvm does not listen, or its guest does not run yet; -EAGAIN: it does not read what was said before. */
int machine_link_press_button(struct machine_link *link);
/* The same, and -EOPNOTSUPP: the guest has no balloon. What it tells comes into link->balloon, sooner or later or never. */
int machine_link_set_balloon(struct machine_link *link, uint64_t size);
int machine_link_ask_balloon(struct machine_link *link);

#endif
