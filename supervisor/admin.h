/*
 * The control socket of a VM, in its runtime folder: an admin's command asks for the VM's state or statistics, its end, or memory of its
 * guest's. The socket is root's alone (0600) and who asks is told by SO_PEERCRED. Few connections at a time, one request each, answered or
 * dropped at once.
 */
#ifndef VMSUP_SUPERVISOR_ADMIN_H
#define VMSUP_SUPERVISOR_ADMIN_H

#include "common/loop.h"
#include "proto/control.pb-c.h"
#include "proto/host.h"
#include "proto/statistics.h"
#include "supervisor/failure.h"
#include "supervisor/runtime.h"

#include <stdbool.h>
#include <sys/types.h>

#define ADMIN_SOCKET_NAME "control"
/* At once; so many more wait for their turn. A connection that says nothing is closed after so many milliseconds. */
#define ADMIN_CONNECTIONS_MAX 4
#define ADMIN_QUEUE_MAX 64
#define ADMIN_PATIENCE 1000
#define ADMIN_MESSAGE_MAX 1024
#define ADMIN_REPLY_MAX (STATISTICS_MESSAGE_MAX + 1024)
/* How long who asks waits for a supervisor that may still be starting, in seconds. */
#define ADMIN_ANSWER_TIME 3
#define ADMIN_STATE_MAX 16

struct admin;

/* Fills the reply, whose strings must live until the next call; `uid` is who asks. */
typedef void admin_answer(void *context, const AdminRequest *request, uid_t uid, AdminReply *reply);

/* Makes the socket. 0 with *admin the caller's, or a negative errno with `failure` filled. */
int admin_listen(const struct runtime *runtime, struct admin **admin, struct failure *failure);

/* Serves it from now on. 0 or a negative errno. */
int admin_serve(struct admin *admin, struct loop *loop, admin_answer *answer, void *context);

/* Closes everything; the socket's file goes with the runtime folder. NULL is nothing. */
void admin_destroy(struct admin *admin);

/* What a supervisor says of its VM's balloon. */
struct admin_balloon {
    uint64_t target, size; /* bytes: asked of the guest, and given, it says */
    uint32_t count;        /* how often the guest has said anything */
    uint32_t present;      /* which values it told, one bit each */
    uint64_t value[HOST_STATISTICS_MAX];
};

/* What a supervisor has heard of its VM's vCPUs. */
struct admin_statistics {
    uint32_t count; /* how often vmproc has answered */
    bool pending;   /* an answer is still to come */
    size_t vcpus;   /* rows of `value`, each in the order of proto/statistics.h */
    uint64_t value[STATISTICS_MAX];
};

/* What a supervisor says of its VM. */
struct admin_status {
    int error; /* a positive errno, or 0 */
    char state[ADMIN_STATE_MAX];
    pid_t vmproc, plugin;
    unsigned int grace; /* milliseconds */
    struct admin_balloon balloon;
    struct admin_statistics statistics;
};

enum admin_request { ADMIN_STATUS, ADMIN_STOP, ADMIN_STOP_NOW };

/* Asks the supervisor of `name` and waits for its answer, ADMIN_ANSWER_TIME at most. 0 with *status, or a negative errno. */
int admin_ask(const char *base, const char *name, enum admin_request wanted, struct admin_status *status);

/* The same for the balloon: *size bytes are asked of the guest unless it is NULL, and its statistics, which come later, if wanted. */
int admin_ask_balloon(const char *base, const char *name, const uint64_t *size, bool statistics, struct admin_status *status);

/* The same for what the vCPUs have counted: vmproc is asked if wanted, and its answer comes later. */
int admin_ask_statistics(const char *base, const char *name, bool wanted, struct admin_status *status);

#endif
