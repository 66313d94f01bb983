/*
 * A kernel as its build leaves it: an ELF file of 64 bits, whose program headers say what goes where, by physical address. With a note
 * XEN_ELFNOTE_PHYS32_ENTRY it is entered there, in 32 bits, as Xen's interface for direct boot has it; without, at its entry, as Linux's
 * 64-bit protocol has it.
 */
#ifndef VMSUP_PLUGIN_MICROVM_BOOT_ELF_H
#define VMSUP_PLUGIN_MICROVM_BOOT_ELF_H

#include "plugin/microvm/boot_kernel.h"

#include <stdbool.h>

/* What a kernel may have of each: those of Linux have 5 headers, and some hundred bytes of notes. */
#define BOOT_ELF_HEADERS_MAX 64
#define BOOT_ELF_NOTES_MAX 65536

/* Whether the file is ELF of any kind. */
bool boot_elf_is(const struct boot_file *file);

/*
 * Puts it into memory, which is new and so all zeroes where the file says nothing. 0, or a negative errno and why: -ENOEXEC: it is
 * malformed, or of another machine; -EFBIG: memory does not hold it; -ENOMEM; what reading gave.
 */
int boot_elf_load(const struct guest_memory *memory, const struct boot_file *file, struct boot_kernel *kernel,
                  struct boot_refusal *refusal);

#endif
