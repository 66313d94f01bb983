#include "vmproc/ranges.h"

#include <errno.h>
#include <string.h>

/* The number of ranges that begin at or before `address`. */
static size_t
count_up_to(const struct ranges *ranges, uint32_t space, uint64_t address)
{
    size_t low = 0, high = ranges->count[space];

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (ranges->range[space][middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int
ranges_add(struct ranges *ranges, uint32_t space, uint64_t start, uint64_t length, enum range_kind kind)
{
    struct range *all;
    size_t position;
    uint64_t end;

    if (space >= RANGES_SPACES || length == 0 || __builtin_add_overflow(start, length, &end))
        return -EINVAL;
    all = ranges->range[space];
    position = count_up_to(ranges, space, start);
    if (position > 0 && all[position - 1].start + all[position - 1].length > start)
        return -EPERM;
    if (position < ranges->count[space] && all[position].start < end)
        return -EPERM;
    if (ranges->count[0] + ranges->count[1] >= LIMIT_RANGES)
        return -ENOSPC;
    memmove(&all[position + 1], &all[position], (ranges->count[space] - position) * sizeof all[0]);
    all[position] = (struct range){ .start = start, .length = length, .kind = kind };
    ranges->count[space]++;
    return 0;
}

int
ranges_remove(struct ranges *ranges, uint32_t space, uint64_t start)
{
    struct range *all;
    size_t position;

    if (space >= RANGES_SPACES)
        return -EINVAL;
    all = ranges->range[space];
    position = count_up_to(ranges, space, start);
    if (position == 0 || all[position - 1].start != start)
        return -ENOENT;
    memmove(&all[position - 1], &all[position], (ranges->count[space] - position) * sizeof all[0]);
    ranges->count[space]--;
    return 0;
}

const struct range *
ranges_find(const struct ranges *ranges, uint32_t space, uint64_t address)
{
    size_t position = count_up_to(ranges, space, address);
    const struct range *found;

    if (position == 0)
        return NULL;
    found = &ranges->range[space][position - 1];
    return address - found->start < found->length ? found : NULL;
}
