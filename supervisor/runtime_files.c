#include "supervisor/runtime_files.h"

#include "common/fd.h"
#include "supervisor/options_value.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include <vis.h>

/* Entries that one folder may have before emptying it is given up: nobody but the supervisor puts any in. */
#define FOLDER_ENTRIES_MAX 1024

static bool
is_trusted(int fd, mode_t type)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return false;
    return (status.st_mode & S_IFMT) == type && status.st_uid == geteuid() && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

int
runtime_open_folder(int base, const char *name, int *folder)
{
    int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno == ELOOP || errno == ENOTDIR ? -EPERM : -errno;
    if (!is_trusted(fd, S_IFDIR)) {
        fd_close(&fd);
        return -EPERM;
    }
    *folder = fd;
    return 0;
}

int
runtime_open_base(const char *path, bool make, int *base, struct failure *failure)
{
    int result;

    if (make && mkdir(path, 0755) < 0 && errno != EEXIST)
        return failure_set(failure, EX_CANTCREAT, -errno, "--runtime-dir %s: %s", path, strerror(errno));
    result = runtime_open_folder(AT_FDCWD, path, base);
    if (result == -EPERM)
        return failure_set(failure, EX_NOPERM, result, "--runtime-dir %s: expected a folder of one's own that nobody else can write%s",
                           path, geteuid() != 0 ? ": run this as root" : "");
    if (result < 0)
        return failure_set(failure, result == -EACCES ? EX_NOPERM : EX_NOINPUT, result, "--runtime-dir %s: %s", path,
                           strerror(-result));
    return 0;
}

static DIR *
open_listing(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing;

    if (fd < 0)
        return NULL;
    listing = fdopendir(fd);
    if (listing == NULL)
        fd_close(&fd);
    return listing;
}

int
runtime_empty_folder(int folder)
{
    DIR *listing = open_listing(folder);
    struct dirent *entry;
    int count = 0, result = 0;

    if (listing == NULL)
        return -errno;
    while (result == 0 && (entry = readdir(listing)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (++count > FOLDER_ENTRIES_MAX)
            result = -E2BIG;
        else if (unlinkat(folder, entry->d_name, 0) < 0 && unlinkat(folder, entry->d_name, AT_REMOVEDIR) < 0)
            result = -errno;
    }
    closedir(listing);
    return result < 0 ? result : count;
}

int
runtime_replace_file(int folder, const char *name, const char *text)
{
    char new_name[NAME_MAX];
    int fd, result;

    snprintf(new_name, sizeof new_name, ".%s", name);
    if (unlinkat(folder, new_name, 0) < 0 && errno != ENOENT)
        return -errno;
    fd = openat(folder, new_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    result = fd_write_all(fd, text, strlen(text));
    fd_close(&fd);
    if (result == 0 && renameat(folder, new_name, folder, name) < 0)
        result = -errno;
    if (result < 0)
        unlinkat(folder, new_name, 0);
    return result;
}

static int
read_trusted_file(int folder, const char *name, char *text, size_t capacity)
{
    int result, fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t length;

    if (fd < 0)
        return -errno;
    if (!is_trusted(fd, S_IFREG)) {
        result = -EPERM;
    } else {
        length = read(fd, text, capacity - 1);
        result = length < 0 ? -errno : 0;
        text[length < 0 ? 0 : length] = '\0';
    }
    fd_close(&fd);
    return result;
}

pid_t
runtime_read_pid(int folder)
{
    char text[24];
    uint64_t pid;

    if (read_trusted_file(folder, RUNTIME_PID_NAME, text, sizeof text) < 0)
        return 0;
    text[strcspn(text, "\n")] = '\0';
    return value_number(text, 1, INT32_MAX, &pid) == 0 ? (pid_t)pid : 0;
}

void
runtime_reason_format(time_t now, int exit_code, const char *text, char file[RUNTIME_REASON_FILE_MAX])
{
    /* A byte is shown as four at most; what is then too long is cut. */
    char shown[4 * RUNTIME_REASON_MAX + 1], cut[RUNTIME_REASON_MAX];

    strlcpy(cut, text, sizeof cut);
    if (strnvis(shown, sizeof shown, cut, VIS_CSTYLE | VIS_TAB | VIS_NL) < 0)
        strlcpy(shown, "(a reason that cannot be shown)", sizeof shown);
    snprintf(file, RUNTIME_REASON_FILE_MAX, "%" PRId64 " %d %.*s\n", (int64_t)now, exit_code, RUNTIME_REASON_MAX - 1, shown);
}

int
runtime_reason_parse(const char *file, struct runtime_reason *reason)
{
    char line[RUNTIME_REASON_FILE_MAX], *rest = line, *time_text, *code_text;
    uint64_t when, code;

    if (strlcpy(line, file, sizeof line) >= sizeof line)
        return -EBADMSG;
    line[strcspn(line, "\n")] = '\0';
    time_text = strsep(&rest, " ");
    code_text = strsep(&rest, " ");
    if (code_text == NULL || rest == NULL)
        return -EBADMSG;
    if (value_number(time_text, 0, INT64_MAX, &when) < 0 || value_number(code_text, 0, 255, &code) < 0)
        return -EBADMSG;
    for (const char *byte = rest; *byte != '\0'; byte++)
        if ((unsigned char)*byte < ' ' || (unsigned char)*byte == 0x7f)
            return -EBADMSG;
    *reason = (struct runtime_reason){ .time = (int64_t)when, .exit_code = (int)code };
    strlcpy(reason->text, rest, sizeof reason->text);
    return 0;
}

int
runtime_read_reason(int last, const char *name, struct runtime_reason *reason)
{
    char file[RUNTIME_REASON_FILE_MAX];
    int result = read_trusted_file(last, name, file, sizeof file);

    return result < 0 ? result : runtime_reason_parse(file, reason);
}
