/*
 * Xen's interface for direct boot (docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h), which other kernels than Linux have, too:
 * 32-bit protected mode without paging, and a structure that points to all else.
 */
#ifndef VMSUP_PLUGIN_MICROVM_BOOT_PVH_H
#define VMSUP_PLUGIN_MICROVM_BOOT_PVH_H

#include "plugin/microvm/boot_kernel.h"

/* Version 1 of the structure, with its lists behind it. */
struct boot_pvh_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp, memory_map;
    uint32_t memory_map_entries, reserved;
};
_Static_assert(sizeof(struct boot_pvh_start_info) == 56, "struct hvm_start_info");

struct boot_pvh_module {
    uint64_t start, size, command_line, reserved;
};

struct boot_pvh_range {
    uint64_t start, size;
    uint32_t type, reserved;
};

#define BOOT_PVH_MAGIC 0x336ec578
#define BOOT_PVH_VERSION 1

/* Writes them and a GDT; *start_info is where the structure is. -EFAULT: there is no memory where they belong. */
int boot_pvh_write(const struct guest_memory *memory, const struct boot_message *message, uint64_t *start_info);

/* The first vCPU at the kernel's entry. `sregs` are changed where the interface says so. */
void boot_pvh_set_registers(uint64_t entry, uint64_t start_info, struct kvm_regs *regs, struct kvm_sregs *sregs);

#endif
