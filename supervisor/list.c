/* `vmsup list`: running VMs, and stopped ones with their last reason. `vmsup version`. */
#include "build_id.h"
#include "common/log.h"
#include "supervisor/admin.h"
#include "supervisor/options.h"
#include "supervisor/runtime.h"
#include "supervisor/verb.h"
#include "supervisor/verbs.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static void
print_running(const char *base, const struct runtime_entry *entry)
{
    struct admin_status status;

    if (admin_ask(base, entry->name, ADMIN_STATUS, &status) < 0)
        printf("%-32s running   supervisor %d, which does not answer\n", entry->name, (int)entry->pid);
    else
        printf("%-32s %-9s supervisor %d, vmproc %d, plugin %d\n", entry->name, status.state, (int)entry->pid, (int)status.vmproc,
               (int)status.plugin);
}

static void
print_entry(const char *base, const struct runtime_entry *entry)
{
    switch (entry->state) {
    case RUNTIME_RUNNING:
        print_running(base, entry);
        break;
    case RUNTIME_LEFTOVER:
        printf("%-32s stopped   its supervisor was killed\n", entry->name);
        break;
    case RUNTIME_STOPPED:
        printf("%-32s stopped   %s (exit code %d)\n", entry->name, entry->reason.text, entry->reason.exit_code);
        break;
    }
}

int
list_main(int argc, char **argv)
{
    static const struct option options[] = { { "runtime-dir", required_argument, NULL, 'r' }, { 0 } };
    const char *base = OPTIONS_RUNTIME_DIR_DEFAULT;
    struct runtime_entry *entries;
    struct failure failure;
    ssize_t count;
    int option;

    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'r') {
            log_error("usage: vmsup list [--runtime-dir DIR]");
            return EX_USAGE;
        }
        base = optarg;
    }
    if (optind != argc) {
        log_error("usage: vmsup list [--runtime-dir DIR]");
        return EX_USAGE;
    }
    count = runtime_list(base, &entries, &failure);
    if (count < 0) {
        log_error("%s", failure.text);
        return failure.exit_code;
    }
    for (ssize_t i = 0; i < count; i++)
        print_entry(base, &entries[i]);
    free(entries);
    return verb_end_output();
}

int
version_main(int argc, char **argv)
{
    (void)argv;
    if (argc != 1) {
        log_error("usage: vmsup version");
        return EX_USAGE;
    }
    printf("vmsup %s (build %s)\n", VMSUP_VERSION, VMSUP_BUILD_ID);
    return verb_end_output();
}
