/*
 * The bench: what an exit costs under vmsup, beside the floor and bare pipes, measured in the same run and in turns, since a host's speed
 * changes; how long a start takes; how much memory each process has. A table on standard output, and the same numbers as JSON in the
 * file named by the first argument. Every number is a median, where it is not called p99.
 * usage: bench OUT.json [start], from the build folder's tests/bench, as root; with "start", starts and memory only
 */
#include "child.h"
#include "rounds.h"
#include "start.h"

#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How often each way of answering exits is measured. */
#define TURNS 5
#define LINE_MAX_BYTES 256

static char folder[PATH_MAX];

static char *
beside(const char *name)
{
    char *path;

    if (asprintf(&path, "%s/%s", folder, name) < 0)
        err(1, "memory");
    return path;
}

/* Reads "NAME<tab>NUMBER" lines to the end into the object. */
static void
read_results(FILE *in, json_t *results)
{
    char line[LINE_MAX_BYTES];

    while (fgets(line, sizeof line, in) != NULL) {
        char *tab = strchr(line, '\t');

        if (tab == NULL)
            continue;
        *tab = '\0';
        json_object_set_new(results, line, json_integer(strtoll(tab + 1, NULL, 10)));
    }
}

/* `argv` is freed. */
static json_t *
measure_floor(char *argv[])
{
    struct child child = child_run(argv, 0);
    json_t *results = json_object();

    read_results(child.out, results);
    child_end(&child);
    for (size_t i = 0; argv[i] != NULL; i++)
        free(argv[i]);
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

/* The plugin's threads on `plugin_cpu`, all the rest on CPU 0. */
static json_t *
measure_vmsup(int plugin_cpu)
{
    char *argv[] = { beside("../../vmsup"), "start", "-f", "--log-level", "warning", "--plugin", beside("plugin"), "bench",
                     NULL };
    struct child child = child_run(argv, 0);
    json_t *results = json_object();
    struct vm_processes processes;
    char line[LINE_MAX_BYTES];

    if (fgets(line, sizeof line, child.out) == NULL || strcmp(line, "ready\n") != 0)
        errx(1, "the plugin did not become ready");
    processes = child_find_vm(child.pid);
    pin_threads(processes.pid[2], plugin_cpu);
    fputs("go\n", child.in);
    fflush(child.in);
    read_results(child.out, results);
    child_end(&child);
    free(argv[0]);
    free(argv[6]);
    return results;
}

static uint64_t
median(uint64_t *times, size_t count)
{
    qsort(times, count, sizeof times[0], bench_compare);
    return times[count / 2];
}

/* The ways in which exits are answered, in the order of the table. */
enum way { WAY_FLOOR, WAY_PIPES_ONE, WAY_VMSUP_ONE, WAY_PIPES_TWO, WAY_VMSUP_TWO, WAYS };
static const char *const way_names[WAYS] = { "floor", "bare pipes, one cpu", "one cpu", "bare pipes, two cpus", "two cpus" };

static json_t *
measure_way(enum way way)
{
    switch (way) {
    case WAY_FLOOR:
        return measure_floor((char *[]){ beside("floor"), NULL });
    case WAY_PIPES_ONE:
        return measure_floor((char *[]){ beside("floor"), strdup("pipes"), strdup("0"), NULL });
    case WAY_PIPES_TWO:
        return measure_floor((char *[]){ beside("floor"), strdup("pipes"), strdup("1"), NULL });
    case WAY_VMSUP_ONE:
        return measure_vmsup(0);
    default:
        return measure_vmsup(1);
    }
}

/* In turns: what slows the host down for a while slows all of them down. */
static void
measure_exits(json_t *report)
{
    const int ways = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? WAYS : WAY_PIPES_TWO;
    uint64_t times[WAYS][BENCH_WORKS_MAX][TURNS];

    for (int turn = 0; turn < TURNS; turn++)
        for (int way = 0; way < ways; way++) {
            json_t *results = measure_way((enum way)way);

            for (size_t i = 0; i < bench_work_count; i++)
                times[way][i][turn] = (uint64_t)json_integer_value(json_object_get(results, bench_works[i].name));
            json_decref(results);
        }
    for (int way = 0; way < ways; way++) {
        json_t *results = json_object();

        for (size_t i = 0; i < bench_work_count; i++)
            json_object_set_new(results, bench_works[i].name, json_integer((json_int_t)median(times[way][i], TURNS)));
        json_object_set_new(report, way_names[way], results);
    }
}

static void
print_exits(json_t *report)
{
    printf("%-34s %7s | %7s %5s %7s %5s | %7s %5s %7s %5s\n", "an exit, ns and times the floor", "", "one CPU", "", "", "", "two CPUs", "", "", "");
    printf("%-34s %7s | %7s %5s %7s %5s | %7s %5s %7s %5s\n", "(medians)", "floor", "pipes", "", "vmsup", "", "pipes", "", "vmsup", "");
    for (size_t i = 0; i < bench_work_count; i++) {
        double times[WAYS];

        for (int way = 0; way < WAYS; way++)
            times[way] = (double)json_integer_value(json_object_get(json_object_get(report, way_names[way]), bench_works[i].name));
        printf("%-34s %7.0f", bench_works[i].name, times[WAY_FLOOR]);
        for (int way = WAY_PIPES_ONE; way < WAYS; way++)
            printf("%s %7.0f %5.2f", way == WAY_PIPES_ONE || way == WAY_PIPES_TWO ? " |" : "", times[way], times[way] / times[WAY_FLOOR]);
        printf("\n");
    }
}

int
main(int argc, char **argv)
{
    json_t *report = json_object();
    bool only_start = argc == 3 && strcmp(argv[2], "start") == 0;

    if (argc != 2 && !only_start)
        errx(64, "usage: bench OUT.json [start]");
    strlcpy(folder, dirname(argv[0]), sizeof folder);
    if (!only_start)
        measure_exits(report);
    start_measure(folder, report);
    if (!only_start)
        print_exits(report);
    start_print(report);
    if (json_dump_file(report, argv[1], JSON_INDENT(2)) < 0)
        errx(1, "%s could not be written", argv[1]);
    json_decref(report);
    return 0;
}
