/*
 * Which device answers for which ports and addresses. The bus is filled before the VM starts and only read afterwards, so that every vCPU's
 * thread may use it at once; a device that has state takes its own lock. Devices are borrowed and outlive the bus's use.
 */
#ifndef VMSUP_PLUGIN_MICROVM_BUS_H
#define VMSUP_PLUGIN_MICROVM_BUS_H

#include <stddef.h>
#include <stdint.h>

#define BUS_RANGES_MAX 32

/* The values are those of enum vmsup_address_space. */
enum bus_space {
    BUS_SPACE_PORTS = 0,
    BUS_SPACE_MEMORY = 1,
};

/*
 * An access of the guest's at `offset` from the start of the device's range. `size` is what the guest chose, and the access may
 * reach past the range's end. What a read does not fill is zero.
 */
struct device_operations {
    void (*read)(void *device, uint64_t offset, uint8_t *data, size_t size);
    void (*write)(void *device, uint64_t offset, const uint8_t *data, size_t size);
};

struct bus_range {
    enum bus_space space;
    uint64_t start;
    uint64_t length;
    const struct device_operations *operations;
    void *device;
};

struct bus {
    struct bus_range range[BUS_RANGES_MAX];
    size_t count;
};

/* 0; -EINVAL: no bytes, or past the end of all addresses; -EEXIST: some of it is another's; -ENOSPC. */
int bus_add(struct bus *bus, enum bus_space space, uint64_t start, uint64_t length, const struct device_operations *operations,
            void *device);

/* An access belongs to the range that it begins in. In no range, a read gives zeroes and a write is dropped. */
void bus_read(const struct bus *bus, enum bus_space space, uint64_t address, uint8_t *data, size_t size);
void bus_write(const struct bus *bus, enum bus_space space, uint64_t address, const uint8_t *data, size_t size);

#endif
