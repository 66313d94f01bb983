/* `vmsup stats NAME`: what the vCPUs of a running VM have counted, a line each. */
#include "common/clock.h"
#include "common/log.h"
#include "supervisor/admin.h"
#include "supervisor/name.h"
#include "supervisor/options.h"
#include "supervisor/verbs.h"

#include <errno.h>
#include <getopt.h>
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

struct stats {
    const char *base, *name;
};

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
parse(int argc, char **argv, struct stats *stats)
{
    static const struct option options[] = { { "runtime-dir", required_argument, NULL, 'r' }, { 0 } };
    int option;

    *stats = (struct stats){ .base = OPTIONS_RUNTIME_DIR_DEFAULT };
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'r')
            return -EINVAL;
        stats->base = optarg;
    }
    if (argc - optind != 1)
        return -EINVAL;
    stats->name = argv[optind];
    return 0;
}

static int
explain(const struct stats *stats, int error)
{
    switch (error) {
    case ENOTCONN:
        log_error("%s cannot be asked: it does not run yet, or not any more", stats->name);
        return EX_UNAVAILABLE;
    case ENOENT:
    case ECONNREFUSED:
        log_error("%s is not running", stats->name);
        return EX_UNAVAILABLE;
    case EACCES:
        log_error("%s: its supervisor may not be asked: run this as root", stats->name);
        return EX_NOPERM;
    case ETIMEDOUT:
        log_error("%s: its vmproc does not answer: it was waited for %d ms", stats->name, STATS_PATIENCE);
        return EX_TEMPFAIL;
    default:
        log_error("%s does not answer: %s", stats->name, strerror(error));
        return EX_TEMPFAIL;
    }
}

/* 0 with an answer that was given after this was called, or just before; or a positive errno. */
static int
ask(const struct stats *stats, struct admin_status *status)
{
    const struct timespec step = { .tv_nsec = STATS_STEP * 1000000L };
    const int64_t end = clock_milliseconds() + STATS_PATIENCE;
    int result = admin_ask_statistics(stats->base, stats->name, true, status);
    uint32_t before;

    if (result < 0)
        return -result;
    before = status->statistics.count;
    while (status->error == 0 && status->statistics.pending && status->statistics.count == before) {
        if (clock_milliseconds() >= end)
            return ETIMEDOUT;
        nanosleep(&step, NULL);
        result = admin_ask_statistics(stats->base, stats->name, false, status);
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
    struct stats stats;
    int result;

    if (parse(argc, argv, &stats) < 0) {
        log_error("usage: vmsup stats [--runtime-dir DIR] NAME");
        return EX_USAGE;
    }
    if (!name_is_valid(stats.name)) {
        log_error("NAME: %s: expected a-z or 0-9, then at most 31 of a-z, 0-9, _ . and -", stats.name);
        return EX_USAGE;
    }
    result = ask(&stats, &status);
    if (result != 0)
        return explain(&stats, result);
    print(&status.statistics);
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return EX_OK;
    log_error("standard output cannot be written: %s", strerror(errno));
    return EX_IOERR;
}
