#include "supervisor/uids_host.h"

#include "common/fd.h"
#include "supervisor/options_value.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* /etc/subuid of a host with as many users as ranges are taken. */
#define SUBORDINATE_FILE_MAX (4 << 20)
/* The beginning of /proc/PID/status: Uid and Gid stand in the first few hundred bytes, before a list of groups of any length. */
#define STATUS_MAX 8192

static int
add_range(struct uids_ranges *ranges, const struct uids_range *range)
{
    struct uids_range *larger;

    if (ranges->count == UIDS_RANGES_MAX)
        return -E2BIG;
    larger = reallocarray(ranges->range, ranges->count + 1, sizeof *larger);
    if (larger == NULL)
        return -ENOMEM;
    ranges->range = larger;
    ranges->range[ranges->count++] = *range;
    return 0;
}

int
uids_parse_ranges(char *text, struct uids_ranges *ranges)
{
    char *line;
    int result = 0;

    while (result == 0 && (line = strsep(&text, "\n")) != NULL) {
        char *numbers = strchr(line, ':');
        uint32_t first, count;

        if (numbers == NULL || value_range(numbers + 1, &first, &count) < 0)
            continue;
        result = add_range(ranges, &(struct uids_range){ first, (uint64_t)first + count });
    }
    return result;
}

static int
read_ranges_file(const char *path, struct uids_ranges *ranges)
{
    char *text = malloc(SUBORDINATE_FILE_MAX);
    ssize_t length;
    int result = 0;

    if (text == NULL)
        return -ENOMEM;
    length = fd_read_file(AT_FDCWD, path, text, SUBORDINATE_FILE_MAX);
    if (length > 0)
        result = uids_parse_ranges(text, ranges);
    else if (length < 0 && length != -ENOENT)
        result = (int)length;
    free(text);
    return result;
}

int
uids_read_ranges(struct uids_ranges *ranges)
{
    int result;

    *ranges = (struct uids_ranges){ 0 };
    result = read_ranges_file("/etc/subuid", ranges);
    if (result == 0)
        result = read_ranges_file("/etc/subgid", ranges);
    if (result < 0)
        uids_free_ranges(ranges);
    return result;
}

void
uids_free_ranges(struct uids_ranges *ranges)
{
    free(ranges->range);
    *ranges = (struct uids_ranges){ 0 };
}

uint64_t
uids_past_ranges(const struct uids_ranges *ranges, uint64_t id)
{
    uint64_t past = id;

    for (size_t i = 0; i < ranges->count; i++)
        if (id >= ranges->range[i].first && id < ranges->range[i].end && ranges->range[i].end > past)
            past = ranges->range[i].end;
    return past;
}

/* getpwuid(3), NOTES: what name services leave in errno where there is no such entry. */
static bool
means_not_found(int error)
{
    return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static int
is_known(uint32_t id)
{
    errno = 0;
    if (getpwuid(id) != NULL)
        return 1;
    if (!means_not_found(errno))
        return -errno;
    errno = 0;
    if (getgrgid(id) != NULL)
        return 1;
    return means_not_found(errno) ? 0 : -errno;
}

/* Whether one of the four numbers after `key` is `id`. */
static bool
line_has_id(const char *status, const char *key, uint32_t id)
{
    const char *line = strstr(status, key);
    unsigned int ids[4];

    if (line == NULL || sscanf(line + strlen(key), "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4)
        return false;
    return ids[0] == id || ids[1] == id || ids[2] == id || ids[3] == id;
}

static bool
process_has_id(int proc, const char *pid, uint32_t id)
{
    char path[32], status[STATUS_MAX];
    ssize_t length;
    int fd;

    snprintf(path, sizeof path, "%.16s/status", pid);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    /* A process may go while it is being looked at. */
    if (fd < 0)
        return false;
    length = read(fd, status, sizeof status - 1);
    fd_close(&fd);
    if (length <= 0)
        return false;
    status[length] = '\0';
    return line_has_id(status, "\nUid:\t", id) || line_has_id(status, "\nGid:\t", id);
}

static int
is_running(uint32_t id)
{
    DIR *listing = opendir("/proc");
    struct dirent *entry;
    bool found = false;

    if (listing == NULL)
        return -errno;
    while (!found && (entry = readdir(listing)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            found = process_has_id(dirfd(listing), entry->d_name, id);
    closedir(listing);
    return found;
}

int
uids_host_uses(uint32_t id)
{
    int result = is_known(id);

    return result != 0 ? result : is_running(id);
}
