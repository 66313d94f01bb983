#include "jail/child.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Above all numbers that a description may give. */
#define FIRST_SPARE 64

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
close_from(unsigned first, unsigned last)
{
    return first > last || syscall(SYS_close_range, first, last, 0) == 0 ? 0 : -errno;
}

/* Closes all from FIRST_SPARE on but the socket and the program, both close-on-exec. */
static int
close_others(const struct child *child)
{
    unsigned low = (unsigned)(child->socket < child->executable ? child->socket : child->executable);
    unsigned high = (unsigned)(child->socket < child->executable ? child->executable : child->socket);
    int result = close_from(FIRST_SPARE, low - 1);

    if (result == 0)
        result = close_from(low + 1, high - 1);
    return result == 0 ? close_from(high + 1, ~0u) : result;
}

int
descriptors_arrange(struct child *child)
{
    const struct jail *jail = child->jail;
    int moved[JAIL_FDS_MAX], result = move_up(&child->socket);
    bool used[FIRST_SPARE] = { false };

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
        used[jail->fds[i].number] = true;
        if (dup2(moved[i], jail->fds[i].number) < 0)
            result = -errno;
    }
    for (unsigned number = 0; number < FIRST_SPARE && result == 0; number++)
        if (!used[number])
            result = close_from(number, number);
    return result == 0 ? close_others(child) : result;
}
