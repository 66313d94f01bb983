/*
 * The VM as microvm's parts see it: guest memory, a bus, interrupts, and a thread for each vCPU. It is put together by one thread, the
 * caller's, before machine_start(); afterwards only vCPU threads use it. It lives as long as the process, which gives all of it back.
 */
#ifndef VMSUP_PLUGIN_MICROVM_MACHINE_H
#define VMSUP_PLUGIN_MICROVM_MACHINE_H

#include "plugin/microvm/boot.h"
#include "plugin/microvm/bus.h"
#include "plugin/microvm/cpuid.h"
#include "plugin/microvm/memory.h"
#include "plugin/microvm/options.h"

#include <stdbool.h>
#include <vmsup-plugin.h>

struct machine {
    const struct options *options;
    struct vmsup *vm;
    struct bus bus;
    struct guest_memory memory;
    struct boot_entry entry;
    uint32_t vcpu_count;
    struct cpuid_list cpuid; /* what KVM supports */
    bool deadline_timer;
    int shutdown; /* readable once the VM is ending */
};

/* Connects, looks at what there is, and makes guest memory. The options are kept. 0, or a negative errno and what failed. */
int machine_create(struct machine *machine, const struct options *options, const char **what);

/* A device on the bus, from whose range accesses are reported. 0 or a negative errno. `machine` is a struct machine, as for virtio-mmio. */
int machine_add_ports(struct machine *machine, uint16_t start, uint16_t length, const struct device_operations *operations, void *device);
int machine_add_memory_range(void *machine, uint64_t start, uint64_t length, const struct device_operations *operations, void *device);

/*
 * Whole pages, zero at first, that the guest reads from `start` on and cannot write: its writes are accesses. They are the machine's. 0
 * or a negative errno.
 */
int machine_add_pages(struct machine *machine, uint64_t start, uint64_t length, uint32_t **pages);

/* An eventfd that counts 4-byte writes of `value` to `address` in place of an access. It is the machine's. */
int machine_add_doorbell(void *machine, uint64_t address, uint32_t value, int *fd);

/* An eventfd that raises this interrupt, and one that tells the guest's end of interrupt. Both are the machine's. */
int machine_add_interrupt(struct machine *machine, uint32_t gsi, int *trigger, int *resample);

/* Lets the guest begin at `entry`. 0, or a negative errno and what failed. */
int machine_start(struct machine *machine, const struct boot_entry *entry, const char **what);

#endif
