/*
 * Descriptors: closing them once, and reading and writing all of something. A descriptor has one owner; who gives it away sets
 * its own variable to -1, and fd_close() does the same. Every function returns 0 or a negative errno unless it says otherwise.
 */
#ifndef VMSUP_COMMON_FD_H
#define VMSUP_COMMON_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Closes *fd unless it is negative, and sets it to -1. errno stays as it was. */
void fd_close(int *fd);
void fd_close_all(int *fds, size_t count);

/* Takes the descriptor out of *fd, leaving -1: ownership moves to the caller. */
int fd_take(int *fd);

int fd_set_nonblocking(int fd, bool on);
int fd_set_cloexec(int fd, bool on);

/* Writes or reads exactly `size` bytes, however many calls that takes. -EPIPE where a read meets the end too early. */
int fd_write_all(int fd, const void *data, size_t size);
int fd_read_all(int fd, void *data, size_t size);

/* Reads a whole file of at most `capacity` - 1 bytes and ends it with a NUL; gives its length, or -EFBIG. */
ssize_t fd_read_file(int directory, const char *path, char *buffer, size_t capacity);

/* Writes text to an existing file (of proc, sysfs or a cgroup) with one write(2). */
int fd_write_file(int directory, const char *path, const char *text);

#endif
