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
#define DEVICES (sizeof devices / sizeof devices[0])

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

/* What is to be seen at `target`, taken from the host and not yet put there. */
struct view {
    const char *source, *target;
    int tree;
    bool is_directory;
};

struct views {
    struct view view[JAIL_MOUNTS_MAX + DEVICES];
    size_t count;
};

static int
take_view(struct views *views, const char *source, const char *target, uint64_t attributes)
{
    struct stat status;
    int tree;

    if (stat(source, &status) < 0)
        return -errno;
    tree = clone_tree(source, attributes);
    if (tree < 0)
        return tree;
    views->view[views->count++] = (struct view){ source, target, tree, S_ISDIR(status.st_mode) };
    return 0;
}

/* Before the new root is mounted: the directory that it covers may hold what is to be shown. */
static int
take_views(struct child *child, struct views *views)
{
    const struct jail *jail = child->jail;
    int result = 0;

    for (size_t i = 0; result == 0 && i < jail->mount_count; i++) {
        const struct jail_mount *mount = &jail->mounts[i];

        child_begin(child, "cannot show %s at %s", mount->source, mount->target);
        result = take_view(views, mount->source, mount->target,
                           MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mount->writable ? 0 : MOUNT_ATTR_RDONLY));
    }
    for (size_t i = 0; jail->devices && result == 0 && i < DEVICES; i++) {
        child_begin(child, "cannot show %s at %s", devices[i], devices[i]);
        result = take_view(views, devices[i], devices[i], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    }
    return result;
}

static int
put_tree(int room, int tree, const char *target, bool is_directory)
{
    int place = open_target(room, target, is_directory), result = 0;

    if (place < 0)
        return place;
    if (syscall(SYS_move_mount, tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        result = -errno;
    fd_close(&place);
    return result;
}

static bool
is_executable(const struct child *child, int tree)
{
    struct stat wanted, each;

    return fstat(child->jail->executable, &wanted) == 0 && fstat(tree, &each) == 0 && wanted.st_dev == each.st_dev &&
           wanted.st_ino == each.st_ino;
}

/*
 * The program is executed where it is shown, if it is: /proc/self/exe leads to what was executed, mount and all, and the host's mount may
 * be writable.
 */
static int
put_views(struct child *child, int room, struct views *views)
{
    bool executable_found = false;

    for (size_t i = 0; i < views->count; i++) {
        struct view *view = &views->view[i];
        int result;

        child_begin(child, "cannot show %s at %s", view->source, view->target);
        result = put_tree(room, view->tree, view->target, view->is_directory);
        if (result < 0)
            return result;
        if (!executable_found && is_executable(child, view->tree)) {
            executable_found = true;
            child->executable = view->tree;
        } else {
            fd_close(&view->tree);
        }
    }
    return 0;
}

/* A new file system that is mounted nowhere yet. `parameters` are names and values in turns, NULL at the end. */
static int
make_tree(const char *type, const char *const *parameters, uint64_t attributes)
{
    int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), tree = -1;
    bool good = context >= 0;

    for (; good && *parameters != NULL; parameters += 2)
        good = syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, parameters[0], parameters[1], 0) == 0;
    good = good && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0;
    if (good)
        tree = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
    if (tree < 0)
        tree = -errno;
    fd_close(&context);
    return tree;
}

/*
 * The /proc of the pid namespace that this process begins: its own processes and nothing of the system's. Read-only: where the supervisor
 * had no CAP_SYS_RESOURCE, the kernel lets a process take back the score that it was given for when memory runs out.
 */
static int
mount_proc(int room)
{
    static const char *const parameters[] = { "source", "proc", "subset", "pid", "hidepid", "2", NULL };
    int tree = make_tree("proc", parameters, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    int result;

    if (tree < 0)
        return tree;
    result = put_tree(room, tree, "/proc", true);
    fd_close(&tree);
    return result;
}

/* Entered by its descriptor: a path may lead to what lies beneath it. */
static int
mount_root(const struct jail *jail)
{
    char size[24];
    const char *const parameters[] = { "source", "vmsup", "mode", "0755", "size", size, "nr_inodes", "16384", NULL };
    int place = open(jail->root, O_PATH | O_DIRECTORY | O_CLOEXEC), tree, result = 0;

    if (place < 0)
        return -errno;
    snprintf(size, sizeof size, "%llu", (unsigned long long)(jail->root_bytes > 0 ? jail->root_bytes : 1 << 20));
    tree = make_tree("tmpfs", parameters, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (tree < 0)
        result = tree;
    else if (syscall(SYS_move_mount, tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 || fchdir(tree) < 0)
        result = -errno;
    fd_close(&tree);
    fd_close(&place);
    return result;
}

/* The room, in the tmpfs that is the current directory. */
static int
make_room(void)
{
    int room;

    if (mkdir(ROOM, 0755) < 0)
        return -errno;
    room = open(ROOM, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return room < 0 ? -errno : room;
}

/* Makes the mounted tmpfs, which is the current directory, the root of the namespace, and lets go of all else. */
static int
pivot(const struct jail *jail)
{
    struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };

    /* pivot_root(2) with one directory for both puts the old root on top of the new one. */
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    if (jail->root_bytes == 0 && syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &read_only, sizeof read_only) < 0)
        return -errno;
    return 0;
}

/* Where it may write, the room is its own. */
int
mounts_give_room(const struct child *child)
{
    if (child->jail->root_bytes == 0)
        return 0;
    return chown("/" ROOM, child->terms.uid, child->terms.gid) < 0 ? -errno : 0;
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
    struct views views = { .count = 0 };
    int room, result;

    child_begin(child, "cannot part its mounts from the host's");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    result = take_views(child, &views);
    if (result < 0)
        return result;
    child_begin(child, "cannot mount its root over %s", jail->root);
    result = mount_root(jail);
    if (result < 0)
        return result;
    umask(022);
    room = make_room();
    if (room < 0)
        return room;
    result = put_views(child, room, &views);
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
