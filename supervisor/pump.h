/*
 * Bytes carried from one descriptor to another by the event loop, a buffer at a time: nothing is read before what was read is written, so
 * that a reader that does not read stops its writer and nobody else. Both descriptors stay the caller's; they are read and written only
 * where that does not block (at most PIPE_BUF bytes), since they may be shared with programs that expect them to block.
 */
#ifndef VMSUP_SUPERVISOR_PUMP_H
#define VMSUP_SUPERVISOR_PUMP_H

#include "common/loop.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* Looks at bytes that were read, and may shorten them: gives how many are to be carried. */
typedef size_t pump_filter(void *context, char *data, size_t size);
/* There is nothing more to read. Called once. */
typedef void pump_end(void *context);

struct pump {
    struct loop *loop;
    int from, to;
    struct loop_source *from_source, *to_source; /* NULL: always ready (a file, /dev/null) */
    pump_filter *filter;
    pump_end *end;
    void *context;
    char buffer[PIPE_BUF];
    size_t size, done;
    bool deaf; /* nobody reads what is written: it is dropped */
    bool ended;
};

/* 0 or a negative errno. */
int pump_begin(struct pump *pump, struct loop *loop, int from, int to, pump_filter *filter, pump_end *end, void *context);

/* Carries what can still be read without waiting; at most `limit` bytes, and at most what can be written without waiting. */
void pump_drain(struct pump *pump, size_t limit);
void pump_stop(struct pump *pump);

#endif
