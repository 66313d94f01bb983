/* How the two sides of a vCPU's channel wait for each other and wake each other: spins that adapt, sleeps that no wake-up is lost to. */
#include "common/clock.h"
#include "proto/vcpu_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS 20000
#define ELSEWHERE UINT32_MAX
#define SPIN_MAX 64000

struct calls {
    unsigned count;
    unsigned ready_at; /* the call that finds it ready; 0: none */
};

static bool
becomes_ready(const void *context)
{
    /* The functions under test look; what they look at may well count. */
    struct calls *calls = (struct calls *)(uintptr_t)context;

    calls->count++;
    return calls->ready_at != 0 && calls->count >= calls->ready_at;
}

static void
test_entry_space(void **state)
{
    (void)state;
    assert_int_equal(vcpu_channel_entry_space(0), 32);
    assert_int_equal(vcpu_channel_entry_space(1), 32);
    assert_int_equal(vcpu_channel_entry_space(16), 32);
    assert_int_equal(vcpu_channel_entry_space(17), 64);
    assert_int_equal(vcpu_channel_entry_space(48), 64);
    assert_int_equal(vcpu_channel_entry_space(VCPU_CHANNEL_DATA_MAX), 4128);
}

/* What comes within the spin doubles it, up to the limit; what does not halves it, down to none; a short sleep brings it back. */
static void
test_spin_adapts(void **state)
{
    struct vcpu_channel_wait wait = { .spin = 2000, .spin_max = SPIN_MAX };
    uint32_t before = wait.spin;

    (void)state;
    while (before < SPIN_MAX) {
        assert_true(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &(struct calls){ .ready_at = 2 }));
        assert_true(wait.spin > before && wait.spin <= SPIN_MAX);
        before = wait.spin;
    }
    assert_true(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &(struct calls){ .ready_at = 2 }));
    assert_int_equal(wait.spin, SPIN_MAX);
    while (wait.spin > 0) {
        before = wait.spin;
        assert_false(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &(struct calls){ 0 }));
        assert_true(wait.spin <= before / 2);
    }
    /* Now it looks once, and that is all. */
    for (unsigned i = 0; i < 10; i++) {
        struct calls calls = { 0 };

        assert_false(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &calls));
        assert_int_equal(calls.count, 1);
    }
    vcpu_channel_learn(&wait, clock_nanoseconds() - 2 * SPIN_MAX);
    assert_int_equal(wait.spin, 0);
    /* Four seconds, so that it is one on any machine. */
    wait.spin_max = UINT32_MAX;
    vcpu_channel_learn(&wait, clock_nanoseconds());
    assert_true(wait.spin > 0);
    assert_int_equal(wait.slept, 2);
}

/* Each wait counts once, as what it was; and time counts as far as the clock was looked at. */
static void
test_waits_are_counted(void **state)
{
    struct vcpu_channel_wait wait = { .spin = SPIN_MAX, .spin_max = SPIN_MAX };
    const uint64_t began = clock_nanoseconds();
    uint64_t time;

    (void)state;
    assert_true(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &(struct calls){ .ready_at = 1 }));
    assert_int_equal(wait.ready, 1);
    assert_int_equal(wait.spun, 0);
    assert_true(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &(struct calls){ .ready_at = 2 }));
    assert_int_equal(wait.ready, 1);
    assert_int_equal(wait.spun, 1);
    assert_int_equal(wait.spin_time, 0);
    assert_false(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &(struct calls){ 0 }));
    assert_int_equal(wait.spun, 1);
    assert_int_equal(wait.slept, 0);
    assert_true(wait.spin_time >= SPIN_MAX && wait.spin_time <= clock_nanoseconds() - began);
    time = wait.spin_time;
    wait.spin = wait.spin_max = UINT32_MAX;
    assert_true(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &(struct calls){ .ready_at = 1000 }));
    assert_int_equal(wait.spun, 2);
    assert_true(wait.spin_time > time && wait.spin_time <= clock_nanoseconds() - began);
    vcpu_channel_learn(&wait, clock_nanoseconds());
    assert_int_equal(wait.slept, 1);
    assert_int_equal(wait.ready, 1);
}

static void
test_spin_is_limited(void **state)
{
    struct vcpu_channel_wait never = { 0 }, wait = { .spin = 2000, .spin_max = 2000 };
    struct calls calls = { 0 };

    (void)state;
    vcpu_channel_learn(&never, clock_nanoseconds());
    assert_int_equal(never.spin, 0);
    assert_false(vcpu_channel_spin(&never, ELSEWHERE, becomes_ready, &calls));
    assert_int_equal(calls.count, 1);
    assert_true(vcpu_channel_spin(&never, ELSEWHERE, becomes_ready, &(struct calls){ .ready_at = 1 }));
    assert_int_equal(never.spin, 0);
    assert_true(vcpu_channel_spin(&wait, ELSEWHERE, becomes_ready, &(struct calls){ .ready_at = 2 }));
    assert_int_equal(wait.spin, 2000);
}

/* Who is on our processor cannot go on while we spin. */
static void
test_no_spin_on_one_processor(void **state)
{
    struct vcpu_channel_wait wait = { .spin = SPIN_MAX, .spin_max = SPIN_MAX };
    struct calls calls = { 0 };
    cpu_set_t before, one;
    const uint32_t cpu = vcpu_channel_cpu();

    (void)state;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_false(vcpu_channel_spin(&wait, cpu, becomes_ready, &calls));
    assert_int_equal(calls.count, 1);
    assert_int_equal(wait.spin, SPIN_MAX);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void
test_sleep_ends(void **state)
{
    _Atomic uint32_t sleeps = VCPU_CHANNEL_AWAKE;

    (void)state;
    assert_int_equal(vcpu_channel_sleep(&sleeps, 1000000, becomes_ready, &(struct calls){ 0 }), -ETIMEDOUT);
    assert_int_equal(sleeps, VCPU_CHANNEL_AWAKE);
    assert_int_equal(vcpu_channel_sleep(&sleeps, 0, becomes_ready, &(struct calls){ .ready_at = 1 }), 0);
    assert_int_equal(sleeps, VCPU_CHANNEL_AWAKE);
}

/* Whose word says that nobody sleeps costs nothing; any other is taken back, and a pipe gets its byte, or is full of them. */
static void
test_wake(void **state)
{
    struct vcpu_channel_wait wait = { 0 };
    _Atomic uint32_t sleeps = VCPU_CHANNEL_AWAKE;
    uint8_t bytes[65536];
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    vcpu_channel_wake(&wait, &sleeps, ends[1]);
    assert_int_equal(wait.woken, 0);
    assert_int_equal(read(ends[0], bytes, sizeof bytes), -1);
    for (uint32_t how = VCPU_CHANNEL_ON_FUTEX; how <= 3; how++) {
        sleeps = how;
        vcpu_channel_wake(&wait, &sleeps, ends[1]);
        assert_int_equal(sleeps, VCPU_CHANNEL_AWAKE);
        assert_int_equal(wait.woken, how);
        assert_int_equal(read(ends[0], bytes, sizeof bytes), how == VCPU_CHANNEL_ON_PIPE ? 1 : -1);
    }
    /* More than the pipe holds: nobody waits for whoever does not read. */
    for (unsigned i = 0; i < 2 * sizeof bytes; i++) {
        sleeps = VCPU_CHANNEL_ON_PIPE;
        vcpu_channel_wake(&wait, &sleeps, ends[1]);
    }
    assert_int_equal(sleeps, VCPU_CHANNEL_AWAKE);
    sleeps = VCPU_CHANNEL_ON_PIPE;
    vcpu_channel_wake(&wait, &sleeps, -1);
    assert_int_equal(sleeps, VCPU_CHANNEL_AWAKE);
    close(ends[0]);
    close(ends[1]);
}

/* Two threads take turns, each asleep until the other has spoken: a wake-up that were lost would hang them. */
struct turns {
    _Atomic uint32_t spoken[2];
    _Alignas(64) _Atomic uint32_t sleeps[2];
    int ends[2]; /* the pipe that side 1 sleeps on in every other round */
    bool with_pipe;
};

struct looking {
    struct turns *turns;
    unsigned at;
    uint32_t number;
};

static bool
has_spoken(const void *context)
{
    const struct looking *looking = context;

    return atomic_load_explicit(&looking->turns->spoken[looking->at], memory_order_acquire) == looking->number;
}

static void
sleep_on_pipe(struct turns *turns, const struct looking *looking)
{
    _Atomic uint32_t *sleeps = &turns->sleeps[1];
    uint8_t byte;

    atomic_store_explicit(sleeps, VCPU_CHANNEL_ON_PIPE, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (has_spoken(looking) && atomic_exchange(sleeps, VCPU_CHANNEL_AWAKE) != VCPU_CHANNEL_AWAKE)
        return;
    if (read(turns->ends[0], &byte, 1) != 1)
        abort();
    atomic_store_explicit(sleeps, VCPU_CHANNEL_AWAKE, memory_order_relaxed);
}

static void
wait_for(struct turns *turns, unsigned side, uint32_t number)
{
    const struct looking looking = { turns, 1 - side, number };

    while (!has_spoken(&looking)) {
        if (side == 1 && turns->with_pipe && number % 2 == 0)
            sleep_on_pipe(turns, &looking);
        else
            vcpu_channel_sleep(&turns->sleeps[side], 0, has_spoken, &looking);
    }
}

static void
speak(struct turns *turns, unsigned side, uint32_t number)
{
    struct vcpu_channel_wait wait = { 0 };

    atomic_store_explicit(&turns->spoken[side], number, memory_order_release);
    vcpu_channel_wake(&wait, &turns->sleeps[1 - side], turns->ends[1]);
}

static void *
answer(void *context)
{
    struct turns *turns = context;

    for (uint32_t i = 1; i <= ROUNDS; i++) {
        wait_for(turns, 1, i);
        speak(turns, 1, i);
    }
    return NULL;
}

static void
take_turns(bool with_pipe)
{
    static struct turns turns;
    uint8_t byte;
    pthread_t thread;

    turns = (struct turns){ .with_pipe = with_pipe };
    assert_int_equal(pipe2(turns.ends, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, answer, &turns), 0);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        speak(&turns, 0, i);
        wait_for(&turns, 0, i);
    }
    pthread_join(thread, NULL);
    assert_int_equal(turns.sleeps[0], VCPU_CHANNEL_AWAKE);
    assert_int_equal(turns.sleeps[1], VCPU_CHANNEL_AWAKE);
    /* Each byte was read by who slept for it. */
    close(turns.ends[1]);
    assert_int_equal(read(turns.ends[0], &byte, 1), 0);
    close(turns.ends[0]);
}

static void
test_no_wake_up_is_lost(void **state)
{
    (void)state;
    take_turns(false);
    take_turns(true);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry_space), cmocka_unit_test(test_spin_adapts), cmocka_unit_test(test_waits_are_counted),
        cmocka_unit_test(test_spin_is_limited),
        cmocka_unit_test(test_no_spin_on_one_processor), cmocka_unit_test(test_sleep_ends), cmocka_unit_test(test_wake),
        cmocka_unit_test(test_no_wake_up_is_lost),
    };

    return cmocka_run_group_tests_name("vcpu_channel", tests, NULL, NULL);
}
