/*
 * What a supervisor keeps on disk: BASE (/run/vmsup) with
 *
 *   BASE/NAME/        one folder a running VM, 0700, locked by flock(2) on the folder itself for as long as its supervisor lives:
 *                     whoever gets the lock knows that there is none
 *   BASE/NAME/pid     the supervisor's pid, for messages and `vmsup list`
 *   BASE/.last/NAME   how the VM of that name last ended; gone when the name is started again
 *
 * and /run/vmsup/uids, the locks of uids.h, whatever BASE is.
 *
 * The lock belongs to the open folder: a process forked off shares it, and it ends with the last of them. Nothing here needs
 * a capability once runtime_open() is done; root owns all of it. With landlock, writing below BASE/NAME and BASE/.last and
 * removing a directory from BASE must be left open.
 *
 * BASE and what is in it is believed only if it belongs to root (or to who runs this) and nobody else may write it.
 */
#ifndef VMSUP_SUPERVISOR_RUNTIME_H
#define VMSUP_SUPERVISOR_RUNTIME_H

#include "supervisor/failure.h"
#include "supervisor/name.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The path of BASE, in bytes: the socket of a VM, BASE/NAME/control, must fit sockaddr_un. */
#define RUNTIME_BASE_MAX 64
/* The text of a reason, in bytes with its NUL; longer ones are cut. */
#define RUNTIME_REASON_MAX 512
/* Folders that runtime_list() looks at: more VMs than a host can run. */
#define RUNTIME_LIST_MAX 4096

struct runtime {
    char path[RUNTIME_BASE_MAX + 1]; /* BASE */
    char name[NAME_LENGTH_MAX + 1];
    int base;   /* O_DIRECTORY of BASE */
    int last;   /* of BASE/.last */
    int folder; /* of BASE/NAME, with the lock; -1: not open */
    bool found_leftovers; /* a supervisor of that name was killed; what it had left in the folder is removed */
};

/* How a VM ended. */
struct runtime_reason {
    int64_t time;  /* seconds since 1970 */
    int exit_code;
    char text[RUNTIME_REASON_MAX];
};

/*
 * Makes BASE and the folder of `name`, locks it, empties it, writes `pid` with the caller's pid, and forgets the last reason. 0 or a negative
 * errno: -EBUSY (EX_TEMPFAIL) where that name is running ("demo is already running (pid 17)"), EX_NOPERM where BASE is not to be
 * believed, EX_CANTCREAT otherwise.
 */
int runtime_open(const char *base, const char *name, struct runtime *runtime, struct failure *failure);

/*
 * The folder in which ids are locked. It is the same for every BASE, since the ids are: supervisors with other runtime folders must not
 * take the same. 0 with *folder the caller's, or a negative errno with `failure` filled.
 */
int runtime_open_ids(int *folder, struct failure *failure);

/* Writes `pid` again: for a supervisor that has forked away from who opened the folder. */
int runtime_write_pid(const struct runtime *runtime);

/* Keeps how it ended, atomically. 0 or a negative errno. */
int runtime_write_reason(const struct runtime *runtime, int exit_code, const char *text);

/* Removes the folder and all in it, and lets the lock go. */
void runtime_remove(struct runtime *runtime);

/* Closes without removing: for a parent whose child goes on. */
void runtime_close(struct runtime *runtime);

/*
 * Opens the folder of a name whose supervisor was killed, without making one. 0 with *runtime locked, to be given to
 * runtime_remove(); -ENOENT: there is none; -EBUSY: its supervisor lives.
 */
int runtime_open_leftover(const char *base, const char *name, struct runtime *runtime, struct failure *failure);

enum runtime_state {
    RUNTIME_RUNNING,  /* locked by a living supervisor */
    RUNTIME_LEFTOVER, /* a folder without a supervisor */
    RUNTIME_STOPPED,  /* a last reason only */
};

struct runtime_entry {
    char name[NAME_LENGTH_MAX + 1];
    enum runtime_state state;
    pid_t pid;                    /* RUNTIME_RUNNING; 0 where it is not known yet */
    struct runtime_reason reason; /* RUNTIME_STOPPED */
};

/*
 * The entries of BASE, sorted by name, in *entries, which the caller frees; none where BASE does not exist. Gives their
 * number or a negative errno.
 */
ssize_t runtime_list(const char *base, struct runtime_entry **entries, struct failure *failure);

/* One of them. -ENOENT: there is none of that name. */
int runtime_look(const char *base, const char *name, struct runtime_entry *entry, struct failure *failure);

#endif
