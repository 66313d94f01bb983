/*
 * A VM's life from the start of its processes to the end of the last: the supervisor's event loop. It is entered after the
 * supervisor has given up its privileges; only here are bytes of vmproc's and the plugin's read. It ends when both processes are
 * gone and reaped, and never before; what they can make it do on the way is bounded by the limits of the modules it uses.
 */
#ifndef VMSUP_SUPERVISOR_WATCH_H
#define VMSUP_SUPERVISOR_WATCH_H

#include "supervisor/admin.h"
#include "supervisor/cgroup.h"
#include "supervisor/children.h"
#include "supervisor/ending.h"
#include "supervisor/options.h"
#include "supervisor/runtime.h"
#include "supervisor/vmproc_link.h"

/* How long vmproc may take to say hello and that it is ready, in milliseconds. The plugin takes as long as it likes to call start. */
#define WATCH_READY_TIME 10000
/* After the plugin was killed by another than the supervisor: how long vmproc may take to be seen dying first. */
#define WATCH_LAST_WORDS 300
/* A process that was sent SIGKILL is waited for; this often it is sent again. */
#define WATCH_KILL_INTERVAL 1000

struct watch_plan {
    const struct options *options;
    struct children *children; /* its descriptors are taken over; its processes are reaped */
    const struct cgroup *cgroup;
    struct admin *admin;
    int *machine;                  /* the channel to microvm, taken over; -1: there is none */
    const struct runtime *runtime; /* in which the guest's connections end; NULL: it has none */
    /* Called once the VM runs. */
    void (*running)(void *context);
    /* Whenever the plugin is about to be heard on standard output, of a VM in the foreground. */
    void (*speaking)(void *context);
    void *context;
};

/* Runs the VM and says how it ended. 0, or a negative errno where the loop itself could not be had (both are killed then). */
int watch_run(const struct watch_plan *plan, struct ending *ending);

#endif
