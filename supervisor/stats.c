/* `vmsup stats NAME`: what the vCPUs of a running VM have counted, a line each. */
#include "common/clock.h"
#include "common/log.h"
#include "supervisor/admin.h"
#include "supervisor/verb.h"
#include "supervisor/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <sysexits.h>
#include <time.h>

/* How long vmproc may take to answer, and how often the supervisor is asked whether it has, in milliseconds. */
#define STATS_PATIENCE 2000
#define STATS_STEP 5

/* Digits of the largest number that there is. */
#define NUMBER_MAX 20

/* A number of the table: as it is, or in microseconds where it is counted in nanoseconds. */
static const struct column {
    const char *name;
    unsigned index, divisor;
} columns[] = {
    { "channel", STATISTICS_CHANNEL, 1 }, { "pipes", STATISTICS_PIPES, 1 },      { "async", STATISTICS_UNAWAITED, 1 },
    { "ready", STATISTICS_READY, 1 },     { "spun", STATISTICS_SPUN, 1 },        { "slept", STATISTICS_SLEPT, 1 },
    { "spin-ns", STATISTICS_SPIN, 1 },    { "spun-us", STATISTICS_SPIN_TIME, 1000 }, { "woken", STATISTICS_WOKEN, 1 },
};

#define COLUMNS (sizeof columns / sizeof columns[0])

static int
explain(const char *name, int error)
{
    switch (error) {
    case ENOTCONN:
        log_error("%s cannot be asked: it does not run yet, or not any more", name);
        return EX_UNAVAILABLE;
    case ETIMEDOUT:
        log_error("%s: its vmproc does not answer: it was waited for %d ms", name, STATS_PATIENCE);
        return EX_TEMPFAIL;
    default:
        return verb_explain(name, error);
    }
}

/* 0 with an answer that was given after this was called, or just before; or a positive errno. */
static int
ask(const struct verb_target *target, struct admin_status *status)
{
    const struct timespec step = { .tv_nsec = STATS_STEP * 1000000L };
    const int64_t end = clock_milliseconds() + STATS_PATIENCE;
    int result = admin_ask_statistics(target->base, target->name, true, status);
    uint32_t before;

    if (result < 0)
        return -result;
    before = status->statistics.count;
    while (status->error == 0 && status->statistics.pending && status->statistics.count == before) {
        if (clock_milliseconds() >= end)
            return ETIMEDOUT;
        nanosleep(&step, NULL);
        result = admin_ask_statistics(target->base, target->name, false, status);
        if (result < 0)
            return -result;
    }
    return status->error;
}

static void
format_number(char text[NUMBER_MAX + 1], const struct column *column, const uint64_t *row)
{
    snprintf(text, NUMBER_MAX + 1, "%" PRIu64, row[column->index] / column->divisor);
}

static int
measure_column(const struct column *column, const struct admin_statistics *statistics)
{
    size_t width = strlen(column->name);
    char text[NUMBER_MAX + 1];

    for (size_t i = 0; i < statistics->vcpus; i++) {
        format_number(text, column, statistics->value + i * STATISTICS_COLUMNS);
        width = MAX(width, strlen(text));
    }
    return (int)width;
}

static void
print(const struct admin_statistics *statistics)
{
    int width[COLUMNS];
    char text[NUMBER_MAX + 1];

    printf("vcpu");
    for (size_t i = 0; i < COLUMNS; i++) {
        width[i] = measure_column(&columns[i], statistics);
        printf("  %*s", width[i], columns[i].name);
    }
    printf("\n");
    for (size_t vcpu = 0; vcpu < statistics->vcpus; vcpu++) {
        printf("%4zu", vcpu);
        for (size_t i = 0; i < COLUMNS; i++) {
            format_number(text, &columns[i], statistics->value + vcpu * STATISTICS_COLUMNS);
            printf("  %*s", width[i], text);
        }
        printf("\n");
    }
}

int
stats_main(int argc, char **argv)
{
    struct admin_status status = { 0 };
    struct verb_target target;
    const char *rest;
    int result = verb_parse(argc, argv, 0, "vmsup stats [--runtime-dir DIR] NAME", &target, &rest);

    if (result != EX_OK)
        return result;
    result = ask(&target, &status);
    if (result != 0)
        return explain(target.name, result);
    print(&status.statistics);
    return verb_end_output();
}
