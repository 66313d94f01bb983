/* What unit tests of files need: a folder of the test's own, and how many descriptors are open. For cmocka's tests; each call that fails ends its test. */
#ifndef VMSUP_TESTS_UNIT_SCRATCH_H
#define VMSUP_TESTS_UNIT_SCRATCH_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct scratch {
    char path[64];
};

/* A set-up: *state becomes the folder, made anew. */
static inline int
scratch_make(void **state)
{
    static struct scratch scratch;

    strlcpy(scratch.path, "/tmp/vmsup-test.XXXXXX", sizeof scratch.path);
    *state = &scratch;
    return mkdtemp(scratch.path) == NULL ? -1 : 0;
}

/* Its tear-down: the folder goes with all that is in it. */
static inline int
scratch_remove(void **state)
{
    const struct scratch *scratch = *state;
    char command[96];

    snprintf(command, sizeof command, "rm -rf '%s'", scratch->path);
    return system(command);
}

static inline size_t
scratch_count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

#endif
