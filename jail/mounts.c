/*
 * The room: a directory in a tmpfs of the process's own, filled with what the description names, which becomes its root. All of it is
 * done as the host's root, in a mount namespace that the host's user namespace owns.
 */
#include "jail/child.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOM "room"
#define PATH_ROOM 4096

static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/urandom" };

/* Opens `name` in `directory`, made where it is missing: an empty file or a directory. A link is not followed. */
static int
open_component(int directory, const char *name, bool is_directory)
{
    struct stat status;
    int fd;

    if (strcmp(name, "..") == 0)
        return -EINVAL;
    if (is_directory) {
        if (mkdirat(directory, name, 0755) < 0 && errno != EEXIST)
            return -errno;
    } else if (mknodat(directory, name, S_IFREG | 0644, 0) < 0 && errno != EEXIST) {
        return -errno;
    }
    fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC | (is_directory ? O_DIRECTORY : 0));
    if (fd < 0)
        return -errno;
    /* O_PATH opens a link itself, which could be mounted over. */
    if (fstat(fd, &status) < 0 || S_ISLNK(status.st_mode)) {
        fd_close(&fd);
        return -ELOOP;
    }
    return fd;
}

/* Makes all of `path` in the room, and opens what is to be mounted over. */
static int
open_target(int room, const char *path, bool is_directory)
{
    char parts[PATH_ROOM], *next = parts, *name;
    int fd = fcntl(room, F_DUPFD_CLOEXEC, 0);

    if (strlcpy(parts, path, sizeof parts) >= sizeof parts)
        return -ENAMETOOLONG;
    while (fd >= 0 && (name = strsep(&next, "/")) != NULL) {
        bool last = next == NULL || next[strspn(next, "/")] == '\0';
        int inner;

        if (*name == '\0')
            continue;
        inner = open_component(fd, name, !last || is_directory);
        fd_close(&fd);
        fd = inner;
    }
    return fd;
}

/* A detached copy of what is at `source`, with all that is mounted below it, and its attributes set before it is seen anywhere. */
static int
clone_tree(const char *source, uint64_t attributes)
{
    struct mount_attr wanted = { .attr_set = attributes };
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

    if (tree < 0)
        return -errno;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &wanted, sizeof wanted) < 0) {
        int result = -errno;

        fd_close(&tree);
        return result;
    }
    return tree;
}

static int
bind(int room, const char *source, const char *target, uint64_t attributes)
{
    struct stat status;
    int tree, place, result = 0;

    if (stat(source, &status) < 0)
        return -errno;
    tree = clone_tree(source, attributes);
    if (tree < 0)
        return tree;
    place = open_target(room, target, S_ISDIR(status.st_mode));
    if (place < 0)
        result = place;
    else if (syscall(SYS_move_mount, tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        result = -errno;
    if (place >= 0)
        fd_close(&place);
    fd_close(&tree);
    return result;
}

static int
bind_all(struct child *child, int room)
{
    const struct jail *jail = child->jail;

    for (size_t i = 0; i < jail->mount_count; i++) {
        const struct jail_mount *mount = &jail->mounts[i];
        int result;

        child_begin(child, "cannot show %s at %s", mount->source, mount->target);
        result = bind(room, mount->source, mount->target,
                      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mount->writable ? 0 : MOUNT_ATTR_RDONLY));
        if (result < 0)
            return result;
    }
    for (size_t i = 0; jail->devices && i < sizeof devices / sizeof devices[0]; i++) {
        int result;

        child_begin(child, "cannot show %s", devices[i]);
        result = bind(room, devices[i], devices[i], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        if (result < 0)
            return result;
    }
    return 0;
}

/* The /proc of the pid namespace that this process begins: its own processes and nothing of the system's. */
static int
mount_proc(int room)
{
    char path[64];
    int place = open_target(room, "/proc", true), result = 0;

    if (place < 0)
        return place;
    snprintf(path, sizeof path, "/proc/self/fd/%d", place);
    if (mount("proc", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid,hidepid=2") < 0)
        result = -errno;
    fd_close(&place);
    return result;
}

/* Makes the mounted tmpfs the root of the namespace, and lets go of all else. */
static int
pivot(const struct jail *jail)
{
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };

    /* pivot_root(2) with one directory for both puts the old root on top of the new one. */
    if (chdir(jail->root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0)
        return -errno;
    if (jail->root_bytes == 0 && syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &read_only, sizeof read_only) < 0)
        return -errno;
    return 0;
}

int
mounts_close_room(void)
{
    return chdir("/" ROOM) < 0 || chroot(".") < 0 || chdir("/") < 0 ? -errno : 0;
}

int
mounts_enter(struct child *child)
{
    const struct jail *jail = child->jail;
    char options[64];
    int room, result;

    child_begin(child, "cannot part its mounts from the host's");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    child_begin(child, "cannot mount its root over %s", jail->root);
    snprintf(options, sizeof options, "mode=0755,size=%llu,nr_inodes=16384",
             (unsigned long long)(jail->root_bytes > 0 ? jail->root_bytes : 1 << 20));
    if (mount("vmsup", jail->root, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0 || chdir(jail->root) < 0)
        return -errno;
    umask(022);
    if (mkdir(ROOM, 0755) < 0)
        return -errno;
    /* Where it may write, the room is its own. */
    if (jail->root_bytes > 0 && chown(ROOM, jail->uid, jail->gid) < 0)
        return -errno;
    room = open(ROOM, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (room < 0)
        return -errno;
    result = bind_all(child, room);
    if (result == 0 && jail->proc) {
        child_begin(child, "cannot mount /proc");
        result = mount_proc(room);
    }
    fd_close(&room);
    umask(077);
    if (result == 0)
        child_begin(child, "cannot make the tmpfs its root");
    return result == 0 ? pivot(jail) : result;
}
