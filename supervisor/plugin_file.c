#include "supervisor/plugin_file.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <unistd.h>

static int
refuse(const char *path, const char *what, struct failure *failure)
{
    return failure_set(failure, EX_CONFIG, -EINVAL, "--plugin %.256s: %s", path, what);
}

static int
system_failure(const char *path, int error, struct failure *failure)
{
    return failure_set(failure, error == EACCES || error == EPERM ? EX_NOPERM : EX_NOINPUT, -error, "--plugin %.256s: %s", path,
                       strerror(error));
}

/* What the file is must be told before it is opened for reading: opening a device or a FIFO does something. */
static int
check_status(const char *path, int fd, struct failure *failure)
{
    struct stat status;
    struct statvfs system;

    if (fstat(fd, &status) < 0 || fstatvfs(fd, &system) < 0)
        return system_failure(path, errno, failure);
    if (S_ISDIR(status.st_mode))
        return refuse(path, "is a directory: expected a program", failure);
    if (!S_ISREG(status.st_mode))
        return refuse(path, "is no regular file: expected a program", failure);
    if ((status.st_mode & (S_ISUID | S_ISGID)) != 0)
        return refuse(path, "is setuid or setgid: expected a program that is neither", failure);
    if ((status.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
        return refuse(path, "is not executable: expected a program", failure);
    /* It runs under an id that owns nothing. */
    if ((status.st_mode & (S_IXOTH | S_IROTH)) != (S_IXOTH | S_IROTH))
        return refuse(path, "can be run by its owner or group only: expected a program that everybody may read and execute", failure);
    if ((system.f_flag & ST_NOEXEC) != 0)
        return refuse(path, "is on a file system that is mounted noexec: expected another", failure);
    return 0;
}

/* The same file again, readable. */
static int
reopen(int fd)
{
    char path[64];
    int readable;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    readable = open(path, O_RDONLY | O_CLOEXEC);
    return readable < 0 ? -errno : readable;
}

int
plugin_file_open(const char *path, struct plugin_file *file, struct failure *failure)
{
    int result, fd;

    *file = (struct plugin_file){ .fd = -1 };
    file->path = realpath(path, NULL);
    if (file->path == NULL)
        return system_failure(path, errno, failure);
    fd = open(file->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        result = system_failure(path, errno, failure);
    } else {
        result = check_status(path, fd, failure);
        if (result == 0) {
            file->fd = reopen(fd);
            if (file->fd < 0)
                result = system_failure(path, -file->fd, failure);
        }
    }
    fd_close(&fd);
    if (result < 0)
        plugin_file_close(file);
    return result;
}

void
plugin_file_close(struct plugin_file *file)
{
    fd_close(&file->fd);
    free(file->path);
    file->path = NULL;
}

static int
add_mount(struct plugin_mounts *mounts, const char *source, const char *target, bool writable)
{
    if (mounts->count == JAIL_MOUNTS_MAX)
        return -E2BIG;
    mounts->mount[mounts->count++] = (struct jail_mount){ .source = source, .target = target, .writable = writable };
    return 0;
}

/* The admin's mounts come last: they may lie over the others, not beneath them. */
static int
add_mounts(const struct plugin_file *file, const struct options *options, struct plugin_mounts *mounts)
{
    int result = add_mount(mounts, file->path, file->path, false);

    for (size_t i = 0; result == 0 && i < mounts->files.count; i++)
        result = add_mount(mounts, mounts->files.file[i].source, mounts->files.file[i].path, false);
    for (size_t i = 0; result == 0 && i < options->mount_count; i++)
        result = add_mount(mounts, options->mounts[i].source, options->mounts[i].target, options->mounts[i].writable);
    return result;
}

int
plugin_file_mounts(const struct plugin_file *file, const struct options *options, struct plugin_mounts *mounts,
                   struct failure *failure)
{
    char error[ELF_ERROR_MAX];
    int result;

    *mounts = (struct plugin_mounts){ 0 };
    result = elf_find_files(file->fd, file->path, &mounts->files, error);
    if (result == -ENOMEM)
        return failure_set(failure, EX_OSERR, result, "--plugin %.256s: out of memory", file->path);
    if (result < 0)
        return failure_set(failure, EX_CONFIG, result, "--plugin: %s", error);
    result = add_mounts(file, options, mounts);
    if (result < 0) {
        plugin_mounts_free(mounts);
        return failure_set(failure, EX_CONFIG, result, "--plugin %.256s: too many libraries and mounts: expected at most %d", file->path,
                           JAIL_MOUNTS_MAX);
    }
    return 0;
}

void
plugin_mounts_free(struct plugin_mounts *mounts)
{
    elf_files_free(&mounts->files);
    mounts->count = 0;
}
