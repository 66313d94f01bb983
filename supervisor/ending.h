/*
 * Why a VM ended: facts in, one reason out. Pure: no process is looked at here, so that each ending can be told from every other in a
 * test. The supervisor collects facts until both processes are gone, then decides once.
 */
#ifndef VMSUP_SUPERVISOR_ENDING_H
#define VMSUP_SUPERVISOR_ENDING_H

#include "proto/control.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

#define ENDING_TEXT_MAX 400
#define ENDING_DETAIL_MAX 256
#define ENDING_ASKED_MAX 64

/* What was seen first; the rest explains it. */
enum ending_cause {
    ENDING_NONE,
    ENDING_PLUGIN_GONE,
    ENDING_VMPROC_GONE,
    ENDING_VM_ENDED,         /* vmproc said so: `kind` and `detail` */
    ENDING_PLUGIN_FILTERED,  /* `detail` */
    ENDING_VMPROC_FILTERED,  /* `detail` */
    ENDING_STOP,             /* `detail`: by whom */
    ENDING_FAULT,            /* of the supervisor, or of what vmproc says: `detail` */
};

struct ending_facts {
    enum ending_cause cause;
    ControlEnded__Kind kind;
    char detail[ENDING_DETAIL_MAX];
    char asked_by[ENDING_ASKED_MAX];    /* who wanted the guest to turn itself off; empty: nobody */
    bool plugin_gone, vmproc_gone;
    int plugin_status, vmproc_status;   /* as waitpid(2) has them */
    bool plugin_killed, vmproc_killed;  /* by the supervisor, before they were gone */
    bool timed_out;                     /* the grace time was over */
    bool microvm;                       /* it is the plugin: what its exit codes mean is known */
    unsigned int grace;                 /* milliseconds */
    uint64_t oom_kills;                 /* by the kernel, in the VM's cgroup */
};

struct ending {
    int exit_code;
    char text[ENDING_TEXT_MAX];
};

void ending_decide(const struct ending_facts *facts, struct ending *ending);

#endif
