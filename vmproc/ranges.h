/*
 * The address ranges that a plugin has reserved, in both address spaces. Pure: no lock, no system call; who shares it
 * between threads locks it (see vm.h). A range holds at least one address and ends below 2^64; ranges of one space
 * never overlap.
 */
#ifndef VMSUP_VMPROC_RANGES_H
#define VMSUP_VMPROC_RANGES_H

#include "vmproc/limits.h"

#include <stddef.h>
#include <stdint.h>

#define RANGES_SPACES 2

enum range_kind {
    RANGE_AWAITED,   /* the vCPU waits for the plugin's answer to each access */
    RANGE_ASYNC,     /* writes are told, and not waited for; reads are not told */
    RANGE_COALESCED, /* writes are told later, and not waited for; reads are as in RANGE_AWAITED */
};

struct range {
    uint64_t start;
    uint64_t length;
    enum range_kind kind;
};

struct ranges {
    /* Each space's ranges in the order of their starts. */
    struct range range[RANGES_SPACES][LIMIT_RANGES];
    size_t count[RANGES_SPACES];
};

/*
 * 0; -EINVAL: no such space, no length, or the last byte of the space is in it; -EPERM: it overlaps another;
 * -ENOSPC: LIMIT_RANGES of both spaces are reserved.
 */
int ranges_add(struct ranges *ranges, uint32_t space, uint64_t start, uint64_t length, enum range_kind kind);

/* Releases the range that begins at `start`. 0; -EINVAL: no such space; -ENOENT: none begins there. */
int ranges_remove(struct ranges *ranges, uint32_t space, uint64_t start);

/* The range that holds `address`, or NULL. `space` is one of those there are. */
const struct range *ranges_find(const struct ranges *ranges, uint32_t space, uint64_t address);

#endif
