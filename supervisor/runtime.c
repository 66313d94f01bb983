#include "supervisor/runtime.h"

#include "common/fd.h"
#include "supervisor/options.h"
#include "supervisor/runtime_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define LAST_NAME ".last"
/* How often a folder that vanishes while it is being opened is tried again: each time another supervisor has just ended. */
#define OPEN_TRIES 16
/* `vmsup list` holds a lock for an instant to see whether it is free: so it is asked for this long, in milliseconds. */
#define LOCK_WAIT 100
#define LOCK_STEP 5

static void
reset(struct runtime *runtime)
{
    *runtime = (struct runtime){ .base = -1, .last = -1, .folder = -1 };
}

static int
take_names(const char *base, const char *name, struct runtime *runtime, struct failure *failure)
{
    reset(runtime);
    if (strlcpy(runtime->path, base, sizeof runtime->path) >= sizeof runtime->path)
        return failure_set(failure, EX_USAGE, -ENAMETOOLONG, "%.128s: too long for a runtime folder: expected at most %d bytes", base,
                           RUNTIME_BASE_MAX);
    if (!name_is_valid(name))
        return failure_set(failure, EX_USAGE, -EINVAL, "\"%.128s\" is not the name of a VM", name);
    strlcpy(runtime->name, name, sizeof runtime->name);
    return 0;
}

/* Whether the open folder still is what BASE/NAME leads to. */
static bool
is_current(const struct runtime *runtime)
{
    struct stat opened, found;

    if (fstat(runtime->folder, &opened) < 0 || fstatat(runtime->base, runtime->name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    return opened.st_ino == found.st_ino && opened.st_dev == found.st_dev;
}

static int
lock_folder(int folder)
{
    const struct timespec step = { .tv_nsec = LOCK_STEP * 1000000L };

    for (int waited = 0;; waited += LOCK_STEP) {
        if (flock(folder, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK || waited >= LOCK_WAIT)
            return errno == EWOULDBLOCK ? -EBUSY : -errno;
        nanosleep(&step, NULL);
    }
}

/* Opens BASE/NAME and locks it; -ENOENT where it is not there, or no longer. */
static int
open_and_lock(struct runtime *runtime)
{
    int result = runtime_open_folder(runtime->base, runtime->name, &runtime->folder);

    if (result < 0)
        return result;
    result = lock_folder(runtime->folder);
    /* Its last owner may have removed it before letting the lock go. */
    if (result == 0 && !is_current(runtime))
        result = -ENOENT;
    if (result < 0 && result != -EBUSY)
        fd_close(&runtime->folder);
    return result;
}

static int
busy(struct runtime *runtime, struct failure *failure)
{
    pid_t pid = runtime_read_pid(runtime->folder);

    if (pid > 0)
        return failure_set(failure, EX_TEMPFAIL, -EBUSY, "%s is already running (pid %d)", runtime->name, (int)pid);
    return failure_set(failure, EX_TEMPFAIL, -EBUSY, "%s is already running", runtime->name);
}

static int
open_failure(const struct runtime *runtime, int error, struct failure *failure)
{
    if (error == -EPERM)
        return failure_set(failure, EX_NOPERM, error, "%s/%s: expected a folder of root's that nobody else can write", runtime->path,
                           runtime->name);
    return failure_set(failure, EX_CANTCREAT, error, "%s/%s: %s", runtime->path, runtime->name, strerror(-error));
}

static int
make_and_lock(struct runtime *runtime, struct failure *failure)
{
    int result = -ENOENT;

    for (int tries = 0; tries < OPEN_TRIES && result == -ENOENT; tries++) {
        if (mkdirat(runtime->base, runtime->name, 0700) < 0 && errno != EEXIST)
            return open_failure(runtime, -errno, failure);
        result = open_and_lock(runtime);
    }
    if (result == -EBUSY)
        return busy(runtime, failure);
    if (result < 0)
        return open_failure(runtime, result, failure);
    return 0;
}

/* Opens BASE and BASE/.last, both made where missing if `make`. */
static int
open_base(struct runtime *runtime, bool make, struct failure *failure)
{
    int result = runtime_open_base(runtime->path, make, &runtime->base, failure);

    if (result < 0)
        return result;
    if (mkdirat(runtime->base, LAST_NAME, 0700) < 0 && errno != EEXIST)
        result = -errno;
    else
        result = runtime_open_folder(runtime->base, LAST_NAME, &runtime->last);
    if (result < 0)
        return failure_set(failure, result == -EPERM ? EX_NOPERM : EX_CANTCREAT, result, "%s/%s: %s", runtime->path, LAST_NAME,
                           strerror(-result));
    return 0;
}

int
runtime_open(const char *base, const char *name, struct runtime *runtime, struct failure *failure)
{
    int emptied, result = take_names(base, name, runtime, failure);

    if (result == 0)
        result = open_base(runtime, true, failure);
    if (result == 0)
        result = make_and_lock(runtime, failure);
    if (result < 0) {
        runtime_close(runtime);
        return result;
    }
    emptied = runtime_empty_folder(runtime->folder);
    result = emptied < 0 ? emptied : runtime_write_pid(runtime);
    if (result == 0 && unlinkat(runtime->last, runtime->name, 0) < 0 && errno != ENOENT)
        result = -errno;
    if (result < 0) {
        open_failure(runtime, result, failure);
        runtime_remove(runtime);
        return result;
    }
    runtime->found_leftovers = emptied > 0;
    return 0;
}

int
runtime_open_leftover(const char *base, const char *name, struct runtime *runtime, struct failure *failure)
{
    int result = take_names(base, name, runtime, failure);

    if (result == 0)
        result = open_base(runtime, false, failure);
    if (result == 0) {
        result = open_and_lock(runtime);
        if (result == -EBUSY)
            busy(runtime, failure);
        else if (result < 0)
            open_failure(runtime, result, failure);
    }
    if (result == -ENOENT)
        failure_set(failure, EX_NOINPUT, result, "%s: no such VM", name);
    if (result < 0) {
        runtime_close(runtime);
        return result;
    }
    runtime->found_leftovers = true;
    /* Who finds the folder locked meanwhile is told by whom. */
    runtime_write_pid(runtime);
    return 0;
}

int
runtime_open_ids(int *folder, struct failure *failure)
{
    return runtime_open_base(OPTIONS_RUNTIME_DIR_DEFAULT, true, folder, failure);
}

int
runtime_write_pid(const struct runtime *runtime)
{
    char text[24];

    snprintf(text, sizeof text, "%d\n", (int)getpid());
    return runtime_replace_file(runtime->folder, RUNTIME_PID_NAME, text);
}

int
runtime_write_reason(const struct runtime *runtime, int exit_code, const char *text)
{
    char file[RUNTIME_REASON_FILE_MAX];

    runtime_reason_format(time(NULL), exit_code, text, file);
    return runtime_replace_file(runtime->last, runtime->name, file);
}

void
runtime_remove(struct runtime *runtime)
{
    if (runtime->folder >= 0) {
        runtime_empty_folder(runtime->folder);
        unlinkat(runtime->base, runtime->name, AT_REMOVEDIR);
    }
    runtime_close(runtime);
}

void
runtime_close(struct runtime *runtime)
{
    fd_close(&runtime->folder);
    fd_close(&runtime->last);
    fd_close(&runtime->base);
}
