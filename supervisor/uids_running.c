/*
 * Which ids processes run under. Every process of the host is looked at, so each look must be cheap: one call, where the kernel (6.13 and
 * later) tells by way of a pidfd; else the beginning of a file that is long to write and to read.
 */
#include "supervisor/uids_host.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of /proc/PID/status: Uid and Gid stand in the first few hundred bytes, before a list of groups of any length. */
#define STATUS_MAX 8192
/* Real, effective, saved and file system ids, of the user and of the group. */
#define IDS_OF_PROCESS 8

/* PIDFD_GET_INFO as linux/pidfd.h has had it first: a newer kernel takes the older structure. */
struct pidfd_answer {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t pid, thread_group, parent;
    uint32_t id[IDS_OF_PROCESS];
    uint32_t reserved;
};
#define PIDFD_ANSWER _IOWR(0xff, 11, struct pidfd_answer)
#define PIDFD_HAS_CREDENTIALS UINT64_C(2)

_Static_assert(sizeof(struct pidfd_answer) == 64, "PIDFD_INFO_SIZE_VER0");

static bool
ask_pidfd(pid_t pid, uint32_t id[IDS_OF_PROCESS])
{
    struct pidfd_answer answer = { .mask = PIDFD_HAS_CREDENTIALS };
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool answered = fd >= 0 && ioctl(fd, PIDFD_ANSWER, &answer) == 0 && (answer.mask & PIDFD_HAS_CREDENTIALS) != 0;

    fd_close(&fd);
    memcpy(id, answer.id, sizeof answer.id);
    return answered;
}

/* The four numbers after `key`. */
static bool
read_ids(const char *status, const char *key, uint32_t id[4])
{
    const char *line = strstr(status, key);

    return line != NULL && sscanf(line + strlen(key), "%u %u %u %u", &id[0], &id[1], &id[2], &id[3]) == 4;
}

static bool
read_status(int proc, pid_t pid, uint32_t id[IDS_OF_PROCESS])
{
    char path[32], status[STATUS_MAX];
    ssize_t length;
    int fd;

    snprintf(path, sizeof path, "%d/status", (int)pid);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    length = read(fd, status, sizeof status - 1);
    fd_close(&fd);
    if (length <= 0)
        return false;
    status[length] = '\0';
    return read_ids(status, "\nUid:\t", id) && read_ids(status, "\nGid:\t", id + 4);
}

/* A process may go while it is being looked at: then it runs under nothing. */
static int
compare_process(int proc, pid_t pid, const uint32_t *ids, size_t count)
{
    uint32_t id[IDS_OF_PROCESS];
    int found = 0;

    if (!ask_pidfd(pid, id) && !read_status(proc, pid, id))
        return 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < IDS_OF_PROCESS; j++)
            if (id[j] == ids[i])
                found |= 1 << i;
    return found;
}

int
uids_host_runs(const uint32_t *ids, size_t count)
{
    DIR *listing = opendir("/proc");
    struct dirent *entry;
    int found = 0;

    if (listing == NULL)
        return -errno;
    while ((entry = readdir(listing)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            found |= compare_process(dirfd(listing), (pid_t)atol(entry->d_name), ids, count);
    closedir(listing);
    return found;
}
