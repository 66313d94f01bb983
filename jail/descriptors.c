#include "jail/child.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Above all numbers that a description may give. */
#define FIRST_SPARE 64
/* What the description has, the socket and the program. */
#define KEPT_MAX (JAIL_FDS_MAX + 2)

_Static_assert(FIRST_SPARE >= JAIL_FDS_MAX, "a jail's descriptors lie below the spare ones");

static int
move_up(int *fd)
{
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, FIRST_SPARE);

    if (moved < 0)
        return -errno;
    *fd = moved;
    return 0;
}

static int
close_range_of(unsigned first, unsigned last)
{
    return syscall(SYS_close_range, first, last, 0) == 0 ? 0 : -errno;
}

static int
compare_numbers(const void *left, const void *right)
{
    const int *a = left, *b = right;

    return (*a > *b) - (*a < *b);
}

/* Closes all but those listed, in whatever order they stand. */
static int
close_all_but(int *kept, size_t count)
{
    unsigned next = 0;
    int result = 0;

    qsort(kept, count, sizeof kept[0], compare_numbers);
    for (size_t i = 0; i < count && result == 0; i++) {
        if (kept[i] < 0 || (unsigned)kept[i] < next)
            continue;
        if ((unsigned)kept[i] > next)
            result = close_range_of(next, (unsigned)kept[i] - 1);
        next = (unsigned)kept[i] + 1;
    }
    return result == 0 ? close_range_of(next, ~0u) : result;
}

int
descriptors_shed(const struct child *child)
{
    const struct jail *jail = child->jail;
    int kept[KEPT_MAX] = { child->socket, child->executable };
    size_t count = 2;

    for (size_t i = 0; i < jail->fd_count; i++)
        kept[count++] = jail->fds[i].fd;
    return close_all_but(kept, count);
}

int
descriptors_arrange(struct child *child)
{
    const struct jail *jail = child->jail;
    int moved[JAIL_FDS_MAX], kept[KEPT_MAX], result = move_up(&child->socket);
    size_t count = 0;

    if (result == 0)
        result = move_up(&child->executable);
    /* All are moved out of the way before any takes its number: one's number may be another's present place. */
    for (size_t i = 0; i < jail->fd_count && result == 0; i++) {
        moved[i] = jail->fds[i].fd;
        result = move_up(&moved[i]);
    }
    for (size_t i = 0; i < jail->fd_count && result == 0; i++) {
        if (jail->fds[i].number < 0 || jail->fds[i].number >= FIRST_SPARE)
            return -EINVAL;
        kept[count++] = jail->fds[i].number;
        if (dup2(moved[i], jail->fds[i].number) < 0)
            result = -errno;
    }
    /* These two are close-on-exec. */
    kept[count++] = child->socket;
    kept[count++] = child->executable;
    return result == 0 ? close_all_but(kept, count) : result;
}
