/* The `vmsup` program: verbs. */
#include "common/log.h"
#include "policy/policy.h"
#include "supervisor/start.h"
#include "supervisor/verbs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const struct verb {
    const char *name;
    int (*function)(int argc, char **argv);
    const char *usage;
} verbs[] = {
    { "start", start_main, "start [-f] [options] --kernel PATH | --plugin PATH NAME [-- argument ...]" },
    { "stop", stop_main, "stop [--now] NAME" },
    { "list", list_main, "list" },
    { "stats", stats_main, "stats NAME" },
    { "balloon", balloon_main, "balloon NAME [SIZE]" },
    { "version", version_main, "version" },
    { "policy", policy_main, "policy check|show|eval|trace ..." },
};

static void
print_usage(FILE *out)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        fprintf(out, "%s vmsup %s\n", i == 0 ? "usage:" : "      ", verbs[i].usage);
    fprintf(out, "See vmsup(8).\n");
}

/* Descriptors 0, 1 and 2 exist in every process of ours: otherwise some file would take their place and be written to. */
static int
open_standard(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

int
main(int argc, char **argv)
{
    if (open_standard() < 0)
        return EX_OSERR;
    if (argc >= 2)
        for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
            if (strcmp(argv[1], verbs[i].name) == 0)
                return verbs[i].function(argc - 1, argv + 1);
    if (argc == 2 && (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0)) {
        print_usage(stdout);
        return EX_OK;
    }
    if (argc >= 2)
        log_error("%s: no such verb: start, stop, list, stats, balloon, version or policy was expected", argv[1]);
    print_usage(stderr);
    return EX_USAGE;
}
