#include "supervisor/token_bucket.h"

/* One token, in thousandths: what a rate of 1 a second gives in as many milliseconds. */
#define TOKEN 1000

void
token_bucket_init(struct token_bucket *bucket, uint32_t burst, uint32_t rate, int64_t now)
{
    *bucket = (struct token_bucket){ .burst = burst, .rate = rate, .thousandths = (uint64_t)burst * TOKEN, .then = now };
}

static void
refill(struct token_bucket *bucket, int64_t now)
{
    const uint64_t full = (uint64_t)bucket->burst * TOKEN;
    uint64_t come;

    if (now <= bucket->then)
        return;
    if (__builtin_mul_overflow((uint64_t)(now - bucket->then), (uint64_t)bucket->rate, &come) || come > full - bucket->thousandths)
        bucket->thousandths = full;
    else
        bucket->thousandths += come;
    bucket->then = now;
}

bool
token_bucket_take(struct token_bucket *bucket, int64_t now)
{
    refill(bucket, now);
    if (bucket->thousandths < TOKEN)
        return false;
    bucket->thousandths -= TOKEN;
    return true;
}

int64_t
token_bucket_wait(struct token_bucket *bucket, int64_t now)
{
    refill(bucket, now);
    if (bucket->thousandths >= TOKEN)
        return 0;
    return (int64_t)((TOKEN - bucket->thousandths + bucket->rate - 1) / bucket->rate);
}
