/*
 * Puts a Linux kernel into guest memory as its 64-bit boot protocol wants it (Linux, Documentation/arch/x86/boot.rst): the kernel itself,
 * its initrd, command line, map of memory, page tables and a GDT; and tells where the first vCPU begins. The descriptors are borrowed,
 * and read at their beginning whatever their offset is.
 */
#ifndef VMSUP_PLUGIN_MICROVM_BOOT_H
#define VMSUP_PLUGIN_MICROVM_BOOT_H

#include "plugin/microvm/memory.h"

#include <linux/kvm.h>

struct boot_image {
    int kernel;
    int initrd; /* negative: none */
    const char *command_line;
    uint64_t acpi; /* where the RSDP is */
};

struct boot_entry {
    uint64_t instruction;
    uint64_t parameters;
};

/*
 * 0, or a negative errno and in *what what was wrong, for a person: -ENOEXEC: no kernel that can be started so; -EFBIG: memory does not
 * hold it all; -E2BIG: the command line is longer than the kernel takes; what reading gave.
 */
int boot_load(const struct guest_memory *memory, const struct boot_image *image, struct boot_entry *entry, const char **what);

/* The state in which the entry is to be entered; `sregs` are changed where the protocol says so. */
void boot_set_registers(const struct boot_entry *entry, struct kvm_regs *regs, struct kvm_sregs *sregs);

#endif
