#include "exits.h"

#include "child.h"
#include "rounds.h"

#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How often each way is measured: what counts is the one in the middle. */
#define TURNS 5
#define LINE_MAX_BYTES 256
#define IDLE_SECONDS 10

enum place { PLACE_ONE_CPU, PLACE_TWO_CPUS, PLACE_ANY };

/* In the order of the table. The first is the floor, in one process. */
static const struct way {
    const char *name;
    const char *link; /* an option of vmsup start's, or NULL */
    enum place place;
    bool loaded;
} ways[] = {
    { "floor", NULL, PLACE_ONE_CPU, false },
    { "one CPU, pipes", "--exit-pipes", PLACE_ONE_CPU, false },
    { "one CPU", NULL, PLACE_ONE_CPU, false },
    { "two CPUs, pipes", "--exit-pipes", PLACE_TWO_CPUS, false },
    { "two CPUs", NULL, PLACE_TWO_CPUS, false },
    { "any CPU", NULL, PLACE_ANY, false },
    { "loaded, pipes", "--exit-pipes", PLACE_ANY, true },
    { "loaded", NULL, PLACE_ANY, true },
};
#define WAYS (sizeof ways / sizeof ways[0])

static const char *const figures[] = { "p50", "p99", "mean" };
#define FIGURES (sizeof figures / sizeof figures[0])

static const char *folder;

static char *
beside(const char *name)
{
    char *path;

    if (asprintf(&path, "%s/%s", folder, name) < 0)
        err(1, "memory");
    return path;
}

/* "NAME<tab>NUMBER" lines to the end. */
static json_t *
read_results(FILE *in)
{
    json_t *results = json_object();
    char line[LINE_MAX_BYTES];

    while (fgets(line, sizeof line, in) != NULL) {
        char *tab = strchr(line, '\t');

        if (tab == NULL)
            continue;
        *tab = '\0';
        json_object_set_new(results, line, json_integer(strtoll(tab + 1, NULL, 10)));
    }
    return results;
}

static json_t *
run_program(char *argv[], int cpu)
{
    struct child child = child_run(argv, cpu);
    json_t *results = read_results(child.out);

    child_end(&child);
    return results;
}

static void
pin_threads(pid_t pid, int cpu)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    tasks = opendir(path);
    if (tasks == NULL)
        err(1, "%s", path);
    while ((entry = readdir(tasks)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]))
            child_pin((pid_t)atol(entry->d_name), cpu);
    closedir(tasks);
}

/* The plugin is there, and waits for a word on its standard input. */
static struct child
start_vm(const char *link, const char *cpus, int cpu)
{
    char *vmsup = beside("../../vmsup"), *plugin = beside("plugin");
    char *argv[] = { vmsup, "start", "-f", "--log-level", "warning", "-c", (char *)(uintptr_t)cpus, "--plugin", plugin, "bench",
                     (char *)(uintptr_t)link, NULL };
    struct child child = child_run(argv, cpu);
    char line[LINE_MAX_BYTES];

    if (fgets(line, sizeof line, child.out) == NULL || strcmp(line, "ready\n") != 0)
        errx(1, "the plugin did not become ready");
    free(vmsup);
    free(plugin);
    return child;
}

/* All but the plugin runs on CPU 0, unless it may run anywhere. */
static json_t *
measure_vm(const struct way *way)
{
    struct child child = start_vm(way->link, "1", way->place == PLACE_ANY ? CHILD_ANY_CPU : 0);
    json_t *results;

    if (way->place == PLACE_TWO_CPUS)
        pin_threads(child_find_vm(child.pid).pid[2], 1);
    fputs("go\n", child.in);
    fflush(child.in);
    results = read_results(child.out);
    child_end(&child);
    return results;
}

/* A process that does nothing, as fast as it can. */
static pid_t
start_loop(void)
{
    pid_t pid = fork();

    if (pid < 0)
        err(1, "fork");
    if (pid == 0)
        for (;;)
            __asm__ volatile("");
    return pid;
}

static json_t *
measure_way(const struct way *way)
{
    char *path = beside("floor");
    pid_t loop[2] = { 0 };
    json_t *results;

    for (int i = 0; way->loaded && i < 2; i++)
        loop[i] = start_loop();
    results = way == ways ? run_program((char *[]){ path, NULL }, 0) : measure_vm(way);
    for (int i = 0; way->loaded && i < 2; i++) {
        kill(loop[i], SIGKILL);
        waitpid(loop[i], NULL, 0);
    }
    free(path);
    return results;
}

/* results[turn], by "WORK FIGURE"; gives for each work its figures, each that of the turn in the middle. */
static json_t *
summarize(json_t *const results[TURNS])
{
    json_t *summary = json_object();

    for (size_t i = 0; i < bench_work_count; i++) {
        json_t *work = json_object();

        for (size_t f = 0; f < FIGURES; f++) {
            uint64_t values[TURNS];
            char key[LINE_MAX_BYTES];

            snprintf(key, sizeof key, "%s %s", bench_works[i].name, figures[f]);
            for (int turn = 0; turn < TURNS; turn++)
                values[turn] = (uint64_t)json_integer_value(json_object_get(results[turn], key));
            qsort(values, TURNS, sizeof values[0], bench_compare);
            if (values[TURNS / 2] > 0)
                json_object_set_new(work, figures[f], json_integer((json_int_t)values[TURNS / 2]));
        }
        json_object_set_new(summary, bench_works[i].name, work);
    }
    return summary;
}

/* In turns: what slows the host down for a while slows all of them down. */
static json_t *
measure_ways(void)
{
    const bool several = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    json_t *report = json_object(), *results[WAYS][TURNS];

    for (int turn = 0; turn < TURNS; turn++)
        for (size_t way = 0; way < WAYS; way++)
            results[way][turn] = several || ways[way].place != PLACE_TWO_CPUS ? measure_way(&ways[way]) : json_object();
    for (size_t way = 0; way < WAYS; way++) {
        json_object_set_new(report, ways[way].name, summarize(results[way]));
        for (int turn = 0; turn < TURNS; turn++)
            json_decref(results[way][turn]);
    }
    return report;
}

static json_t *
measure_exchanges(void)
{
    char *path = beside("exchange");
    json_t *report = json_object();

    if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        json_object_set_new(report, "spinning, two CPUs", run_program((char *[]){ path, "spin", "1", NULL }, 0));
    json_object_set_new(report, "futex, one CPU", run_program((char *[]){ path, "futex", "0", NULL }, 0));
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        json_object_set_new(report, "futex, two CPUs", run_program((char *[]){ path, "futex", "1", NULL }, 0));
    free(path);
    return report;
}

static json_t *
measure_rates(void)
{
    static const char *const counts[] = { "1", "2", "4" };
    char *vmsup = beside("../../vmsup"), *plugin = beside("many");
    json_t *report = json_object();

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        char *count = (char *)(uintptr_t)counts[i];
        json_t *results = run_program((char *[]){ vmsup, "start", "-f", "--log-level", "warning", "-c", count, "--plugin", plugin, "bench",
                                                  "--", count, NULL },
                                      CHILD_ANY_CPU);

        json_object_set(report, counts[i], json_object_get(results, "exits a second"));
        json_decref(results);
    }
    free(vmsup);
    free(plugin);
    return report;
}

/* utime and stime of a process's whole, proc(5). */
static long
count_ticks(pid_t pid)
{
    char path[PATH_MAX], line[LINE_MAX_BYTES * 4], *behind;
    unsigned long user = 0, kernel = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    file = fopen(path, "re");
    if (file == NULL || fgets(line, sizeof line, file) == NULL || (behind = strrchr(line, ')')) == NULL ||
        sscanf(behind, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        errx(1, "%s cannot be read", path);
    fclose(file);
    return (long)(user + kernel);
}

/* The guest waits for the answer to its first exit: from then on nobody has anything to do. */
static json_int_t
measure_idleness(void)
{
    struct child child = start_vm(NULL, "1", CHILD_ANY_CPU);
    const struct vm_processes processes = child_find_vm(child.pid);
    long ticks = 0;

    sleep(1);
    for (int i = 0; i < CHILD_VM_PROCESSES; i++)
        ticks -= count_ticks(processes.pid[i]);
    sleep(IDLE_SECONDS);
    for (int i = 0; i < CHILD_VM_PROCESSES; i++)
        ticks += count_ticks(processes.pid[i]);
    fputs("go\n", child.in);
    fflush(child.in);
    json_decref(read_results(child.out));
    child_end(&child);
    return ticks;
}

void
exits_measure(const char *programs, json_t *report)
{
    folder = programs;
    json_object_set_new(report, "exits", measure_ways());
    json_object_set_new(report, "exchange", measure_exchanges());
    json_object_set_new(report, "exits a second", measure_rates());
    json_object_set_new(report, "idle ticks", json_integer(measure_idleness()));
}

/* Without what comes after a comma. */
static void
print_figure(const json_t *exits, const char *figure)
{
    printf("%-30s", figure);
    for (size_t way = 0; way < WAYS; way++)
        printf(" %9.*s", (int)strcspn(ways[way].name, ","), ways[way].name);
    printf("\n%-30s", "");
    for (size_t way = 0; way < WAYS; way++)
        printf(" %9s", way == 0 ? "" : ways[way].link != NULL ? "pipes" : "channel");
    printf("\n");
    for (size_t i = 0; i < bench_work_count; i++) {
        if (bench_works[i].unawaited && strcmp(figure, "mean") != 0)
            continue;
        printf("%-30s", bench_works[i].name);
        for (size_t way = 0; way < WAYS; way++)
            printf(" %9lld", json_integer_value(json_object_get(
                                 json_object_get(json_object_get(exits, ways[way].name), bench_works[i].name), figure)));
        printf("\n");
    }
    printf("\n");
}

void
exits_print(const json_t *report)
{
    const json_t *exits = json_object_get(report, "exits");
    const char *name;
    json_t *value;

    printf("An exit, from one to the next, in nanoseconds\n");
    for (size_t f = 0; f < FIGURES; f++)
        print_figure(exits, figures[f]);
    printf("A word there and back between two processes, in nanoseconds: p50, p99\n");
    json_object_foreach(json_object_get(report, "exchange"), name, value)
        printf("%-30s %9lld %9lld\n", name, json_integer_value(json_object_get(value, "p50")),
               json_integer_value(json_object_get(value, "p99")));
    printf("\nExits a second of all vCPUs together, by their number\n");
    json_object_foreach(json_object_get(report, "exits a second"), name, value)
        printf("%-30s %9lld\n", name, json_integer_value(value));
    printf("\nProcessor time of an idle VM in %d s, in ticks of 1/%ld s: %lld\n\n", IDLE_SECONDS, sysconf(_SC_CLK_TCK),
           json_integer_value(json_object_get(report, "idle ticks")));
}
