#include "supervisor/cgroup_files.h"

#include "common/fd.h"
#include "supervisor/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* A host with thousands of mounts. */
#define MOUNTINFO_MAX (4 << 20)
#define CONTROLLER_MAX 32

int
cgroup_parse_key(const char *text, const char *key, uint64_t *number)
{
    size_t length = strlen(key);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        char *end;

        if (*line == '\n')
            line++;
        if (strncmp(line, key, length) != 0 || line[length] != ' ')
            continue;
        errno = 0;
        *number = strtoull(line + length + 1, &end, 10);
        return errno != 0 || end == line + length + 1 ? -EBADMSG : 0;
    }
    return -ENOENT;
}

int
cgroup_read_key(int fd, const char *key, uint64_t *number)
{
    char text[CGROUP_FILE_MAX];
    ssize_t length = pread(fd, text, sizeof text - 1, 0);

    if (length < 0)
        return -errno;
    text[length] = '\0';
    return cgroup_parse_key(text, key, number);
}

bool
cgroup_has_word(const char *text, const char *word)
{
    size_t length = strlen(word);

    while (*text != '\0') {
        size_t found = strcspn(text, " \n");

        if (found == length && memcmp(text, word, length) == 0)
            return true;
        text += found;
        text += strspn(text, " \n");
    }
    return false;
}

int
cgroup_enable(int directory, const char *controller)
{
    char text[CGROUP_FILE_MAX], word[CONTROLLER_MAX];
    ssize_t length = fd_read_file(directory, "cgroup.subtree_control", text, sizeof text);

    if (length < 0)
        return (int)length;
    if (cgroup_has_word(text, controller))
        return 0;
    length = fd_read_file(directory, "cgroup.controllers", text, sizeof text);
    if (length < 0)
        return (int)length;
    if (!cgroup_has_word(text, controller))
        return -ENOENT;
    snprintf(word, sizeof word, "+%s", controller);
    return fd_write_file(directory, "cgroup.subtree_control", word);
}

/* proc(5), mountinfo: blanks and the like are written as three octal digits after a backslash. */
static int
unescape(const char *text, size_t length, char path[PATH_MAX])
{
    size_t made = 0;

    for (size_t i = 0; i < length; i++) {
        char byte = text[i];

        if (byte == '\\' && length - i > 3) {
            byte = (char)((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
            i += 3;
        }
        if (made == PATH_MAX - 1)
            return -ENAMETOOLONG;
        path[made++] = byte;
    }
    path[made] = '\0';
    return 0;
}

/* One line: its root must be "/" and its type cgroup2; then *path is where it is mounted. */
static int
parse_mount(char *line, char path[PATH_MAX])
{
    char *type = strstr(line, " - "), *fields[5];

    if (type == NULL || strncmp(type + 3, "cgroup2 ", 8) != 0)
        return -ENOENT;
    for (size_t i = 0; i < 5; i++) {
        fields[i] = strsep(&line, " ");
        if (line == NULL)
            return -ENOENT;
    }
    if (strcmp(fields[3], "/") != 0)
        return -ENOENT;
    return unescape(fields[4], strlen(fields[4]), path);
}

int
cgroup_find_mount(const char *mountinfo, char path[PATH_MAX])
{
    char *copy = strdup(mountinfo), *rest = copy, *line;
    int result = -ENOENT;

    if (copy == NULL)
        return -ENOMEM;
    while (result == -ENOENT && (line = strsep(&rest, "\n")) != NULL)
        result = parse_mount(line, path);
    free(copy);
    return result;
}

int
cgroup_open_mount(char *path)
{
    char *mountinfo = malloc(MOUNTINFO_MAX);
    struct statfs status;
    ssize_t length;
    int fd, result;

    if (mountinfo == NULL)
        return -ENOMEM;
    length = fd_read_file(AT_FDCWD, "/proc/self/mountinfo", mountinfo, MOUNTINFO_MAX);
    result = length < 0 ? (int)length : cgroup_find_mount(mountinfo, path);
    free(mountinfo);
    if (result < 0)
        return result;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    /* Something else may be mounted over it. */
    if (fstatfs(fd, &status) < 0 || status.f_type != CGROUP2_SUPER_MAGIC) {
        fd_close(&fd);
        return -ENOENT;
    }
    return fd;
}
