#include "rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct bench_work bench_works[] = {
    { "port read", 0, BENCH_TOUCH_NONE, false },
    { "port write", 1, BENCH_TOUCH_NONE, false },
    { "MMIO read", 2, BENCH_TOUCH_NONE, false },
    { "async port write", 3, BENCH_TOUCH_NONE, true },
    { "coalesced port write", 4, BENCH_TOUCH_NONE, true },
    { "port read, get and set regs", 0, BENCH_TOUCH_REGS, false },
    { "port read, get sregs", 0, BENCH_TOUCH_SREGS, false },
};
const size_t bench_work_count = sizeof bench_works / sizeof bench_works[0];
_Static_assert(sizeof bench_works / sizeof bench_works[0] <= BENCH_WORKS_MAX, "as the header has it");

__asm__(".section .rodata\n"
        ".global bench_guest_begin, bench_guest_end\n"
        "bench_guest_begin: .incbin \"guest.bin\"\n"
        "bench_guest_end: .previous\n");
extern const uint8_t bench_guest_begin[], bench_guest_end[];

const uint8_t *
bench_guest(size_t *size)
{
    *size = (size_t)(bench_guest_end - bench_guest_begin);
    return bench_guest_begin;
}

uint64_t
bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

const struct bench_work *
bench_current(const struct bench_rounds *rounds)
{
    return &bench_works[rounds->work];
}

int
bench_compare(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;

    return (*a > *b) - (*a < *b);
}

static uint64_t samples[BENCH_ROUNDS * BENCH_ACCESSES];

void
bench_note_exit(struct bench_rounds *rounds)
{
    const uint64_t now = bench_now();

    if (rounds->last != 0 && rounds->samples < BENCH_ROUNDS * BENCH_ACCESSES)
        samples[rounds->samples++] = now - rounds->last;
    rounds->last = now;
}

static void
print_samples(struct bench_rounds *rounds)
{
    const char *name = bench_current(rounds)->name;

    if (!bench_current(rounds)->unawaited) {
        qsort(samples, rounds->samples, sizeof samples[0], bench_compare);
        printf("%s p50\t%lu\n", name, samples[rounds->samples / 2]);
        printf("%s p99\t%lu\n", name, samples[rounds->samples * 99 / 100]);
    }
    rounds->samples = 0;
}

static bool
end_round(struct bench_rounds *rounds)
{
    double median;

    rounds->nanoseconds[rounds->round++] = bench_now() - rounds->began;
    if (rounds->round < BENCH_ROUNDS)
        return false;
    qsort(rounds->nanoseconds, BENCH_ROUNDS, sizeof rounds->nanoseconds[0], bench_compare);
    median = (double)rounds->nanoseconds[BENCH_ROUNDS / 2]; /* NOLINT(bugprone-integer-division): an index */
    printf("%s mean\t%.0f\n", bench_current(rounds)->name, median / BENCH_ACCESSES);
    print_samples(rounds);
    rounds->round = 0;
    return ++rounds->work == bench_work_count;
}

bool
bench_access(struct bench_rounds *rounds, uint64_t port, bool write, uint8_t *data, size_t size)
{
    uint16_t value = 0;

    if (write)
        return port == BENCH_PORT_FIRST + 4 && end_round(rounds);
    if (port == BENCH_PORT_FIRST) {
        value = bench_current(rounds)->mode;
    } else if (port == BENCH_PORT_FIRST + 2) {
        value = BENCH_ACCESSES;
        rounds->began = bench_now();
        rounds->last = 0;
    }
    memcpy(data, &value, size < sizeof value ? size : sizeof value);
    return false;
}
