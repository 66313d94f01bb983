#include "probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct probe_attempt *const tables[] = { probe_files, probe_processes, probe_kernel };

static const struct probe_attempt *
find_attempt(const char *name)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct probe_attempt *each = tables[i]; each->name != NULL; each++)
            if (strcmp(each->name, name) == 0)
                return each;
    return NULL;
}

static void
list_attempts(void)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct probe_attempt *each = tables[i]; each->name != NULL; each++)
            printf("%s %d %d %s %s\n", each->name, each->refusals[0], each->refusals[1], each->stops[0], each->stops[1]);
}

/* The descriptors take the lowest free numbers, 4 and up, and are moved out of the way of what is counted. */
static int
take_command(struct probe_command *command)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(PROBE_FDS * sizeof(int))];
    } control;
    struct iovec part = { .iov_base = command, .iov_len = sizeof *command };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    int fds[PROBE_FDS];

    if (recvmsg(PROBE_FD_COMMAND, &message, 0) != sizeof *command || CMSG_FIRSTHDR(&message) == NULL)
        return -1;
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fds);
    for (int i = 0; i < PROBE_FDS; i++) {
        /* vmproc's filter has no dup2: what it may not move stays where it came. */
        if (fcntl(fds[i], F_DUPFD_CLOEXEC, PROBE_FD_HOST_PIDFD + i) != PROBE_FD_HOST_PIDFD + i)
            return -1;
        close(fds[i]);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    const struct probe_attempt *attempt;
    struct probe_command command;
    char line[64];
    int result, length;

    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        list_attempts();
        return 0;
    }
    if (take_command(&command) < 0 || (attempt = find_attempt(command.attempt)) == NULL)
        return 64;
    result = attempt->function(&command);
    length = result == 0 ? snprintf(line, sizeof line, "done\n") : snprintf(line, sizeof line, "errno %d\n", -result);
    return write(STDOUT_FILENO, line, (size_t)length) == length ? 0 : 1;
}
