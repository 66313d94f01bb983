/* The clock by which everything here waits: it never goes back, and nobody sets it (CLOCK_MONOTONIC). */
#ifndef VMSUP_COMMON_CLOCK_H
#define VMSUP_COMMON_CLOCK_H

#include <stdint.h>

uint64_t clock_nanoseconds(void);
int64_t clock_milliseconds(void);

#endif
