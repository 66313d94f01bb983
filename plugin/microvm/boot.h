/*
 * Puts a kernel into guest memory, with its initrd, command line and all that it is to be told, and says in which state the first vCPU
 * begins. What kind of kernel it is, the file itself tells: boot_bzimage.h, boot_elf.h. How it is told and entered: boot_linux.h,
 * boot_pvh.h.
 */
#ifndef VMSUP_PLUGIN_MICROVM_BOOT_H
#define VMSUP_PLUGIN_MICROVM_BOOT_H

#include "plugin/microvm/boot_kernel.h"

/* The descriptors are borrowed. */
struct boot_image {
    int kernel;
    int initrd; /* negative: none */
    const char *command_line;
    uint64_t acpi; /* where the RSDP is */
};

struct boot_entry {
    enum boot_protocol protocol;
    uint64_t instruction;
    uint64_t parameters;
};

/*
 * 0, or a negative errno and all of the reason in `refusal`: -ENOEXEC: no kernel that can be started; -EFBIG: memory does not hold it all;
 * -E2BIG: the command line is longer than the kernel takes; what reading gave.
 */
int boot_load(const struct guest_memory *memory, const struct boot_image *image, struct boot_entry *entry, struct boot_refusal *refusal);

/* The state in which the entry is to be entered; `sregs` are changed where that says so. */
void boot_set_registers(const struct boot_entry *entry, struct kvm_regs *regs, struct kvm_sregs *sregs);

#endif
