#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void
fd_close(int *fd)
{
    int saved_errno = errno;

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved_errno;
}

void
fd_close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fd_close(&fds[i]);
}

int
fd_take(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

int
fd_set_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int
fd_set_cloexec(int fd, bool on)
{
    return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

int
fd_write_all(int fd, const void *data, size_t size)
{
    const char *next = data;

    while (size > 0) {
        ssize_t written = write(fd, next, size);

        if (written < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        next += written;
        size -= (size_t)written;
    }
    return 0;
}

int
fd_read_all(int fd, void *data, size_t size)
{
    char *next = data;

    while (size > 0) {
        ssize_t got = read(fd, next, size);

        if (got < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (got == 0)
            return -EPIPE;
        next += got;
        size -= (size_t)got;
    }
    return 0;
}

ssize_t
fd_read_file(int directory, const char *path, char *buffer, size_t capacity)
{
    int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t result;

    if (fd < 0)
        return -errno;
    for (;;) {
        ssize_t got = read(fd, buffer + length, capacity - length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            result = -errno;
            break;
        }
        length += (size_t)got;
        if (length == capacity) {
            result = -EFBIG;
            break;
        }
        if (got == 0) {
            buffer[length] = '\0';
            result = (ssize_t)length;
            break;
        }
    }
    fd_close(&fd);
    return result;
}

int
fd_write_file(int directory, const char *path, const char *text)
{
    int result = 0, fd = openat(directory, path, O_WRONLY | O_CLOEXEC);
    size_t length = strlen(text);

    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, text, length);

    if (written < 0)
        result = -errno;
    else if ((size_t)written != length)
        result = -EIO;
    fd_close(&fd);
    return result;
}
