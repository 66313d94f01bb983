/*
 * How fast this processor's time stamp counter runs, in kHz: what the bed's processor has for its own. A kernel that finds that out by
 * itself, in an emulated processor that waits for a real one at the wrong moment, has a clock that is wrong by as much as ten times.
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TRIES 50
#define NANO 1000000000ULL
#define WAIT_MS 500

struct moment {
    uint64_t nanoseconds, ticks;
};

/* Both at once, as nearly as one try of several has them. */
static struct moment
take_moment(void)
{
    struct moment best = { 0 };
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < TRIES; i++) {
        struct timespec now;
        uint64_t before = __rdtsc(), after;

        if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
            err(1, "clock_gettime");
        after = __rdtsc();
        if (after - before >= least)
            continue;
        least = after - before;
        best = (struct moment){ (uint64_t)now.tv_sec * NANO + (uint64_t)now.tv_nsec, before + least / 2 };
    }
    return best;
}

int
main(void)
{
    const struct timespec wait = { .tv_nsec = WAIT_MS * 1000000L };
    struct moment from = take_moment(), to;

    nanosleep(&wait, NULL);
    to = take_moment();
    printf("%.0f\n", (double)(to.ticks - from.ticks) * 1e6 / (double)(to.nanoseconds - from.nanoseconds));
    return 0;
}
