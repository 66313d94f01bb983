/*
 * What the supervisor says to vmproc and hears from it (proto/control.proto). vmproc may have fallen to its guest: each message is taken
 * once and in its order, its texts are cut, and anything else is -EPROTO, which ends the VM. No function here blocks.
 */
#ifndef VMSUP_SUPERVISOR_VMPROC_LINK_H
#define VMSUP_SUPERVISOR_VMPROC_LINK_H

#include "proto/control.pb-c.h"
#include "proto/message.h"
#include "proto/statistics.h"
#include "supervisor/options.h"

#include <stdbool.h>

#define VMPROC_LINK_MESSAGE_MAX STATISTICS_MESSAGE_MAX
#define VMPROC_LINK_TEXT_MAX 200
/* From one question for statistics to the next, in milliseconds: who asks sooner gets the last answer. */
#define VMPROC_LINK_STATISTICS_INTERVAL 20
/* What vmproc has to say from its beginning to its end: each word once, and one answer that is under way. */
#define VMPROC_LINK_WORDS_MAX 5

enum vmproc_word {
    VMPROC_NOTHING, /* there is no message now */
    VMPROC_HELLO,   /* it is of this build */
    VMPROC_READY,
    VMPROC_RUNNING,
    VMPROC_ENDED,
    VMPROC_STATISTICS, /* which were asked for */
    VMPROC_GONE, /* it has closed the socket */
};

struct vmproc_link {
    int socket; /* owned */
    const struct options *options;
    struct arena arena;
    enum vmproc_word last; /* the last of hello, ready and running that was heard, or that it is gone */
    bool ended;
    ControlEnded__Kind kind;
    char text[VMPROC_LINK_TEXT_MAX];
    bool asked;                /* for statistics, which have not come yet */
    int64_t asked_at;          /* clock_milliseconds() */
    uint32_t statistics_count; /* how often they have come */
    uint64_t *statistics;      /* owned, STATISTICS_MAX numbers; NULL before the first question */
    char wrong[VMPROC_LINK_TEXT_MAX]; /* what was wrong with what it said, after -EPROTO */
};

/* The descriptors that go to vmproc with its set-up: each is given away (and becomes -1) by vmproc_link_send_setup(). */
struct vmproc_setup {
    int kvm;
    int plugin_socket;
    int keeper; /* the entrance */
    int tap;    /* -1: no network */
};

/* Takes over `socket`; the options of the VM must live as long. 0 or -ENOMEM. */
int vmproc_link_begin(struct vmproc_link *link, int socket, const struct options *options);
void vmproc_link_end(struct vmproc_link *link);

/* By its socket alone, to be called before anything is heard. */
int vmproc_link_send_hello(int socket);
int vmproc_link_send_setup(int socket, const struct options *options, uint64_t memory_limit, struct vmproc_setup *setup);
int vmproc_link_send_stop(struct vmproc_link *link);

/*
 * Asks for what the vCPUs have counted; the answer is heard later, and it may never come. One question is open at a time, and for
 * VMPROC_LINK_STATISTICS_INTERVAL before `now`, which is of clock_milliseconds(), there was none: otherwise nothing is sent. 0; -ENOTCONN:
 * vmproc is not ready, or gone; or another negative errno.
 */
int vmproc_link_ask_statistics(struct vmproc_link *link, int64_t now);

/* Takes one message. 0 with *word, or -EPROTO. */
int vmproc_link_hear(struct vmproc_link *link, enum vmproc_word *word);

#endif
