#include "supervisor/hold.h"

#ifdef VMSUP_TEST_POINTS

#include "common/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char point[32];
    int announce, release;
} hold = { .announce = -1, .release = -1 };

void
hold_init(void)
{
    const char *wanted = getenv("VMSUP_HOLD"), *path = wanted != NULL ? strchr(wanted, ':') : NULL;
    char release[PATH_MAX];

    if (path == NULL)
        return;
    snprintf(hold.point, sizeof hold.point, "%.*s", (int)(path - wanted), wanted);
    snprintf(release, sizeof release, "%s.go", path + 1);
    /* Open for both, a FIFO waits for nobody and holds what was written. */
    hold.announce = open(path + 1, O_RDWR | O_CLOEXEC);
    hold.release = open(release, O_RDWR | O_CLOEXEC);
}

void
hold_at(const char *point)
{
    char line[64], byte;

    if (hold.announce < 0 || hold.release < 0 || strcmp(point, hold.point) != 0)
        return;
    snprintf(line, sizeof line, "%s %d\n", point, (int)getpid());
    if (fd_write_all(hold.announce, line, strlen(line)) < 0)
        return;
    /* Once. A signal lets it go, too. */
    hold.point[0] = '\0';
    if (read(hold.release, &byte, 1) < 0)
        return;
}

#endif
