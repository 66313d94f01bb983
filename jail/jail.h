/*
 * A jail: one description of what a process may see and do, and one way into it. jail_start() makes the process with all its
 * layers, or fails and says which layer could not be had; there is nothing in between. Several can be on their way in at once: each is
 * begun, then told its terms, then all are attended. The description is data, made by the supervisor; nothing in it is kept after the
 * start. The process is a child of the caller, and is pid 1 of a pid namespace of its own. In this order, each step reported by name where
 * it fails:
 *
 *   limits, namespaces, mounts, the new root, (here it waits for its terms), (the user namespace and its maps), the room, bounding set,
 *   securebits, groups, gid, uid, capabilities, parent-death signal and a look whether the parent still lives, no_new_privs, descriptors,
 *   filter, exec
 *
 * The root is a tmpfs; the process lives in a directory in it, by chroot(2) after pivot_root(2): the kernel refuses new user
 * namespaces to a process whose root is not that of its mount namespace.
 */
#ifndef VMSUP_JAIL_JAIL_H
#define VMSUP_JAIL_JAIL_H

#include "policy/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#define JAIL_ERROR_MAX 512
#define JAIL_MOUNTS_MAX 128
#define JAIL_ID_MAPS_MAX 16
#define JAIL_FDS_MAX 64

/* A file or directory of the host's that is seen inside: nosuid, nodev (but for the four devices), read-only unless writable. */
struct jail_mount {
    const char *source;
    const char *target; /* absolute; made where it is missing */
    bool writable;
};

struct jail_id_map {
    uint32_t inner;
    uint32_t outer;
    uint32_t count;
};

struct jail_limit {
    int resource; /* RLIMIT_… */
    rlim_t value; /* soft and hard; lowered to the hard limit there is where that is lower and cannot be raised */
};

/* Descriptor `fd` of the caller becomes number `number` inside. All others are closed, whatever their flags. */
struct jail_fd {
    int fd;
    int number;
};

struct jail {
    const char *name; /* for messages: "vmproc", "plugin" */

    /* Layers, each of which may be left out by tests and by --disable-sandbox only. */
    bool unconfined;   /* no layer at all but descriptors, parent-death signal and exec: --disable-sandbox */
    bool user_namespace; /* ids inside: 0 is the terms' uid, 0 is their gid, and `gid_map` */

    const char *root;       /* an existing directory, over which the tmpfs is mounted (seen by this process alone) */
    uint64_t root_bytes;    /* the tmpfs's size; 0: empty but for the mounts, and read-only */
    const struct jail_mount *mounts;
    size_t mount_count;
    bool devices; /* /dev/{null,zero,full,urandom} */
    bool proc;    /* /proc, read-only, of its own processes and nothing else (subset=pid) */

    const struct jail_id_map *gid_map;
    size_t gid_map_count;

    const struct jail_limit *limits;
    size_t limit_count;
    int oom_score_adjust; /* 0 to 1000 */
    int cgroup;           /* descriptor of a cgroup v2 directory, or -1 */
    int pid_namespace;    /* the new pid namespace is made within this one (a descriptor of it, or a pidfd), or -1 */

    const struct jail_fd *fds;
    size_t fd_count;

    int executable; /* descriptor, O_PATH or readable; where it is among the mounts, it is executed from there */
    char *const *argv;
    char *const *environment;
};

/* What the process need not know before its namespaces and mounts are made, which takes long: so it can be found out meanwhile. */
struct jail_terms {
    uid_t uid;
    gid_t gid;
    const struct policy_program *program; /* compiled with `key`, and with notify where a listener is wanted; NULL: no filter */
    uint64_t key;
};

struct jail_process {
    pid_t pid;
    int pidfd;    /* owned by the caller */
    int listener; /* of the filter: owned by the caller; -1 where there is none */
};

struct jail_error {
    char text[JAIL_ERROR_MAX]; /* "plugin: cannot mount /proc: Operation not permitted" */
    int error;                 /* a positive errno */
};

/* A start under way. */
struct jail_start {
    struct jail jail; /* what its argv, environment, descriptors and mounts point to is not looked at any more */
    struct jail_process *process;
    uid_t uid;
    gid_t gid;
    int socket;    /* to the process; -1: it runs its program, or has failed */
    bool executes; /* its program comes next */
    bool died;
};
#define JAIL_STARTS_MAX 8

/*
 * Makes the process, which goes its way by itself from there on, but for what jail_settle() tells it and jail_attend() does for it. 0 or a
 * negative errno with `error` filled, and no process left. The description's gid_map is needed until the end of jail_attend(), and
 * `process` must stay where it is; its pid and pidfd are there at once.
 */
int jail_begin(const struct jail *jail, struct jail_start *start, struct jail_process *process, struct jail_error *error);

/*
 * Tells it its terms, of which nothing is kept; once. Does not wait. 0, also where the process is gone already, which is jail_attend()'s
 * to find; or a negative errno with `error` filled. The process is then there still, and the caller's to end: one that is in its pid
 * namespace first.
 */
int jail_settle(struct jail_start *start, const struct jail_terms *terms, struct jail_error *error);

/*
 * Serves all that are under way and know their terms, until the first runs its program (its execveat(2) has succeeded). 0, or a
 * negative errno with `error` filled where one has failed: then the processes of all of these are gone, but for the first where it runs
 * its program. One that is in another's pid namespace must stand behind it.
 */
int jail_attend(struct jail_start *const starts[], size_t count, struct jail_error *error);

/* Lets go of a start, whether it was attended to its end or not. */
void jail_leave(struct jail_start *start);

/*
 * All of it for one alone: returns once the program runs or the start has failed, in which case no process is left.
 * 0 or a negative errno, with `error` filled.
 */
int jail_start(const struct jail *jail, const struct jail_terms *terms, struct jail_process *process, struct jail_error *error);

/* A fresh key for the filter. 0, which means none, is never given. */
uint64_t jail_make_key(void);

#endif
