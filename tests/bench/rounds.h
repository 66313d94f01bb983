/*
 * What the bench's guest is told to do and how long it took: the part that is the same whether its exits are answered by a plugin
 * or by a plain KVM_RUN loop. Nothing here fails or allocates; results go to standard output, a line each, "NAME mean<tab>NUMBER", and
 * likewise p50 and p99, in nanoseconds. One work is under way in a process at a time.
 */
#ifndef VMSUP_TESTS_BENCH_ROUNDS_H
#define VMSUP_TESTS_BENCH_ROUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_GUEST_ADDRESS 0x1000
#define BENCH_MEMORY_SIZE 0x10000
/* The device page that is no memory. */
#define BENCH_MMIO_ADDRESS 0xa0000
#define BENCH_PORT_FIRST 0x500
#define BENCH_PORT_COUNT 0x20
/* Where reads and writes go. */
#define BENCH_PORT_WORK 0x510
#define BENCH_PORT_ASYNC 0x600
#define BENCH_PORT_COALESCED 0x610

/* Accesses a round, and rounds a kind of work. The mean is that of the round in the middle. */
#define BENCH_ACCESSES 2000
#define BENCH_ROUNDS 9

/* What is done with registers at each exit. */
enum bench_touch { BENCH_TOUCH_NONE, BENCH_TOUCH_REGS, BENCH_TOUCH_SREGS };

struct bench_work {
    const char *name;
    uint16_t mode; /* as the guest's source has it */
    enum bench_touch touch; /* REGS: read and set, SREGS: read */
    bool unawaited; /* the guest goes on before anybody has seen it: single exits cannot be timed */
};

#define BENCH_WORKS_MAX 8

extern const struct bench_work bench_works[];
extern const size_t bench_work_count;

struct bench_rounds {
    size_t work;
    size_t round;
    uint64_t began;
    uint64_t nanoseconds[BENCH_ROUNDS];
    uint64_t last; /* when the exit before was */
    size_t samples;
};

/* CLOCK_MONOTONIC, in nanoseconds: one clock for all processes of the host. */
uint64_t bench_now(void);

/* The guest's code, assembled from guest.S. */
const uint8_t *bench_guest(size_t *size);

/* Which work is under way. */
const struct bench_work *bench_current(const struct bench_rounds *rounds);

/* At every exit of the guest's, once it is there: from one to the next is a round trip. */
void bench_note_exit(struct bench_rounds *rounds);

/*
 * An access of the guest's to one of the ports from BENCH_PORT_FIRST; `data` holds what a read gives. True once all is done.
 */
bool bench_access(struct bench_rounds *rounds, uint64_t port, bool write, uint8_t *data, size_t size);

int bench_compare(const void *left, const void *right);

#endif
