/* User and group ids, capabilities, and the user namespace. */
#include "jail/child.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MAP_TEXT_MAX 1024

int
ids_write_maps(const struct jail_start *start)
{
    const struct jail *jail = &start->jail;
    const int pid = start->process->pid;
    char path[64], map[MAP_TEXT_MAX];
    int length, result;

    snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
    snprintf(map, sizeof map, "0 %u 1\n", start->uid);
    result = fd_write_file(AT_FDCWD, path, map);
    if (result < 0)
        return result;
    length = snprintf(map, sizeof map, "0 %u 1\n", start->gid);
    for (size_t i = 0; i < jail->gid_map_count; i++) {
        const struct jail_id_map *each = &jail->gid_map[i];

        length += snprintf(map + length, sizeof map - (size_t)length, "%u %u %u\n", each->inner, each->outer, each->count);
        if ((size_t)length >= sizeof map)
            return -E2BIG;
    }
    snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
    return fd_write_file(AT_FDCWD, path, map);
}

int
ids_enter_user_namespace(struct child *child)
{
    /* The parent that cannot write the maps kills this process instead of answering. */
    return unshare(CLONE_NEWUSER) < 0 ? -errno : child_ask(child, CHILD_WANTS_MAPS);
}

int
ids_drop_bounding_set(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability) < 0)
            return -errno;
    return 0;
}

int
ids_lock_securebits(void)
{
    const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                               SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

    return prctl(PR_SET_SECUREBITS, bits) < 0 ? -errno : 0;
}

int
ids_change(const struct child *child)
{
    const uid_t uid = child->jail->user_namespace ? 0 : child->terms.uid;
    const gid_t gid = child->jail->user_namespace ? 0 : child->terms.gid;

    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    return 0;
}

int
ids_drop_capabilities(void)
{
    cap_t none = cap_init();
    int result = none == NULL || cap_set_proc(none) < 0 ? -errno : 0;

    if (none != NULL)
        cap_free(none);
    return result;
}

/* What was dropped must not come back. */
int
ids_prove_dropped(const struct child *child)
{
    const bool user_namespace = child->jail->user_namespace;
    const uid_t uid = user_namespace ? 0 : child->terms.uid;
    uid_t ruid, euid, suid;
    cap_t now = cap_get_proc(), none = cap_init();
    int result = -EPERM;

    if (now != NULL && none != NULL && cap_compare(now, none) == 0 && getresuid(&ruid, &euid, &suid) == 0 && ruid == uid &&
        euid == uid && suid == uid && getgroups(0, NULL) == 0 && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 0)
        result = 0;
    /* In a user namespace only 0 exists; elsewhere the host's root must be out of reach. */
    if (result == 0 && !user_namespace && (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0))
        result = -EPERM;
    if (result == 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0) == 0)
        result = -EPERM;
    if (now != NULL)
        cap_free(now);
    if (none != NULL)
        cap_free(none);
    return result;
}
