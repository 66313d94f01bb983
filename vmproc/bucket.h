/*
 * A token bucket: how often something may be done. Not shared between threads.
 */
#ifndef VMSUP_VMPROC_BUCKET_H
#define VMSUP_VMPROC_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    uint64_t interval; /* nanoseconds that one token takes to come */
    uint64_t depth;    /* nanoseconds' worth of tokens that the full bucket holds */
    uint64_t paid;     /* the time up to which tokens are taken: may lie ahead */
};

/* `rate` tokens a second, `burst` at once; both at least 1. */
void bucket_init(struct bucket *bucket, uint64_t rate, uint64_t burst);

/*
 * Takes a token at the time `now` (nanoseconds, never falling), also where none is left. How many nanoseconds too early
 * it was: 0 where one was left.
 */
uint64_t bucket_take(struct bucket *bucket, uint64_t now);

/* Takes a token where one is left. */
bool bucket_try(struct bucket *bucket, uint64_t now);

#endif
