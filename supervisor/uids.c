#include "supervisor/uids.h"

#include "common/fd.h"
#include "supervisor/uids_host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define UIDS_FILE "uids"
/* vmproc's and the plugin's. */
#define UIDS_PAIR 2
/* Ids that are tried before a range is called full: one that large has that many VMs, or something is wrong. */
#define UIDS_TRIES_MAX (1 << 20)
#define UIDS_SYSTEM_LAST 999u
#define UIDS_NOBODY 65534u
#define UIDS_NONE_16 65535u

bool
uids_range_is_valid(uint32_t first, uint32_t count)
{
    uint64_t end = (uint64_t)first + count;

    if (count < 2 || first <= UIDS_SYSTEM_LAST || end > UINT32_MAX)
        return false;
    return end <= UIDS_NOBODY || first > UIDS_NONE_16;
}

static int
open_lock_file(int base, struct failure *failure)
{
    int fd = openat(base, UIDS_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    struct stat status;

    if (fd < 0)
        return failure_set(failure, EX_CANTCREAT, -errno, "the runtime folder's file of ids: %s", strerror(errno));
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022) != 0) {
        fd_close(&fd);
        return failure_set(failure, EX_NOPERM, -EPERM,
                           "the runtime folder's file of ids: expected a file of one's own that nobody else can write");
    }
    return fd;
}

/* The byte whose place is the id's number. */
static int
set_lock(int fd, uint32_t id, short type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = id, .l_len = 1 };

    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Locks one id of `next` to `end` that nobody has; *next is where to go on from. */
static int
take_one(int fd, const struct uids_ranges *subordinate, uint64_t *next, uint64_t end, uid_t *id)
{
    for (int tries = 0; tries < UIDS_TRIES_MAX && *next < end; tries++) {
        uint64_t past = uids_past_ranges(subordinate, *next);
        uint32_t candidate = (uint32_t)*next;
        int result;

        if (past > *next) {
            *next = past;
            continue;
        }
        (*next)++;
        result = set_lock(fd, candidate, F_WRLCK);
        if (result == -EAGAIN || result == -EACCES)
            continue;
        if (result < 0)
            return result;
        result = uids_host_knows(candidate);
        if (result == 0) {
            *id = candidate;
            return 0;
        }
        set_lock(fd, candidate, F_UNLCK);
        if (result < 0)
            return result;
    }
    return -EAGAIN;
}

/* Lets go of those that are busy; how many are left, which keep their order. */
static size_t
drop_busy(int fd, uid_t id[UIDS_PAIR], int busy)
{
    size_t left = 0;

    for (size_t i = 0; i < UIDS_PAIR; i++)
        if ((busy & 1 << i) != 0)
            set_lock(fd, id[i], F_UNLCK);
        else
            id[left++] = id[i];
    return left;
}

/* Running processes are looked at under the locks: who had an id before may have let some live. Such an id is passed over. */
static int
take_pair(int fd, const struct uids_ranges *subordinate, uint32_t first, uint32_t count, struct uids *uids)
{
    uint64_t next = first, end = (uint64_t)first + count;
    uid_t id[UIDS_PAIR];
    size_t taken = 0;

    while (taken < UIDS_PAIR) {
        int result = 0;

        for (; taken < UIDS_PAIR && result == 0; taken++)
            result = take_one(fd, subordinate, &next, end, &id[taken]);
        if (result == 0)
            result = uids_host_runs(id, UIDS_PAIR);
        if (result < 0)
            return result;
        taken = drop_busy(fd, id, result);
    }
    uids->vmproc = id[0];
    uids->plugin = id[1];
    return 0;
}

int
uids_take(int base, uint32_t first, uint32_t count, struct uids *uids, struct failure *failure)
{
    struct uids_ranges subordinate = { 0 };
    int fd, result;

    *uids = (struct uids){ .lock = -1 };
    if (!uids_range_is_valid(first, count))
        return failure_set(failure, EX_USAGE, -ERANGE, "--uid-range %u:%u: expected two ids at least, none of the system's", first,
                           count);
    result = uids_read_ranges(&subordinate);
    if (result < 0)
        return failure_set(failure, EX_OSERR, result, "/etc/subuid or /etc/subgid cannot be read: %s", strerror(-result));
    fd = open_lock_file(base, failure);
    if (fd < 0) {
        uids_free_ranges(&subordinate);
        return fd;
    }
    result = take_pair(fd, &subordinate, first, count, uids);
    uids_free_ranges(&subordinate);
    if (result == 0) {
        uids->lock = fd;
        return 0;
    }
    fd_close(&fd);
    if (result == -EAGAIN)
        return failure_set(failure, EX_TEMPFAIL, result, "--uid-range %u:%u: no two ids are free: expected a larger range", first,
                           count);
    return failure_set(failure, EX_OSERR, result, "--uid-range %u:%u: cannot tell which ids are free: %s", first, count,
                       strerror(-result));
}

void
uids_release(struct uids *uids)
{
    fd_close(&uids->lock);
}
