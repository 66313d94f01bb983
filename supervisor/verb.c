#include "supervisor/verb.h"

#include "common/log.h"
#include "supervisor/name.h"
#include "supervisor/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static int
refuse(const char *usage)
{
    log_error("usage: %s", usage);
    return EX_USAGE;
}

int
verb_parse(int argc, char **argv, int more, const char *usage, struct verb_target *target, const char **rest)
{
    static const struct option options[] = { { "runtime-dir", required_argument, NULL, 'r' }, { 0 } };
    int option;

    *target = (struct verb_target){ .base = OPTIONS_RUNTIME_DIR_DEFAULT };
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'r')
            return refuse(usage);
        target->base = optarg;
    }
    if (argc - optind < 1 || argc - optind > 1 + more)
        return refuse(usage);
    target->name = argv[optind];
    /* argv ends with NULL. */
    *rest = argv[optind + 1];
    return verb_check_name(target->name);
}

int
verb_check_name(const char *name)
{
    if (name_is_valid(name))
        return EX_OK;
    log_error("NAME: %s: expected a-z or 0-9, then at most 31 of a-z, 0-9, _ . and -", name);
    return EX_USAGE;
}

int
verb_explain(const char *name, int error)
{
    switch (error) {
    case ENOENT:
    case ECONNREFUSED:
        log_error("%s is not running", name);
        return EX_UNAVAILABLE;
    case EACCES:
        log_error("%s: its supervisor may not be asked: run this as root", name);
        return EX_NOPERM;
    default:
        log_error("%s does not answer: %s", name, strerror(error));
        return EX_TEMPFAIL;
    }
}

int
verb_end_output(void)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return EX_OK;
    log_error("standard output cannot be written: %s", strerror(errno));
    return EX_IOERR;
}
