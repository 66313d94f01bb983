/*
 * How much memory a VM may have: what the admin says, or what the host has left after a reserve. It is checked before the start, so that
 * a VM that cannot fit is refused by name and does not end in the kernel's out-of-memory killer.
 */
#ifndef VMSUP_SUPERVISOR_MEMORY_H
#define VMSUP_SUPERVISOR_MEMORY_H

#include "supervisor/failure.h"

#include <stdint.h>

/* What the host keeps for itself, whatever its VMs ask for. */
#define MEMORY_RESERVE (UINT64_C(256) << 20)
/* Less than this is no VM: the supervisor, vmproc and a plugin need it before the guest has a byte. */
#define MEMORY_MIN (UINT64_C(16) << 20)

/*
 * Gives in *limit the bytes of guest memory that the VM may have. `memory_max` is that of the options, 0 for none. 0, or a negative
 * errno with `failure` filled: -ENOMEM (EX_TEMPFAIL) where the host does not have that much now.
 */
int memory_decide(uint64_t memory_max, uint64_t *limit, struct failure *failure);

/* The same on a text of /proc/meminfo. */
int memory_decide_from(const char *meminfo, uint64_t memory_max, uint64_t *limit, struct failure *failure);

#endif
