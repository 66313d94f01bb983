#include "supervisor/grants.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* Where a file's bytes are parted between the two locks: beyond what any file has. */
#define LOCK_PARTING (INT64_C(1) << 62)

static int
refuse(const struct options_grant *wanted, const char *what, struct failure *failure)
{
    return failure_set(failure, EX_CONFIG, -EINVAL, "%s %.256s: %s", wanted->option, wanted->path, what);
}

static int
system_failure(const struct options_grant *wanted, int error, const char *expected, struct failure *failure)
{
    int exit_code = EX_NOINPUT;

    if (error == EACCES || error == EPERM || error == EROFS)
        exit_code = EX_NOPERM;
    else if (error == EBUSY || error == ETXTBSY)
        exit_code = EX_TEMPFAIL;
    return failure_set(failure, exit_code, -error, "%s %.256s: %s: expected %s", wanted->option, wanted->path, strerror(error), expected);
}

static bool
is_of_vms(const struct options *options, uint32_t id)
{
    return id >= options->uid_first && id - options->uid_first < options->uid_count;
}

/* Before it is opened: opening a device or a FIFO does something. */
static int
check_status(const struct options *options, const struct options_grant *wanted, const struct stat *status, struct failure *failure)
{
    if (S_ISLNK(status->st_mode))
        return refuse(wanted, "is a symbolic link: expected the file itself", failure);
    if (!S_ISREG(status->st_mode) && !S_ISBLK(status->st_mode))
        return refuse(wanted, "is neither a regular file nor a block device: expected one of them", failure);
    if (is_of_vms(options, status->st_uid) || is_of_vms(options, status->st_gid))
        return refuse(wanted, "belongs to an id that VMs run under: expected another owner and group", failure);
    if ((status->st_mode & S_IWOTH) != 0)
        return refuse(wanted, "may be written by everybody: expected a mode without that", failure);
    return 0;
}

/* The same file again, by a description of its own. */
static int
reopen(int fd, int flags)
{
    char path[64];
    int opened;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    opened = open(path, flags | O_CLOEXEC | O_NOCTTY);
    return opened < 0 ? -errno : opened;
}

static int
open_given(const struct options_grant *wanted, int file, struct grant *grant, struct failure *failure)
{
    const int access = wanted->writable ? O_RDWR : O_RDONLY;

    grant->fd = reopen(file, access | (wanted->direct ? O_DIRECT : 0));
    if (grant->fd == -EINVAL && wanted->direct)
        return refuse(wanted, "its file system has no O_DIRECT: expected a disk without \"direct\"", failure);
    if (grant->fd < 0)
        return system_failure(wanted, -grant->fd, wanted->writable ? "what can be read and written" : "what can be read", failure);
    return 0;
}

static int
lock_bytes(int fd, bool exclusive, off_t start, off_t length)
{
    struct flock lock = { .l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* The grant of this same VM's that has the file locked, or NULL. */
static const struct grant *
find_holder(const struct grants *grants, const struct stat *status)
{
    struct stat each;

    for (size_t i = 0; i < grants->count; i++)
        if (grants->grant[i].lock >= 0 && fstat(grants->grant[i].lock, &each) == 0 && each.st_dev == status->st_dev &&
            each.st_ino == status->st_ino)
            return &grants->grant[i];
    return NULL;
}

static int
lock_failure(const struct grants *grants, const struct options_grant *wanted, const struct stat *status, int error,
             struct failure *failure)
{
    const struct grant *holder = find_holder(grants, status);
    const char *expected = wanted->writable ? "a file that nobody else uses" : "a file that nobody else writes";

    if (error != -EAGAIN && error != -EACCES)
        return failure_set(failure, EX_OSERR, error, "%s %.256s: cannot be locked: %s", wanted->option, wanted->path, strerror(-error));
    if (holder != NULL)
        return failure_set(failure, EX_CONFIG, error, "%s %.256s: is granted as %s already: expected each once, or all read-only",
                           wanted->option, wanted->path, holder->name);
    return failure_set(failure, EX_TEMPFAIL, error, "%s %.256s: is locked by another process, such as another VM: expected %s",
                       wanted->option, wanted->path, expected);
}

/* A disk that the host itself has mounted, or is made of others, cannot be had with O_EXCL: a lock on it would mean nothing. */
static int
take_lock(const struct grants *grants, const struct options_grant *wanted, int file, const struct stat *status, struct grant *grant,
          struct failure *failure)
{
    int result;

    grant->lock = reopen(file, wanted->writable ? O_RDWR | (S_ISBLK(status->st_mode) ? O_EXCL : 0) : O_RDONLY);
    if (grant->lock == -EBUSY && find_holder(grants, status) != NULL)
        return lock_failure(grants, wanted, status, -EAGAIN, failure);
    if (grant->lock < 0)
        return system_failure(wanted, -grant->lock, "what is not in use", failure);
    result = lock_bytes(grant->lock, wanted->writable, 0, LOCK_PARTING);
    if (result == 0)
        result = lock_bytes(grant->fd, wanted->writable, LOCK_PARTING, 0);
    return result < 0 ? lock_failure(grants, wanted, status, result, failure) : 0;
}

static int
open_grant(const struct options *options, const struct options_grant *wanted, struct grants *grants, struct failure *failure)
{
    int file = open(wanted->path, O_PATH | O_NOFOLLOW | O_CLOEXEC), result;
    struct grant *grant = &grants->grant[grants->count];
    struct stat status;

    *grant = (struct grant){ .name = wanted->name, .fd = -1, .lock = -1 };
    if (file < 0 || fstat(file, &status) < 0)
        result = system_failure(wanted, errno, "an existing file or block device", failure);
    else
        result = check_status(options, wanted, &status, failure);
    if (result == 0)
        result = open_given(wanted, file, grant, failure);
    if (result == 0 && wanted->lock)
        result = take_lock(grants, wanted, file, &status, grant, failure);
    fd_close(&file);
    grants->count++;
    return result;
}

int
grants_open(const struct options *options, struct grants *grants, struct failure *failure)
{
    int result = 0;

    grants->count = 0;
    for (size_t i = 0; result == 0 && i < options->grant_count; i++)
        result = open_grant(options, &options->grants[i], grants, failure);
    if (result < 0)
        grants_close(grants);
    return result;
}

int
grants_add(struct grants *grants, const char *name, int *fd)
{
    if (grants->count == GRANTS_MAX) {
        fd_close(fd);
        return -E2BIG;
    }
    grants->grant[grants->count++] = (struct grant){ .name = name, .fd = fd_take(fd), .lock = -1 };
    return 0;
}

char *
grants_describe(const struct grants *grants, const char *variable, int first)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    if (stream == NULL)
        return NULL;
    fprintf(stream, "%s", variable);
    for (size_t i = 0; i < grants->count; i++)
        fprintf(stream, "%s%s=%d", i > 0 ? "," : "=", grants->grant[i].name, first + (int)i);
    if (fclose(stream) == 0)
        return text;
    free(text);
    return NULL;
}

void
grants_hand_over(struct grants *grants)
{
    for (size_t i = 0; i < grants->count; i++)
        fd_close(&grants->grant[i].fd);
}

void
grants_close(struct grants *grants)
{
    grants_hand_over(grants);
    for (size_t i = 0; i < grants->count; i++)
        fd_close(&grants->grant[i].lock);
    grants->count = 0;
}
