#include "rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct bench_work bench_works[] = {
    { "port read", 0, false },
    { "port read, registers read and set", 0, true },
    { "port write", 1, false },
    { "MMIO read", 2, false },
    { "async port write", 3, false },
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

static bool
end_round(struct bench_rounds *rounds)
{
    double median;

    rounds->nanoseconds[rounds->round++] = bench_now() - rounds->began;
    if (rounds->round < BENCH_ROUNDS)
        return false;
    qsort(rounds->nanoseconds, BENCH_ROUNDS, sizeof rounds->nanoseconds[0], bench_compare);
    median = (double)rounds->nanoseconds[BENCH_ROUNDS / 2]; /* NOLINT(bugprone-integer-division): an index */
    printf("%s\t%.0f\n", bench_current(rounds)->name, median / BENCH_ACCESSES);
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
    }
    memcpy(data, &value, size < sizeof value ? size : sizeof value);
    return false;
}
