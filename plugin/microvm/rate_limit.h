/*
 * A limit on how fast something goes: a bucket of bytes and one of operations, each filled at its rate up to its burst. What goes is
 * taken out, and may leave a debt, so that a request larger than the burst passes too; nothing more goes until the debt is paid. Over any
 * span of time that is the burst, and what the rate gives in that span, and at most one request of each thread on top.
 *
 * The time is handed in, in nanoseconds of any clock that does not run backwards. Several threads may use one limit; the struct is its
 * owner's.
 */
#ifndef VMSUP_PLUGIN_MICROVM_RATE_LIMIT_H
#define VMSUP_PLUGIN_MICROVM_RATE_LIMIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Of rates and bursts. */
#define RATE_LIMIT_MAX (UINT64_C(1) << 62)

struct rate_limit_bucket {
    uint64_t rate;  /* units a second, at most RATE_LIMIT_MAX; 0: no limit */
    uint64_t burst; /* units, 1 to RATE_LIMIT_MAX where there is a rate */
    __int128 level; /* in units of 10^-9, so that no part of one gets lost; below zero: a debt */
    uint64_t filled_at;
};

struct rate_limit_settings {
    struct {
        uint64_t rate, burst;
    } bandwidth, operations; /* as in the bucket: bytes, and requests or frames */
};

struct rate_limit {
    pthread_mutex_t lock;
    bool is_set; /* otherwise nothing is limited, and no time needs to be known */
    struct rate_limit_bucket bandwidth, operations;
};

/* Both buckets are full. Such a limit needs no end: there is nothing to give back. */
void rate_limit_init(struct rate_limit *limit, const struct rate_limit_settings *settings, uint64_t now);

/* 0: the next operation may go now; otherwise the number of nanoseconds after which it may, unless others come before. Takes nothing. */
uint64_t rate_limit_delay(struct rate_limit *limit, uint64_t now);

/* So many bytes and operations went. */
void rate_limit_charge(struct rate_limit *limit, uint64_t now, uint64_t bytes, uint64_t operations);

#endif
