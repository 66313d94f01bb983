#include "common/clock.h"

#include <time.h>

uint64_t
clock_nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int64_t
clock_milliseconds(void)
{
    return (int64_t)(clock_nanoseconds() / 1000000);
}
