/*
 * Lines that vmproc and the plugin write, taken into the supervisor's log. Both are distrusted: a line is cut at GUEST_LOG_LINE_MAX bytes
 * and shown with vis(3) (by the log itself); a pipe is read at a limited rate, so that a process that writes without end waits for
 * its turn and costs the supervisor nothing. vmproc's lines begin with "<N>", their level; the plugin's are warnings, or information
 * for its standard output. The descriptor is owned here.
 */
#ifndef VMSUP_SUPERVISOR_GUEST_LOG_H
#define VMSUP_SUPERVISOR_GUEST_LOG_H

#include "common/log.h"
#include "common/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_LOG_LINE_MAX 800
/* So much is read at once, */
#define GUEST_LOG_READ_MAX 4096
/* so many such reads in a period, each of so many milliseconds, */
#define GUEST_LOG_READS_MAX 8
#define GUEST_LOG_PERIOD 500
/* and so many lines of it written; the others are counted. */
#define GUEST_LOG_LINES_MAX 40
/* What is still in the pipe once its writer is dead: as much as a pipe holds. */
#define GUEST_LOG_DRAIN_MAX (64 * 1024)

struct guest_log {
    const char *name; /* "plugin": before each line */
    enum log_level level;
    bool has_levels; /* lines begin with "<N>" */
    int fd;
    struct loop_source *source, *timer;
    char line[GUEST_LOG_LINE_MAX + 1];
    size_t length;
    bool cut; /* the line was longer: what follows it is dropped up to its end */
    unsigned reads, lines;
    uint64_t dropped;
};

/* Takes over `fd`, which is made non-blocking. 0 or a negative errno. */
int guest_log_begin(struct guest_log *log, struct loop *loop, int fd, const char *name, enum log_level level, bool has_levels);

/* Takes what the pipe still holds (its writer is gone), then ends. */
void guest_log_end(struct guest_log *log);

/* Splits bytes into lines and logs them: what the two above do with what they read. */
void guest_log_feed(struct guest_log *log, const char *data, size_t size);

#endif
