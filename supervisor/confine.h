/*
 * The supervisor gives up what it needed to set a VM up. What it keeps: CAP_KILL (the VM's processes have other ids), and, by landlock
 * where the kernel has it, the files of the runtime folders, and the right to remove directories from the cgroups. Its filter kills at
 * once: who would answer its notifications is itself.
 */
#ifndef VMSUP_SUPERVISOR_CONFINE_H
#define VMSUP_SUPERVISOR_CONFINE_H

#include "policy/policy.h"
#include "supervisor/failure.h"

/*
 * `runtime` is the base of the runtime folders; `cgroups` the folder of the VMs' cgroups, NULL without one; `program` NULL: no filter. 0,
 * or a negative errno with `failure` filled: what was given up stays given up.
 */
int confine_self(const char *runtime, const char *cgroups, const struct policy_program *program, struct failure *failure);

#endif
