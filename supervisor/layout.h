/*
 * Where the program's other files are: beside it in a build folder (vmproc, plugin/microvm, policy/), or below the prefix it is installed in
 * (../libexec/vmsup/, ../share/vmsup/policy), found from /proc/self/exe so that a tree can be moved.
 */
#ifndef VMSUP_SUPERVISOR_LAYOUT_H
#define VMSUP_SUPERVISOR_LAYOUT_H

#include "supervisor/failure.h"

#include <limits.h>

struct layout {
    char vmproc[PATH_MAX];
    char microvm[PATH_MAX]; /* need not be there */
    char policies[PATH_MAX]; /* a folder */
};

/* 0 or a negative errno with `failure` filled (EX_CONFIG). */
int layout_find(struct layout *layout, struct failure *failure);

#endif
