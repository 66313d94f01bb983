#include "plugin/microvm/rate_limit.h"

#include <sys/param.h>

#define NANO INT64_C(1000000000)
/* A debt is not counted beyond this. Far from where the arithmetic ends: rates are below 2^62, spans below 2^64. */
#define DEBT_MAX ((__int128)UINT64_MAX * NANO)

static void
init_bucket(struct rate_limit_bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now)
{
    *bucket = (struct rate_limit_bucket){ .rate = rate, .burst = burst, .level = (__int128)burst * NANO, .filled_at = now };
}

/* A span that is not yet worth a unit is not lost: the level counts its parts. A clock that went back gives nothing, and takes nothing. */
static void
fill(struct rate_limit_bucket *bucket, uint64_t now)
{
    __int128 full = (__int128)bucket->burst * NANO;

    if (now <= bucket->filled_at)
        return;
    bucket->level += (__int128)(now - bucket->filled_at) * (__int128)bucket->rate;
    bucket->level = MIN(bucket->level, full);
    bucket->filled_at = now;
}

static void
take(struct rate_limit_bucket *bucket, uint64_t now, uint64_t units)
{
    if (bucket->rate == 0)
        return;
    fill(bucket, now);
    bucket->level -= (__int128)units * NANO;
    bucket->level = MAX(bucket->level, -DEBT_MAX);
}

/* Until there is one whole unit: what an operation takes, and for bytes the least that is no debt. */
static uint64_t
delay(struct rate_limit_bucket *bucket, uint64_t now)
{
    __int128 missing, wait;

    if (bucket->rate == 0)
        return 0;
    fill(bucket, now);
    missing = (__int128)NANO - bucket->level;
    if (missing <= 0)
        return 0;
    wait = (missing + bucket->rate - 1) / bucket->rate;
    return wait > UINT64_MAX ? UINT64_MAX : (uint64_t)wait;
}

void
rate_limit_init(struct rate_limit *limit, const struct rate_limit_settings *settings, uint64_t now)
{
    pthread_mutex_init(&limit->lock, NULL);
    init_bucket(&limit->bandwidth, settings->bandwidth.rate, settings->bandwidth.burst, now);
    init_bucket(&limit->operations, settings->operations.rate, settings->operations.burst, now);
    limit->is_set = settings->bandwidth.rate > 0 || settings->operations.rate > 0;
}

uint64_t
rate_limit_delay(struct rate_limit *limit, uint64_t now)
{
    uint64_t bandwidth, operations;

    if (!limit->is_set)
        return 0;
    pthread_mutex_lock(&limit->lock);
    bandwidth = delay(&limit->bandwidth, now);
    operations = delay(&limit->operations, now);
    pthread_mutex_unlock(&limit->lock);
    return MAX(bandwidth, operations);
}

void
rate_limit_charge(struct rate_limit *limit, uint64_t now, uint64_t bytes, uint64_t operations)
{
    if (!limit->is_set)
        return;
    pthread_mutex_lock(&limit->lock);
    take(&limit->bandwidth, now, bytes);
    take(&limit->operations, now, operations);
    pthread_mutex_unlock(&limit->lock);
}
