/* A kernel as distributions ship it: bzImage, whose code unpacks itself. Linux, Documentation/arch/x86/boot.rst. */
#ifndef VMSUP_PLUGIN_MICROVM_BOOT_BZIMAGE_H
#define VMSUP_PLUGIN_MICROVM_BOOT_BZIMAGE_H

#include "plugin/microvm/boot_kernel.h"

#include <stdbool.h>

/* Whether the file looks like one. Anything that is not told by it is told by loading it. */
bool boot_bzimage_is(const struct boot_file *file);

/*
 * Puts it into memory. 0, or a negative errno and why: -ENOEXEC: it is malformed, or has no 64-bit entry; -EFBIG: memory does not hold it;
 * what reading gave.
 */
int boot_bzimage_load(const struct guest_memory *memory, const struct boot_file *file, struct boot_kernel *kernel,
                      struct boot_refusal *refusal);

#endif
