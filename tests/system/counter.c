/*
 * Counts how often a VM's vCPUs come back from the guest to their program, which is what an exit is that a plugin may hear of, in each of
 * the guest's phases: `counter PID <CONSOLE >KEYBOARD 3>COUNTS`. Before a phase the guest writes a line "begin NAME" to its console, behind
 * it a line "end", and waits for a byte each time. For each, a line "COUNT NAME" is written to descriptor 3. The kernel counts, by its
 * tracepoint kvm:kvm_userspace_exit on each thread of the process, so that nothing is slowed, and however an exit crosses, it is counted.
 * The threads are those that there are at the first line. Ends with the console: with 0; with 1 where something is not as described; and
 * with 77 where the kernel has no such tracepoint.
 */
#include <dirent.h>
#include <err.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing"
#define TRACEPOINT "events/kvm/kvm_userspace_exit/id"
#define NO_TRACEPOINT 77
#define THREADS_MAX 64
#define COUNTS 3

static int counters[THREADS_MAX];
static size_t counter_count;

/* Where the host does not show its tracepoints, this process makes itself a place where they are. */
static uint64_t
find_tracepoint(void)
{
    uint64_t id;
    FILE *file;
    int got;

    if (access(TRACING "/events", F_OK) < 0 && (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                                                mount("tracefs", TRACING, "tracefs", 0, NULL) < 0))
        err(NO_TRACEPOINT, "tracefs");
    file = fopen(TRACING "/" TRACEPOINT, "re");
    if (file == NULL)
        errx(NO_TRACEPOINT, "there is no tracepoint %s", TRACEPOINT);
    got = fscanf(file, "%" SCNu64, &id);
    fclose(file);
    if (got != 1)
        errx(1, "%s has no number", TRACEPOINT);
    return id;
}

static void
count_thread(uint64_t tracepoint, pid_t thread)
{
    struct perf_event_attr attributes = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof attributes, .config = tracepoint };
    long fd = syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);

    if (fd < 0)
        err(NO_TRACEPOINT, "perf_event_open");
    if (counter_count == THREADS_MAX)
        errx(1, "more than %d threads", THREADS_MAX);
    counters[counter_count++] = (int)fd;
}

static void
count_threads(const char *process)
{
    uint64_t tracepoint = find_tracepoint();
    struct dirent *entry;
    char path[64];
    DIR *folder;

    snprintf(path, sizeof path, "/proc/%s/task", process);
    folder = opendir(path);
    if (folder == NULL)
        err(1, "%s", path);
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.')
            count_thread(tracepoint, (pid_t)strtol(entry->d_name, NULL, 10));
    }
    closedir(folder);
}

static uint64_t
read_counters(void)
{
    uint64_t sum = 0, count;

    for (size_t i = 0; i < counter_count; i++) {
        if (read(counters[i], &count, sizeof count) != sizeof count)
            err(1, "a counter");
        sum += count;
    }
    return sum;
}

/* The guest goes on only once it has the byte, so nothing of what is counted happens before or after. */
int
main(int argc, char **argv)
{
    char line[256], name[sizeof line] = "";
    uint64_t before = 0;

    if (argc != 2)
        errx(2, "usage: counter PID <CONSOLE >KEYBOARD 3>COUNTS");
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (counter_count == 0)
            count_threads(argv[1]);
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "begin %255[^\n]", name) == 1) {
            before = read_counters();
        } else if (strcmp(line, "end") == 0) {
            dprintf(COUNTS, "%" PRIu64 " %s\n", read_counters() - before, name);
        } else {
            errx(1, "the guest said: %s", line);
        }
        if (write(STDOUT_FILENO, "\n", 1) != 1)
            err(1, "the keyboard");
    }
    return 0;
}
