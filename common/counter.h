/*
 * A number that one thread counts and others may look at, at any time. It costs the counting thread no more than a plain number would:
 * nobody else writes it, so a load and a store do, in whatever order others see them.
 */
#ifndef VMSUP_COMMON_COUNTER_H
#define VMSUP_COMMON_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

/* By the thread that counts only. */
static inline void
counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

/* By any. */
static inline uint64_t
counter_get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
