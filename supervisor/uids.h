/*
 * Two ids of their own for the processes of a VM: never shared with another VM, with a user or group that the host knows, with a subordinate
 * range, or with a process that still runs. There is no daemon to hand them out: each id is a byte of the file BASE/uids, and who holds
 * that byte's lock (an open file description lock, F_OFD_SETLK) holds the id, until it is released or the last process with that
 * descriptor is gone. Supervisors with different runtime folders do not see each other's locks: give each folder a range of its own.
 */
#ifndef VMSUP_SUPERVISOR_UIDS_H
#define VMSUP_SUPERVISOR_UIDS_H

#include "supervisor/failure.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct uids {
    int lock; /* -1: nothing is held */
    uid_t vmproc; /* the gid of each is the same number */
    uid_t plugin;
};

/* Whether a range may be used at all: without 0 to 999 (the system's), 65534 and 65535 (nobody, and -1 in 16 bits), 2^32 - 1, two ids at least. */
bool uids_range_is_valid(uint32_t first, uint32_t count);

/* `base` is the descriptor of the runtime folder's base. 0 or a negative errno: -EAGAIN (EX_TEMPFAIL) where all are taken. */
int uids_take(int base, uint32_t first, uint32_t count, struct uids *uids, struct failure *failure);
void uids_release(struct uids *uids);

#endif
