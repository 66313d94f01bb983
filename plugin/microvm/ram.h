/*
 * Makes the guest's memory: one memfd, sealed against shrinking, of which one part lies below the hole under 4 GiB and the rest above.
 * In pages of the host's usual size none is taken before the guest touches it; in huge pages all are set aside at once, so that a guest
 * never dies of their lack. They are pages that the host's admin has reserved: transparent ones would come or not, as the host likes.
 */
#ifndef VMSUP_PLUGIN_MICROVM_RAM_H
#define VMSUP_PLUGIN_MICROVM_RAM_H

#include "plugin/microvm/memory.h"

#include <stdbool.h>

#define RAM_HUGE_PAGE (2ULL << 20)

/*
 * `size` in bytes: whole pages, of the kind that is asked for. The mapping stays for as long as the process lives; *fd is the caller's.
 * The region's parts follow each other in it. 0, or a negative errno and in *what what failed, for a person.
 */
int ram_create(uint64_t size, bool huge, struct guest_memory *memory, int *fd, const char **what);

#endif
