/*
 * The two processes of a VM, each described as a jail, and the pipes and sockets between the three. children_begin() makes all of
 * it or nothing; the processes then make their namespaces by themselves, while their ids and filters are found. children_settle() tells each
 * its own, and children_enter() waits until both run their programs. children_set_up() then has vmproc make the VM, while the plugin is still
 * loaded. The supervisor keeps its own ends; the plugin's socket to vmproc passes through it once and it never reads from it.
 */
#ifndef VMSUP_SUPERVISOR_CHILDREN_H
#define VMSUP_SUPERVISOR_CHILDREN_H

#include "jail/jail.h"
#include "supervisor/grants.h"
#include "supervisor/keeper.h"
#include "supervisor/layout.h"
#include "supervisor/options.h"
#include "supervisor/plugin_file.h"
#include "supervisor/vmproc_link.h"

/* The plugin's tmpfs. */
#define CHILDREN_PLUGIN_ROOT_BYTES (UINT64_C(64) << 20)
/* Before anything of the host's when memory is short. */
#define CHILDREN_OOM_SCORE 600
/* Descriptors: two pipes a vCPU with two ends each, objects of every kind, connections. */
#define CHILDREN_VMPROC_NOFILE 4096
#define CHILDREN_PLUGIN_NOFILE 4096
/* Threads: one a vCPU and a few. The plugin's are its own affair, within reason. */
#define CHILDREN_VMPROC_NPROC 160
#define CHILDREN_PLUGIN_NPROC 512
/* What a plugin may keep from being swapped out, in bytes; vmproc has no call for it. */
#define CHILDREN_PLUGIN_MEMLOCK (8 * 1024 * 1024)
/* Room in a socket's buffer for the largest response, and the kernel's own accounting of it. */
#define CHILDREN_SOCKET_BUFFER (2 * 1024 * 1024)

struct children_plan {
    const struct options *options;
    const struct layout *layout;
    const char *root; /* an existing directory, over which roots are mounted */
    const struct plugin_file *plugin;
    const struct plugin_mounts *mounts;
    const struct grants *grants; /* the plugin gets copies */
    int cgroup;                  /* directory, or -1 */
};

struct children {
    struct jail_process vmproc, plugin;
    struct jail_start vmproc_start, plugin_start; /* until children_enter() is done with them */
    int control;        /* to vmproc */
    int plugin_socket;  /* vmproc's end of its socket to the plugin, until it is given to it */
    int vmproc_log;     /* what vmproc writes to descriptors 1 and 2 */
    int plugin_log;     /* what the plugin writes to its descriptor 2 */
    int plugin_input;   /* its descriptor 0 */
    int plugin_output;  /* its descriptor 1 */
    struct keeper keeper;
};

/* Nothing is made: children_abandon() then has nothing to do. */
void children_init(struct children *children);

/* 0, or a negative errno with `failure` filled and nothing left. The plan's options are needed until children_enter() returns. */
int children_begin(const struct children_plan *plan, struct children *children, struct failure *failure);

/* One of vmproc_start and plugin_start: 0, or a negative errno with `failure` filled; both are then children_abandon()'s. */
int children_settle(struct jail_start *start, const struct jail_terms *terms, struct failure *failure);

/* Both are settled. Returns once both run their programs: 0, or a negative errno with `failure` filled and nothing left. */
int children_enter(struct children *children, struct failure *failure);

/*
 * Says hello to vmproc and tells it what VM to make, of `memory_limit` bytes at most. What `setup` has is given away; its plugin_socket and
 * keeper are put there from `children` first. 0, or a negative errno with `failure` filled; vmproc's death is not told here.
 */
int children_set_up(struct children *children, const struct options *options, uint64_t memory_limit, struct vmproc_setup *setup,
                    struct failure *failure);

/* Kills and reaps those that are left, and closes what is left; KVM then frees the VM. */
void children_abandon(struct children *children);

#endif
