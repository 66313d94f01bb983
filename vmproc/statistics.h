/* What the vCPUs' threads have counted, as the server's thread tells it to the supervisor. It stands in memory of this process alone. */
#ifndef VMSUP_VMPROC_STATISTICS_H
#define VMSUP_VMPROC_STATISTICS_H

#include "proto/statistics.h"
#include "vmproc/vm.h"

#include <stddef.h>
#include <stdint.h>

/* A row for each vCPU, in their order. Gives how many numbers that is. The vCPUs go on meanwhile. */
size_t statistics_gather(const struct vm *vm, uint64_t value[STATISTICS_MAX]);

#endif
