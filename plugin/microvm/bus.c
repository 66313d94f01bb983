#include "plugin/microvm/bus.h"

#include <errno.h>
#include <string.h>

static const struct bus_range *
find(const struct bus *bus, enum bus_space space, uint64_t address)
{
    for (size_t i = 0; i < bus->count; i++) {
        const struct bus_range *range = &bus->range[i];

        if (range->space == space && address >= range->start && address - range->start < range->length)
            return range;
    }
    return NULL;
}

static int
overlaps(const struct bus *bus, enum bus_space space, uint64_t start, uint64_t length)
{
    for (size_t i = 0; i < bus->count; i++) {
        const struct bus_range *range = &bus->range[i];

        if (range->space == space && start < range->start + range->length && range->start < start + length)
            return 1;
    }
    return 0;
}

int
bus_add(struct bus *bus, enum bus_space space, uint64_t start, uint64_t length, const struct device_operations *operations, void *device)
{
    uint64_t end;

    if (length == 0 || __builtin_add_overflow(start, length, &end))
        return -EINVAL;
    if (overlaps(bus, space, start, length))
        return -EEXIST;
    if (bus->count == BUS_RANGES_MAX)
        return -ENOSPC;
    bus->range[bus->count++] = (struct bus_range){
        .space = space, .start = start, .length = length, .operations = operations, .device = device,
    };
    return 0;
}

void
bus_read(const struct bus *bus, enum bus_space space, uint64_t address, uint8_t *data, size_t size)
{
    const struct bus_range *range = find(bus, space, address);

    memset(data, 0, size);
    if (range != NULL)
        range->operations->read(range->device, address - range->start, data, size);
}

void
bus_write(const struct bus *bus, enum bus_space space, uint64_t address, const uint8_t *data, size_t size)
{
    const struct bus_range *range = find(bus, space, address);

    if (range != NULL)
        range->operations->write(range->device, address - range->start, data, size);
}
