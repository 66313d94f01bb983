/*
 * The floor of what two processes say to each other: one word there and one back, through shared memory and nothing else.
 * usage: exchange spin CPU, where both look for the other's word all the time, or exchange futex CPU, where each sleeps until it is woken;
 * the other process is on that CPU.
 */
#include "rounds.h"

#include <err.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXCHANGES 20000

struct word {
    _Alignas(64) _Atomic uint32_t value;
};

static void
await(struct word *word, uint32_t value, bool sleeps)
{
    for (;;) {
        const uint32_t found = atomic_load_explicit(&word->value, memory_order_acquire);

        if (found == value)
            return;
        if (sleeps)
            syscall(SYS_futex, &word->value, FUTEX_WAIT, found, NULL);
    }
}

static void
say(struct word *word, uint32_t value, bool wakes)
{
    atomic_store_explicit(&word->value, value, memory_order_release);
    if (wakes)
        syscall(SYS_futex, &word->value, FUTEX_WAKE, 1);
}

static void
answer(struct word *words, int cpu, bool sleeps)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        err(1, "CPU %d", cpu);
    for (uint32_t i = 1; i <= EXCHANGES; i++) {
        await(&words[0], i, sleeps);
        say(&words[1], i, sleeps);
    }
}

int
main(int argc, char **argv)
{
    static uint64_t times[EXCHANGES];
    struct word *words = mmap(NULL, 2 * sizeof *words, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool sleeps = argc == 3 && strcmp(argv[1], "futex") == 0;
    pid_t pid;

    if (argc != 3 || words == MAP_FAILED)
        errx(64, "usage: exchange spin|futex CPU");
    pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid == 0) {
        answer(words, atoi(argv[2]), sleeps);
        exit(0);
    }
    for (uint32_t i = 1; i <= EXCHANGES; i++) {
        const uint64_t began = bench_now();

        say(&words[0], i, sleeps);
        await(&words[1], i, sleeps);
        times[i - 1] = bench_now() - began;
    }
    qsort(times, EXCHANGES, sizeof times[0], bench_compare);
    printf("p50\t%lu\np99\t%lu\n", times[EXCHANGES / 2], times[EXCHANGES * 99 / 100]);
    return wait(NULL) < 0;
}
