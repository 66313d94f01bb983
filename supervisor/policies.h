/*
 * The three policies of a VM: the plugin's from the admin's folder or the one that ships, the other two always those that ship. They are
 * read before anything is made, and compiled while the processes are on their way in.
 */
#ifndef VMSUP_SUPERVISOR_POLICIES_H
#define VMSUP_SUPERVISOR_POLICIES_H

#include "policy/policy.h"
#include "supervisor/failure.h"

#include <limits.h>
#include <stdint.h>

enum { POLICIES_SUPERVISOR, POLICIES_VMPROC, POLICIES_PLUGIN, POLICIES_COUNT };

struct policies {
    uint64_t key; /* of this start's filters; see struct policy_compile_options */
    char path[POLICIES_COUNT][PATH_MAX];
    struct policy *policy[POLICIES_COUNT]; /* until it is compiled */
    struct policy_program program[POLICIES_COUNT];
};

/*
 * The name of the plugin's file: plugin.policy, but microvm, which is the plugin where the admin names none (NULL), has one of its own among
 * those that ship.
 */
const char *policies_plugin_file(const char *own, const char *plugin);

/*
 * `shipped` is a folder; `own` another, or NULL; `plugin` as above. 0 or a negative errno with `failure` filled (EX_NOINPUT, EX_DATAERR).
 */
int policies_read(struct policies *policies, const char *shipped, const char *own, const char *plugin, struct failure *failure);

/* One that was read. 0 or a negative errno with `failure` filled: EX_DATAERR, where it makes a filter longer than the kernel takes. */
int policies_compile(struct policies *policies, int which, struct failure *failure);

/* Of one that was compiled. NULL where this build leaves that filter out. */
const struct policy_program *policies_program(const struct policies *policies, int which);
void policies_free(struct policies *policies);

#endif
