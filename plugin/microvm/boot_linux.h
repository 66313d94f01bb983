/*
 * The 64-bit boot protocol of Linux (Documentation/arch/x86/boot.rst): a page of boot parameters, and long mode with the first 4 GiB
 * mapped at their own addresses.
 */
#ifndef VMSUP_PLUGIN_MICROVM_BOOT_LINUX_H
#define VMSUP_PLUGIN_MICROVM_BOOT_LINUX_H

#include "plugin/microvm/boot_kernel.h"

/* Writes parameters, page tables and GDT; *parameters is where the first of these are. -EFAULT: there is no memory where they belong. */
int boot_linux_write(const struct guest_memory *memory, const struct boot_kernel *kernel, const struct boot_message *message,
                     uint64_t *parameters);

/* The first vCPU at the kernel's entry. `sregs` are changed where the protocol says so. */
void boot_linux_set_registers(uint64_t entry, uint64_t parameters, struct kvm_regs *regs, struct kvm_sregs *sregs);

#endif
