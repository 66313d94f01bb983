/*
 * Files and devices of the host's that the plugin gets as descriptors, by name: the jail shows no path of them. grants_open() opens what the
 * options name, while the supervisor still may; what it makes by itself for the plugin is added by grants_add(). Once the plugin runs,
 * grants_hand_over() closes what is the plugin's now, and the locks stay until grants_close(), which is due when the VM has ended.
 *
 * A lock belongs to an open file description, and who shares one can drop its lock. So each locked file is opened twice: the lower half of
 * its bytes is locked through a description that is the supervisor's alone, the upper half through the plugin's. The plugin can give up its
 * half, which is of no use to it. Should the supervisor be killed, the file is taken until the plugin is gone, too.
 *
 * A plugin could open a descriptor's file anew, for writing, where its /proc and the file's mode let it. Files that everybody may
 * write are refused for that, and those that belong to an id that VMs run under.
 */
#ifndef VMSUP_SUPERVISOR_GRANTS_H
#define VMSUP_SUPERVISOR_GRANTS_H

#include "supervisor/failure.h"
#include "supervisor/options.h"

#include <stddef.h>

/* With those that the supervisor makes: sockets, queues of a TAP. */
#define GRANTS_MAX 48

struct grant {
    const char *name; /* not owned */
    int fd;           /* for the plugin; owned */
    int lock;         /* the supervisor's own description, or -1; owned */
};

struct grants {
    struct grant grant[GRANTS_MAX];
    size_t count;
};

/*
 * `options` must outlive `grants`. 0 or a negative errno with `failure` filled and nothing left open: EX_NOINPUT where there is no such
 * file, EX_NOPERM, EX_CONFIG for what is neither file nor disk or may not be granted, EX_TEMPFAIL for what somebody else uses,
 * EX_OSERR where there are no locks.
 */
int grants_open(const struct options *options, struct grants *grants, struct failure *failure);

/* Takes over *fd, which becomes -1, in any case. `name` is kept. 0 or -E2BIG. */
int grants_add(struct grants *grants, const char *name, int *fd);

/*
 * VARIABLE=NAME=NUMBER,… for the plugin's environment, newly allocated: the first has the number `first`, each further one the next. NULL
 * where memory is short.
 */
char *grants_describe(const struct grants *grants, const char *variable, int first);

/* Closes the plugin's descriptors: it has its own copies. The locks stay. */
void grants_hand_over(struct grants *grants);
/* Closes all that is left. Does nothing after itself. */
void grants_close(struct grants *grants);

#endif
