#include "start.h"

#include "child.h"
#include "rounds.h"

#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STARTS 30
#define LINE_MAX_BYTES 256

enum step { STEP_MAIN, STEP_FIRST_EXIT, STEP_GONE, STEPS };
static const char *const step_names[STEPS] = { "main", "first exit", "all gone" };
static const char *const process_names[CHILD_VM_PROCESSES] = { "supervisor", "vmproc", "plugin" };
/* As /proc/PID/smaps_rollup has them, and the report. */
static const char *const memory_fields[][2] = { { "Private_Dirty:", "private dirty" }, { "Pss:", "proportional" } };
#define MEMORY_FIELDS (sizeof memory_fields / sizeof memory_fields[0])

struct times {
    uint64_t step[STEPS][STARTS];
};

/* "NAME<tab>NUMBER", where the number is a time of bench_now()'s. */
static uint64_t
read_time(FILE *in, const char *name)
{
    char line[LINE_MAX_BYTES];
    size_t length = strlen(name);

    if (fgets(line, sizeof line, in) == NULL || strncmp(line, name, length) != 0 || line[length] != '\t')
        errx(1, "a measured program did not say when it came to: %s", name);
    return strtoull(line + length + 1, NULL, 10);
}

/* The program is done when it has said both: what it is part of goes by itself. */
static void
measure_once(char *const argv[], struct times *times, int i)
{
    uint64_t began = bench_now();
    struct child child = child_run(argv, CHILD_ANY_CPU);

    times->step[STEP_MAIN][i] = read_time(child.out, "main") - began;
    times->step[STEP_FIRST_EXIT][i] = read_time(child.out, "first exit") - began;
    child_end(&child);
    times->step[STEP_GONE][i] = bench_now() - began;
}

static json_t *
summarize(uint64_t times[STARTS])
{
    qsort(times, STARTS, sizeof times[0], bench_compare);
    return json_pack("{sI sI}", "median", (json_int_t)times[STARTS / 2] / 1000, "p99",
                     (json_int_t)times[(STARTS * 99 - 1) / 100] / 1000);
}

static json_t *
summarize_all(struct times *times)
{
    json_t *summary = json_object();

    for (int step = 0; step < STEPS; step++)
        json_object_set_new(summary, step_names[step], summarize(times->step[step]));
    return summary;
}

static json_t *
read_memory(const struct vm_processes *processes)
{
    json_t *memory = json_object();

    for (size_t field = 0; field < MEMORY_FIELDS; field++) {
        json_t *each = json_object();
        json_int_t sum = 0;

        for (int i = 0; i < CHILD_VM_PROCESSES; i++) {
            char path[PATH_MAX];
            long size;

            snprintf(path, sizeof path, "/proc/%d/smaps_rollup", processes->pid[i]);
            size = child_read_number(path, memory_fields[field][0]);
            if (size < 0)
                errx(1, "%s: no %s", path, memory_fields[field][0]);
            json_object_set_new(each, process_names[i], json_integer(size));
            sum += size;
        }
        json_object_set_new(each, "all", json_integer(sum));
        json_object_set_new(memory, memory_fields[field][1], each);
    }
    return memory;
}

/* The guest's vCPU waits for its plugin, which waits for the end of its standard input. */
static json_t *
measure_memory(char *const argv[])
{
    struct child child = child_run(argv, CHILD_ANY_CPU);
    struct vm_processes processes;
    json_t *memory;

    read_time(child.out, "main");
    read_time(child.out, "first exit");
    processes = child_find_vm(child.pid);
    memory = read_memory(&processes);
    child_end(&child);
    return memory;
}

/* In turns: what slows the host down for a while slows both down. */
void
start_measure(const char *folder, json_t *report)
{
    static struct times floor_times, times;
    char floor[PATH_MAX], vmsup[PATH_MAX], plugin[PATH_MAX];
    char *const floor_argv[] = { floor, NULL };
    char *argv[] = { vmsup, "start", "-f", "--log-level", "warning", "--plugin", plugin, "bench", NULL, NULL, NULL };

    snprintf(floor, sizeof floor, "%s/start_floor", folder);
    snprintf(vmsup, sizeof vmsup, "%s/../../vmsup", folder);
    snprintf(plugin, sizeof plugin, "%s/start_plugin", folder);
    for (int i = 0; i < STARTS; i++) {
        measure_once(floor_argv, &floor_times, i);
        measure_once(argv, &times, i);
    }
    json_object_set_new(report, "floor start", summarize_all(&floor_times));
    json_object_set_new(report, "start", summarize_all(&times));
    /* Pages of programs that were just built count as dirty until they are written. */
    sync();
    argv[8] = "--";
    argv[9] = "idle";
    json_object_set_new(report, "memory", measure_memory(argv));
}

static json_int_t
look_up(const json_t *report, const char *object, const char *outer, const char *inner)
{
    return json_integer_value(json_object_get(json_object_get(json_object_get(report, object), outer), inner));
}

void
start_print(const json_t *report)
{
    printf("\n%-36s | %10s %10s | %10s %10s\n", "a start, us from launch", "floor", "p99", "vmsup", "p99");
    for (int step = 0; step < STEPS; step++)
        printf("%-36s | %10lld %10lld | %10lld %10lld\n", step_names[step], look_up(report, "floor start", step_names[step], "median"),
               look_up(report, "floor start", step_names[step], "p99"), look_up(report, "start", step_names[step], "median"),
               look_up(report, "start", step_names[step], "p99"));
    printf("\n%-36s", "memory of an idle VM, KiB");
    for (int i = 0; i < CHILD_VM_PROCESSES; i++)
        printf(" %10s", process_names[i]);
    printf(" %10s\n", "all");
    for (size_t field = 0; field < MEMORY_FIELDS; field++) {
        printf("%-36s", memory_fields[field][1]);
        for (int i = 0; i < CHILD_VM_PROCESSES; i++)
            printf(" %10lld", look_up(report, "memory", memory_fields[field][1], process_names[i]));
        printf(" %10lld\n", look_up(report, "memory", memory_fields[field][1], "all"));
    }
}
