/*
 * Between the two halves of a boot: what is known of a kernel once it is in guest memory, whichever format it came in, and what it is told,
 * whichever way it is told so.
 */
#ifndef VMSUP_PLUGIN_MICROVM_BOOT_KERNEL_H
#define VMSUP_PLUGIN_MICROVM_BOOT_KERNEL_H

#include "plugin/microvm/boot_file.h"
#include "plugin/microvm/memory.h"

#include <asm/bootparam.h>
#include <linux/kvm.h>

/* How a kernel is entered. */
enum boot_protocol {
    BOOT_LINUX, /* the 64-bit boot protocol of Linux: boot_linux.h */
    BOOT_PVH,   /* the direct boot of Xen's interface: boot_pvh.h */
};

struct boot_kernel {
    enum boot_protocol protocol;
    uint64_t entry;
    uint64_t end;              /* of what it uses before it knows how much memory there is */
    uint64_t initrd_limit;     /* where an initrd has to end */
    uint64_t command_line_max; /* characters, without the NUL */
    struct setup_header header; /* BOOT_LINUX: the kernel's own, or what stands for it */
};

/* E820's numbers, which are PVH's, too. */
#define BOOT_MEMORY_RAM 1
#define BOOT_MEMORY_RESERVED 2

struct boot_memory_range {
    uint64_t start, size;
    uint32_t type;
};

/* Below and above the first MiB's end, the tables, and every further region. */
#define BOOT_MEMORY_RANGES (2 + GUEST_REGIONS_MAX)

struct boot_message {
    struct boot_memory_range range[BOOT_MEMORY_RANGES];
    size_t range_count;
    uint64_t command_line; /* where it is */
    uint64_t command_line_size;
    uint64_t initrd;
    uint64_t initrd_size; /* 0: there is none */
    uint64_t acpi;
};

/* Where the memory ends that is below the hole. */
static inline uint64_t
boot_low_end(const struct guest_memory *memory)
{
    return memory->region[0].start + memory->region[0].size;
}

#endif
