#include "vmproc/bucket.h"

#define NANOSECONDS 1000000000ULL

void
bucket_init(struct bucket *bucket, uint64_t rate, uint64_t burst)
{
    *bucket = (struct bucket){ .interval = NANOSECONDS / rate, .depth = NANOSECONDS / rate * burst };
}

uint64_t
bucket_take(struct bucket *bucket, uint64_t now)
{
    uint64_t earliest = now > bucket->depth ? now - bucket->depth : 0;

    if (bucket->paid < earliest)
        bucket->paid = earliest;
    bucket->paid += bucket->interval;
    return bucket->paid > now ? bucket->paid - now : 0;
}

bool
bucket_try(struct bucket *bucket, uint64_t now)
{
    struct bucket after = *bucket;

    if (bucket_take(&after, now) > 0)
        return false;
    *bucket = after;
    return true;
}
