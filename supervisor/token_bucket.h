/*
 * How often something may happen: at most `burst` times at once, and `rate` times a second in the long run. The clock is the caller's, in
 * milliseconds that only grow, so that a test can have its own. Nothing but arithmetic.
 */
#ifndef VMSUP_SUPERVISOR_TOKEN_BUCKET_H
#define VMSUP_SUPERVISOR_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct token_bucket {
    uint32_t burst, rate;
    uint64_t thousandths; /* of a token, that are in it */
    int64_t then;         /* when it was looked at last */
};

/* Full. */
void token_bucket_init(struct token_bucket *bucket, uint32_t burst, uint32_t rate, int64_t now);

/* Takes one. False: there is none now. */
bool token_bucket_take(struct token_bucket *bucket, int64_t now);

/* Milliseconds until there is one; 0: there is. */
int64_t token_bucket_wait(struct token_bucket *bucket, int64_t now);

#endif
