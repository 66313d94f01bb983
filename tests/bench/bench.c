/*
 * The bench: what exits and starts cost under vmsup, beside floors that are measured in the same run. Tables on standard output, and the
 * same numbers as JSON in the file named by the first argument.
 * usage: bench OUT.json [exits|start], from the build folder's tests/bench, as root
 */
#include "exits.h"
#include "start.h"

#include <dirent.h>
#include <err.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#define LINE_MAX_BYTES 256

/* As /proc/cpuinfo has it. */
static json_t *
name_processor(void)
{
    char line[LINE_MAX_BYTES] = "", *colon = NULL;
    FILE *file = fopen("/proc/cpuinfo", "re");

    while (file != NULL && fgets(line, sizeof line, file) != NULL && strncmp(line, "model name", strlen("model name")) != 0)
        continue;
    if (file != NULL)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    colon = strchr(line, ':');
    return json_string(colon != NULL ? colon + 2 : "unknown");
}

/* The module that does KVM's work: kvm_intel, kvm_amd or another. */
static json_t *
name_backend(void)
{
    DIR *modules = opendir("/sys/module");
    json_t *name = NULL;
    struct dirent *entry;

    while (modules != NULL && name == NULL && (entry = readdir(modules)) != NULL)
        if (strncmp(entry->d_name, "kvm_", strlen("kvm_")) == 0)
            name = json_string(entry->d_name);
    if (modules != NULL)
        closedir(modules);
    return name != NULL ? name : json_string("unknown");
}

static void
describe_host(json_t *report)
{
    struct utsname system;

    if (uname(&system) < 0)
        err(1, "uname");
    json_object_set_new(report, "kernel", json_string(system.release));
    json_object_set_new(report, "processor", name_processor());
    json_object_set_new(report, "KVM", name_backend());
    printf("Linux %s, %s, %s\n\n", system.release, json_string_value(json_object_get(report, "processor")),
           json_string_value(json_object_get(report, "KVM")));
}

int
main(int argc, char **argv)
{
    json_t *report = json_object();
    const char *part = argc == 3 ? argv[2] : "all";
    char folder[PATH_MAX];

    if (argc < 2 || argc > 3 || (strcmp(part, "all") != 0 && strcmp(part, "exits") != 0 && strcmp(part, "start") != 0))
        errx(64, "usage: bench OUT.json [exits|start]");
    strlcpy(folder, dirname(argv[0]), sizeof folder);
    describe_host(report);
    if (strcmp(part, "start") != 0) {
        exits_measure(folder, report);
        exits_print(report);
    }
    if (strcmp(part, "exits") != 0) {
        start_measure(folder, report);
        start_print(report);
    }
    if (json_dump_file(report, argv[1], JSON_INDENT(2)) < 0)
        errx(1, "%s could not be written", argv[1]);
    json_decref(report);
    return 0;
}
