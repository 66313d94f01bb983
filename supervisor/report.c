#include "supervisor/report.h"

#include "common/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_MAX 8192
#define COLUMNS "%-11s %-8s %-11s %-13s %-34s %s"

static const char *const namespaces[] = { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup" };

void
report_heading(char line[REPORT_LINE_MAX])
{
    snprintf(line, REPORT_LINE_MAX, COLUMNS, "process", "pid", "uid", "capabilities", "namespaces of its own", "filters");
}

/* The word after "Name:" in a status file; "?" where there is none. */
static void
find_field(const char *status, const char *name, char *out, size_t size)
{
    const char *line = strstr(status, name);

    strlcpy(out, "?", size);
    if (line == NULL)
        return;
    line += strlen(name);
    line += strspn(line, ":\t ");
    snprintf(out, size, "%.*s", (int)strcspn(line, "\t\n "), line);
}

static int
read_namespace(pid_t pid, const char *name, char *out, size_t size)
{
    char path[64];
    ssize_t length;

    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
    length = readlink(path, out, size - 1);
    if (length < 0)
        return -1;
    out[length] = '\0';
    return 0;
}

static void
list_namespaces(pid_t pid, char *out, size_t size)
{
    char theirs[64], ours[64];

    out[0] = '\0';
    for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++) {
        if (read_namespace(pid, namespaces[i], theirs, sizeof theirs) < 0 ||
            read_namespace(getpid(), namespaces[i], ours, sizeof ours) < 0 || strcmp(theirs, ours) == 0)
            continue;
        if (out[0] != '\0')
            strlcat(out, " ", size);
        strlcat(out, namespaces[i], size);
    }
    if (out[0] == '\0')
        strlcpy(out, "none", size);
}

static void
write_line(const char *name, pid_t pid, const char *status, const char *own, char line[REPORT_LINE_MAX])
{
    char number[16], uid[16], capabilities[32], filters[16];

    find_field(status, "\nUid", uid, sizeof uid);
    find_field(status, "\nCapEff", capabilities, sizeof capabilities);
    find_field(status, "\nSeccomp_filters", filters, sizeof filters);
    if (strtoull(capabilities, NULL, 16) == 0)
        strlcpy(capabilities, "none", sizeof capabilities);
    else if (strtoull(capabilities, NULL, 16) == 1u << CAP_KILL)
        strlcpy(capabilities, "kill", sizeof capabilities);
    snprintf(number, sizeof number, "%d", (int)pid);
    snprintf(line, REPORT_LINE_MAX, COLUMNS, name, number, uid, capabilities, own, filters);
}

void
report_process(const char *name, pid_t pid, char line[REPORT_LINE_MAX])
{
    char path[64], status[STATUS_MAX], own[64];

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (fd_read_file(AT_FDCWD, path, status, sizeof status) < 0)
        status[0] = '\0';
    list_namespaces(pid, own, sizeof own);
    write_line(name, pid, status, own, line);
}

void
report_self(const char *name, int status_fd, char line[REPORT_LINE_MAX])
{
    char status[STATUS_MAX];
    ssize_t length = pread(status_fd, status, sizeof status - 1, 0);

    status[length > 0 ? length : 0] = '\0';
    write_line(name, getpid(), status, "none", line);
}
