#include "supervisor/layout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* Room for what is added to the folder of the program. */
#define SUFFIX_MAX 64

int
layout_find(struct layout *layout, struct failure *failure)
{
    char folder[PATH_MAX - SUFFIX_MAX], *slash;
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);

    if (length < 0)
        return failure_set(failure, EX_OSERR, -errno, "cannot tell where this program is: %s", strerror(errno));
    folder[length] = '\0';
    slash = strrchr(folder, '/');
    if (slash != NULL)
        *slash = '\0';
    snprintf(layout->vmproc, sizeof layout->vmproc, "%s/vmproc", folder);
    snprintf(layout->microvm, sizeof layout->microvm, "%s/plugin/microvm", folder);
    snprintf(layout->policies, sizeof layout->policies, "%s/policy", folder);
    if (access(layout->vmproc, X_OK) == 0)
        return 0;
    snprintf(layout->vmproc, sizeof layout->vmproc, "%s/../libexec/vmsup/vmproc", folder);
    snprintf(layout->microvm, sizeof layout->microvm, "%s/../libexec/vmsup/microvm", folder);
    snprintf(layout->policies, sizeof layout->policies, "%s/../share/vmsup/policy", folder);
    if (access(layout->vmproc, X_OK) == 0)
        return 0;
    return failure_set(failure, EX_CONFIG, -ENOENT, "vmproc is neither beside this program in %s nor in %s/../libexec/vmsup", folder,
                       folder);
}
