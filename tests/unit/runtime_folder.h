/*
 * A runtime folder with that of a VM called "demo" in it, for tests of what lies there: made before a test and removed after it, by
 * cmocka's setup and teardown. Whoever includes this has the only one, `runtime`.
 */
#ifndef VMSUP_TESTS_UNIT_RUNTIME_FOLDER_H
#define VMSUP_TESTS_UNIT_RUNTIME_FOLDER_H

#include "supervisor/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct runtime runtime;

static inline int
make_folder(void **state)
{
    char base[] = "/tmp/vmsup-link.XXXXXX", path[128];

    (void)state;
    if (mkdtemp(base) == NULL)
        return -1;
    runtime = (struct runtime){ .name = "demo" };
    strlcpy(runtime.path, base, sizeof runtime.path);
    snprintf(path, sizeof path, "%s/demo", base);
    return mkdir(path, 0700);
}

static inline int
remove_folder(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", runtime.path);
    return system(command);
}

#endif
