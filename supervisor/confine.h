/*
 * The supervisor gives up what it needed to set a VM up. What it keeps: CAP_KILL (the VM's processes have other ids), and, by landlock
 * where the kernel has it, the runtime folders and the cgroups below the paths named, to remove its own from. Its filter kills at once: who
 * would answer its notifications is itself.
 */
#ifndef VMSUP_SUPERVISOR_CONFINE_H
#define VMSUP_SUPERVISOR_CONFINE_H

#include "policy/policy.h"
#include "supervisor/failure.h"

#include <stddef.h>

/* `program` NULL: no filter. 0, or a negative errno with `failure` filled: what was given up stays given up. */
int confine_self(const char *const *paths, size_t path_count, const struct policy_program *program, struct failure *failure);

#endif
