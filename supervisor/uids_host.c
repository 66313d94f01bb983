#include "supervisor/uids_host.h"

#include "common/fd.h"
#include "supervisor/options_value.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* /etc/subuid of a host with as many users as ranges are taken. */
#define SUBORDINATE_FILE_MAX (4 << 20)

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

int
uids_host_knows(uint32_t id)
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
