/*
 * What vmproc counts of each vCPU and tells the supervisor when it asks, and that an admin's command: a row of so many numbers for each
 * vCPU, in this order. They are vmproc's own word and for display only; whoever takes them checks how many there are.
 */
#ifndef VMSUP_PROTO_STATISTICS_H
#define VMSUP_PROTO_STATISTICS_H

#include "proto/wire.h"

enum {
    STATISTICS_CHANNEL,    /* events that the plugin answered over the channel */
    STATISTICS_PIPES,      /* and over the pipes */
    STATISTICS_UNAWAITED,  /* writes that no answer was waited for */
    STATISTICS_READY,      /* vmproc's waits on the channel that found at once what they were for */
    STATISTICS_SPUN,       /* those that ended while it spun */
    STATISTICS_SLEPT,      /* and those that it slept in */
    STATISTICS_SPIN,       /* how long it would spin next, in nanoseconds */
    STATISTICS_SPIN_TIME,  /* how long it has spun altogether, in nanoseconds */
    STATISTICS_WOKEN,      /* how often the plugin was woken */
    STATISTICS_COLUMNS,
};

/* All that there can be, and a message that has it: ten bytes a number at most, and what stands around them. */
#define STATISTICS_MAX (WIRE_VCPUS_MAX * STATISTICS_COLUMNS)
#define STATISTICS_MESSAGE_MAX (STATISTICS_MAX * 10 + 1024)

#endif
