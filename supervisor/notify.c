#include "supervisor/notify.h"

#include "policy/policy.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* The kernel writes its own idea of the structure, which may be longer than the one this was built with. */
union notification {
    struct seccomp_notif notif;
    char room[512];
};

int
notify_take(int listener, const char *process, const char *policy, char *text, size_t size)
{
    union notification taken;
    const struct seccomp_data *call = &taken.notif.data;
    char name[64];

    memset(&taken, 0, sizeof taken);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &taken) < 0)
        return errno == ENOENT || errno == EINTR ? -EAGAIN : -errno;
    policy_call_name(call->nr, name, sizeof name);
    snprintf(text, size, "%s killed by SIGSYS: `%s` is not in %s (arguments %#llx %#llx %#llx %#llx %#llx %#llx, process %u)", process,
             name, policy, (unsigned long long)call->args[0], (unsigned long long)call->args[1], (unsigned long long)call->args[2],
             (unsigned long long)call->args[3], (unsigned long long)call->args[4], (unsigned long long)call->args[5],
             taken.notif.pid);
    return 0;
}
