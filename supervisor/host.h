/* What the host must have for a VM. */
#ifndef VMSUP_SUPERVISOR_HOST_H
#define VMSUP_SUPERVISOR_HOST_H

#include "supervisor/failure.h"

/*
 * Opens /dev/kvm, close-on-exec, and checks that it speaks version 12 of the API (KVM API, 4.1). The descriptor, or a negative errno with
 * `failure` filled (EXIT_KVM_FAILED).
 */
int host_open_kvm(struct failure *failure);

#endif
