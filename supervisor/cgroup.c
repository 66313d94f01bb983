#include "supervisor/cgroup.h"

#include "common/clock.h"
#include "common/fd.h"
#include "supervisor/cgroup_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define PARENT_NAME "vmsup"
/* How often a directory that vanishes while it is being made is tried again: each time another VM has just ended. */
#define CREATE_TRIES 16
/* Between two looks whether it is empty, in milliseconds; the kernel wakes us when it tells. */
#define REMOVE_STEP 20

static void
reset(struct cgroup *cgroup)
{
    *cgroup = (struct cgroup){ .mount = -1, .parent = -1, .directory = -1, .kill = -1, .events = -1, .memory = -1 };
}

static void
close_directory(struct cgroup *cgroup)
{
    fd_close(&cgroup->memory);
    fd_close(&cgroup->events);
    fd_close(&cgroup->kill);
    fd_close(&cgroup->directory);
}

void
cgroup_close(struct cgroup *cgroup)
{
    close_directory(cgroup);
    fd_close(&cgroup->parent);
    fd_close(&cgroup->mount);
}

static int
open_file(int directory, const char *name, int flags, int *fd)
{
    *fd = openat(directory, name, flags | O_CLOEXEC);
    return *fd < 0 ? -errno : 0;
}

/* The mount and vmsup in it, which is made if `make`. */
static int
open_parent(struct cgroup *cgroup, bool make)
{
    char path[PATH_MAX];
    int result;

    fd_close(&cgroup->parent);
    if (cgroup->mount < 0) {
        result = cgroup_open_mount(path);
        if (result < 0)
            return result;
        cgroup->mount = result;
        if (snprintf(cgroup->path, sizeof cgroup->path, "%s/" PARENT_NAME "/%s", path, cgroup->name) >= (int)sizeof cgroup->path)
            return -ENAMETOOLONG;
    }
    if (make && mkdirat(cgroup->mount, PARENT_NAME, 0755) < 0 && errno != EEXIST)
        return -errno;
    return open_file(cgroup->mount, PARENT_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, &cgroup->parent);
}

static bool
is_current(const struct cgroup *cgroup)
{
    struct stat opened, found;

    if (fstat(cgroup->directory, &opened) < 0 || fstatat(cgroup->parent, cgroup->name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    return opened.st_ino == found.st_ino && opened.st_dev == found.st_dev;
}

/* -ENOENT: it is not there, or no longer. -EBUSY: its supervisor lives. */
static int
open_and_lock(struct cgroup *cgroup)
{
    int result = open_file(cgroup->parent, cgroup->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, &cgroup->directory);

    if (result == 0 && flock(cgroup->directory, LOCK_EX | LOCK_NB) < 0)
        result = errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (result == 0 && !is_current(cgroup))
        result = -ENOENT;
    if (result == 0)
        result = open_file(cgroup->directory, "cgroup.kill", O_WRONLY, &cgroup->kill);
    if (result == 0)
        result = open_file(cgroup->directory, "cgroup.events", O_RDONLY, &cgroup->events);
    if (result < 0)
        close_directory(cgroup);
    return result;
}

int
cgroup_kill(const struct cgroup *cgroup)
{
    if (cgroup->kill < 0)
        return 0;
    return write(cgroup->kill, "1", 1) < 0 ? -errno : 0;
}

uint64_t
cgroup_oom_kills(const struct cgroup *cgroup)
{
    uint64_t count;

    if (cgroup->memory < 0 || cgroup_read_key(cgroup->memory, "oom_kill", &count) < 0)
        return 0;
    return count;
}

/* Kills what is in it and removes it once that is gone: the kernel says EBUSY while a process is on its way out. */
static int
empty_and_remove(const struct cgroup *cgroup)
{
    struct pollfd events = { .fd = cgroup->events, .events = POLLPRI };
    int64_t deadline = clock_milliseconds() + CGROUP_REMOVE_WAIT;
    uint64_t populated;
    int result = cgroup_kill(cgroup);

    while (result == 0) {
        if (cgroup_read_key(cgroup->events, "populated", &populated) == 0 && populated == 0) {
            if (unlinkat(cgroup->parent, cgroup->name, AT_REMOVEDIR) == 0 || errno == ENOENT)
                return 0;
            if (errno != EBUSY)
                return -errno;
        }
        if (clock_milliseconds() >= deadline)
            return -EBUSY;
        /* Tells of changes since the last read; a kernel that does not tell costs one step. */
        poll(&events, 1, REMOVE_STEP);
    }
    return result;
}

int
cgroup_remove(struct cgroup *cgroup)
{
    int result = 0;

    if (cgroup->directory >= 0)
        result = empty_and_remove(cgroup);
    close_directory(cgroup);
    cgroup_close(cgroup);
    return result;
}

/* The directory exists already: a leftover is removed; -EBUSY where somebody holds it. */
static int
remove_existing(struct cgroup *cgroup)
{
    int result = open_and_lock(cgroup);

    if (result == 0)
        result = empty_and_remove(cgroup);
    close_directory(cgroup);
    return result == -ENOENT ? 0 : result;
}

static int
make_and_lock(struct cgroup *cgroup)
{
    int result = -ENOENT;

    for (int tries = 0; tries < CREATE_TRIES && result == -ENOENT; tries++) {
        result = open_parent(cgroup, true);
        if (cgroup->mount < 0)
            return result;
        if (result < 0)
            continue;
        if (mkdirat(cgroup->parent, cgroup->name, 0755) == 0)
            result = open_and_lock(cgroup);
        else if (errno == EEXIST)
            result = remove_existing(cgroup) < 0 ? -EBUSY : -ENOENT;
        else
            result = -errno;
    }
    return result;
}

static int
set_limit(const struct cgroup *cgroup, const char *controller, const char *file, uint64_t value, struct failure *failure)
{
    char text[24];
    int result = cgroup_enable(cgroup->mount, controller);

    if (result == 0)
        result = cgroup_enable(cgroup->parent, controller);
    if (result < 0)
        return failure_set(failure, EX_UNAVAILABLE, result, "%s: the %s controller of cgroup v2 cannot be had (%s): expected it for a limit",
                           cgroup->path, controller, strerror(-result));
    snprintf(text, sizeof text, "%" PRIu64, value);
    result = fd_write_file(cgroup->directory, file, text);
    if (result < 0)
        return failure_set(failure, EX_UNAVAILABLE, result, "%s/%s: %s", cgroup->path, file, strerror(-result));
    return 0;
}

static int
set_limits(const struct cgroup *cgroup, const struct cgroup_limits *limits, struct failure *failure)
{
    int result = 0;

    if (limits->memory_max > 0) {
        result = set_limit(cgroup, "memory", "memory.max", limits->memory_max, failure);
        /* A kernel without swap has no such file, and nothing to limit. */
        if (result == 0 && faccessat(cgroup->directory, "memory.swap.max", F_OK, 0) == 0)
            result = set_limit(cgroup, "memory", "memory.swap.max", 0, failure);
    }
    if (result == 0 && limits->pids_max > 0)
        result = set_limit(cgroup, "pids", "pids.max", limits->pids_max, failure);
    return result;
}

static bool
has_limits(const struct cgroup_limits *limits)
{
    return limits->memory_max > 0 || limits->pids_max > 0;
}

int
cgroup_create(const char *name, const struct cgroup_limits *limits, struct cgroup *cgroup, struct failure *failure)
{
    int result;

    reset(cgroup);
    strlcpy(cgroup->name, name, sizeof cgroup->name);
    result = make_and_lock(cgroup);
    if (result == -ENOENT && cgroup->mount < 0) {
        if (!has_limits(limits))
            return 0;
        return failure_set(failure, EX_UNAVAILABLE, result, "cgroup v2 is not mounted: expected it for a limit");
    }
    if (result < 0) {
        if (result == -EBUSY)
            failure_set(failure, EX_TEMPFAIL, result, "%s is in use: expected no other supervisor of that name", cgroup->path);
        else
            failure_set(failure, EX_OSERR, result, "the cgroup of %s cannot be made: %s", name, strerror(-result));
        cgroup_close(cgroup);
        return result;
    }
    /* Out of memory can be told from other kills where the host has the controller on already. */
    cgroup_enable(cgroup->parent, "memory");
    result = set_limits(cgroup, limits, failure);
    if (result < 0) {
        cgroup_remove(cgroup);
        return result;
    }
    open_file(cgroup->directory, "memory.events", O_RDONLY, &cgroup->memory);
    return 0;
}

int
cgroup_remove_leftover(const char *name)
{
    struct cgroup cgroup;
    int result;

    reset(&cgroup);
    strlcpy(cgroup.name, name, sizeof cgroup.name);
    result = open_parent(&cgroup, false);
    if (result == 0)
        result = open_and_lock(&cgroup);
    if (result == 0)
        return cgroup_remove(&cgroup);
    cgroup_close(&cgroup);
    return result == -ENOENT ? 0 : result;
}
