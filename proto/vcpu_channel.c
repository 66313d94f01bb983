#include "proto/vcpu_channel.h"

#include "common/clock.h"
#include "common/counter.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/param.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NANO UINT64_C(1000000000)

/* Below this a spin is no spin; where one is worth trying again, it begins here. */
#define SPIN_MIN 2000

/* How often to look before the clock is asked: some hundred nanoseconds. */
#define LOOKS 8

uint32_t
vcpu_channel_cpu(void)
{
    return (uint32_t)sched_getcpu();
}

uint32_t
vcpu_channel_entry_space(uint32_t size)
{
    const uint32_t whole = (uint32_t)sizeof(struct vcpu_channel_entry) + size;

    return (whole + VCPU_CHANNEL_RING_UNIT - 1) / VCPU_CHANNEL_RING_UNIT * VCPU_CHANNEL_RING_UNIT;
}

static void
longer(struct vcpu_channel_wait *wait, uint32_t spin)
{
    atomic_store_explicit(&wait->spin, MIN(MAX(spin * 2, SPIN_MIN), wait->spin_max), memory_order_relaxed);
}

static void
shorter(struct vcpu_channel_wait *wait, uint32_t spin)
{
    atomic_store_explicit(&wait->spin, spin / 2 >= SPIN_MIN ? spin / 2 : 0, memory_order_relaxed);
}

bool
vcpu_channel_spin(struct vcpu_channel_wait *wait, uint32_t peer_cpu, vcpu_channel_ready *ready, const void *context)
{
    const uint32_t spin = atomic_load_explicit(&wait->spin, memory_order_relaxed);
    uint64_t began = 0, now = 0;

    if (ready(context)) {
        counter_add(&wait->ready, 1);
        return true;
    }
    /* Who is on our processor cannot go on while we are. */
    if (spin == 0 || peer_cpu == vcpu_channel_cpu())
        return false;
    do {
        for (unsigned i = 0; i < LOOKS; i++) {
            if (ready(context)) {
                counter_add(&wait->spun, 1);
                counter_add(&wait->spin_time, now - began);
                longer(wait, spin);
                return true;
            }
            __builtin_ia32_pause();
        }
        now = clock_nanoseconds();
        if (began == 0)
            began = now;
    } while (now - began < spin);
    counter_add(&wait->spin_time, now - began);
    shorter(wait, spin);
    return false;
}

void
vcpu_channel_learn(struct vcpu_channel_wait *wait, uint64_t began)
{
    const uint64_t passed = clock_nanoseconds() - began;
    const uint32_t spin = atomic_load_explicit(&wait->spin, memory_order_relaxed);

    counter_add(&wait->slept, 1);
    if (passed <= wait->spin_max)
        atomic_store_explicit(&wait->spin, (uint32_t)MAX(spin, MIN(MAX(passed * 2, SPIN_MIN), wait->spin_max)), memory_order_relaxed);
}

static int
futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t nanoseconds)
{
    const struct timespec timeout = { .tv_sec = (time_t)(nanoseconds / NANO), .tv_nsec = (long)(nanoseconds % NANO) };

    return syscall(SYS_futex, word, FUTEX_WAIT, value, nanoseconds > 0 ? &timeout : NULL) < 0 ? -errno : 0;
}

int
vcpu_channel_sleep(_Atomic uint32_t *sleeps, uint64_t nanoseconds, vcpu_channel_ready *ready, const void *context)
{
    int result = 0;

    /* Seen by the other side, or what it does is seen by us. */
    atomic_store_explicit(sleeps, VCPU_CHANNEL_ON_FUTEX, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (!ready(context))
        result = futex_wait(sleeps, VCPU_CHANNEL_ON_FUTEX, nanoseconds);
    atomic_store_explicit(sleeps, VCPU_CHANNEL_AWAKE, memory_order_relaxed);
    return result == -EAGAIN ? 0 : result;
}

void
vcpu_channel_wake(struct vcpu_channel_wait *wait, _Atomic uint32_t *sleeps, int pipe)
{
    const uint8_t byte = 0;
    uint32_t how;

    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(sleeps, memory_order_relaxed) == VCPU_CHANNEL_AWAKE)
        return;
    counter_add(&wait->woken, 1);
    how = atomic_exchange_explicit(sleeps, VCPU_CHANNEL_AWAKE, memory_order_relaxed);
    if (how == VCPU_CHANNEL_ON_FUTEX)
        syscall(SYS_futex, sleeps, FUTEX_WAKE, 1, NULL);
    /* A pipe that is full has a byte in it for whoever waits. */
    else if (how == VCPU_CHANNEL_ON_PIPE && write(pipe, &byte, sizeof byte) < 0)
        return;
}
