/*
 * The cgroup of a VM: vmsup/NAME below the place where cgroup v2 is mounted, with nothing in it but vmproc and the plugin. Membership serves
 * the kill of both at once; a controller is demanded only where a limit is set. Where no cgroup v2 is mounted there is none, and that is
 * no fault unless a limit asks for one.
 *
 * The directory is locked by flock(2) for as long as its supervisor lives, so that another of the same name cannot take it for a
 * leftover; NAME is told from that of another runtime folder by name_qualify(). All descriptors that are needed later are opened at
 * once; root needs no capability to use them. With landlock, removing directories from vmsup must be left open. vmsup itself stays, empty:
 * nobody may write the mount's root without a capability. So does a controller that was switched on for a limit.
 */
#ifndef VMSUP_SUPERVISOR_CGROUP_H
#define VMSUP_SUPERVISOR_CGROUP_H

#include "supervisor/failure.h"
#include "supervisor/name.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct cgroup_limits {
    uint64_t memory_max;  /* bytes, swap 0; 0: no limit */
    uint64_t pids_max;    /* 0: no limit */
};

struct cgroup {
    char name[NAME_QUALIFIED_MAX];
    char path[PATH_MAX]; /* for messages and landlock: …/vmsup/NAME */
    int mount;     /* of the mount's root */
    int parent;    /* of vmsup */
    int directory; /* of vmsup/NAME, for jail.cgroup; -1: there is none */
    int kill;      /* of cgroup.kill */
    int events;    /* of cgroup.events: whether there are processes in it */
    int memory;    /* of memory.events; -1 without the memory controller */
};

/*
 * Makes it; a leftover of that name is killed and removed first. 0 (with directory -1 where there is no cgroup v2 and no limit) or a
 * negative errno with `failure` filled: EX_UNAVAILABLE where a limit is set and the controller cannot be had, EX_TEMPFAIL where
 * another supervisor holds it, EX_OSERR.
 */
int cgroup_create(const char *name, const struct cgroup_limits *limits, struct cgroup *cgroup, struct failure *failure);

/* SIGKILL to all in it. 0, also where there is no cgroup, or a negative errno. */
int cgroup_kill(const struct cgroup *cgroup);

/* How many of its processes the kernel killed for want of memory; 0 where that cannot be known. */
uint64_t cgroup_oom_kills(const struct cgroup *cgroup);

/*
 * Kills what is in it, waits until they are gone (CGROUP_REMOVE_WAIT milliseconds at most), removes it. 0 or a negative errno; closes
 * the descriptors whatever happens.
 */
#define CGROUP_REMOVE_WAIT 5000
int cgroup_remove(struct cgroup *cgroup);

/* Closes without removing: for a parent whose child goes on. */
void cgroup_close(struct cgroup *cgroup);

/* Removes what a killed supervisor left under that name. 0, also where there is nothing; -EBUSY where its supervisor lives. */
int cgroup_remove_leftover(const char *name);

/*
 * Where cgroup v2 is mounted, from the text of /proc/self/mountinfo: the first whose root is the hierarchy's own. -ENOENT: nowhere.
 */
int cgroup_find_mount(const char *mountinfo, char path[PATH_MAX]);

#endif
