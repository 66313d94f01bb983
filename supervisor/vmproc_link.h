/*
 * What the supervisor says to vmproc and hears from it (proto/control.proto). vmproc may have fallen to its guest: each message is taken
 * once and in its order, its texts are cut, and anything else is -EPROTO, which ends the VM. No function here blocks.
 */
#ifndef VMSUP_SUPERVISOR_VMPROC_LINK_H
#define VMSUP_SUPERVISOR_VMPROC_LINK_H

#include "proto/control.pb-c.h"
#include "proto/message.h"
#include "supervisor/options.h"

#include <stdbool.h>

#define VMPROC_LINK_MESSAGE_MAX 4096
#define VMPROC_LINK_TEXT_MAX 200

enum vmproc_word {
    VMPROC_NOTHING, /* there is no message now */
    VMPROC_HELLO,   /* it is of this build */
    VMPROC_READY,
    VMPROC_RUNNING,
    VMPROC_ENDED,
    VMPROC_GONE, /* it has closed the socket */
};

struct vmproc_link {
    int socket; /* owned */
    struct arena arena;
    enum vmproc_word last; /* the last that was heard */
    bool ended;
    ControlEnded__Kind kind;
    char text[VMPROC_LINK_TEXT_MAX];
    char wrong[VMPROC_LINK_TEXT_MAX]; /* what was wrong with what it said, after -EPROTO */
};

/* The descriptors that go to vmproc with its set-up: each is given away (and becomes -1) by vmproc_link_send_setup(). */
struct vmproc_setup {
    int kvm;
    int plugin_socket;
    int keeper; /* the entrance */
    int tap;    /* -1: no network */
};

/* Takes over `socket`. 0 or -ENOMEM. */
int vmproc_link_begin(struct vmproc_link *link, int socket);
void vmproc_link_end(struct vmproc_link *link);

/* By its socket alone, to be called before anything is heard. */
int vmproc_link_send_hello(int socket);
int vmproc_link_send_setup(int socket, const struct options *options, uint64_t memory_limit, struct vmproc_setup *setup);
int vmproc_link_send_stop(struct vmproc_link *link);

/* Takes one message. 0 with *word, or -EPROTO. */
int vmproc_link_hear(struct vmproc_link *link, enum vmproc_word *word);

#endif
