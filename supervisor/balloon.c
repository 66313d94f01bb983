/* `vmsup balloon NAME [SIZE]`: asks memory of a guest, or shows what the guest says of its memory. */
#include "common/log.h"
#include "supervisor/admin.h"
#include "supervisor/name.h"
#include "supervisor/options.h"
#include "supervisor/options_value.h"
#include "supervisor/verbs.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

/* How long the guest may take to answer, and how often the supervisor is asked whether it has, in milliseconds. */
#define BALLOON_PATIENCE 2000
#define BALLOON_STEP 20

struct balloon {
    const char *base, *name;
    bool has_size;
    uint64_t size;
};

static int
parse(int argc, char **argv, struct balloon *balloon)
{
    static const struct option options[] = { { "runtime-dir", required_argument, NULL, 'r' }, { 0 } };
    int option;

    *balloon = (struct balloon){ .base = OPTIONS_RUNTIME_DIR_DEFAULT };
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'r')
            return -EINVAL;
        balloon->base = optarg;
    }
    if (argc - optind < 1 || argc - optind > 2)
        return -EINVAL;
    balloon->name = argv[optind];
    balloon->has_size = argc - optind == 2;
    if (!balloon->has_size || strcmp(argv[optind + 1], "0") == 0 || value_size(argv[optind + 1], &balloon->size) == 0)
        return 0;
    log_error("SIZE is \"%.128s\": expected bytes, such as 128M, or 0", argv[optind + 1]);
    return -ERANGE;
}

static int
explain(const struct balloon *balloon, int error)
{
    switch (error) {
    case EOPNOTSUPP:
        log_error("%s has no balloon: expected a VM that was started with one, see vmsup-microvm(7)", balloon->name);
        return EX_UNAVAILABLE;
    case ENOTCONN:
        log_error("%s does not listen: its guest does not run yet, or its plugin is not microvm", balloon->name);
        return EX_UNAVAILABLE;
    case ENOENT:
    case ECONNREFUSED:
        log_error("%s is not running", balloon->name);
        return EX_UNAVAILABLE;
    case EACCES:
        log_error("%s: its supervisor may not be asked: run this as root", balloon->name);
        return EX_NOPERM;
    default:
        log_error("%s does not answer: %s", balloon->name, strerror(error));
        return EX_TEMPFAIL;
    }
}

/* What it told last, where it tells nothing now. */
static int
ask(const struct balloon *balloon, struct admin_status *status)
{
    const struct timespec step = { .tv_nsec = BALLOON_STEP * 1000000L };
    uint32_t before;
    int result = admin_ask_balloon(balloon->base, balloon->name, balloon->has_size ? &balloon->size : NULL, !balloon->has_size, status);

    if (result < 0)
        return -result;
    before = status->balloon.count;
    for (int waited = 0; status->error == 0 && !balloon->has_size && status->balloon.count == before; waited += BALLOON_STEP) {
        if (waited >= BALLOON_PATIENCE) {
            log_warn("%s: the guest does not answer: these are its last words", balloon->name);
            break;
        }
        nanosleep(&step, NULL);
        result = admin_ask_balloon(balloon->base, balloon->name, NULL, false, status);
        if (result < 0)
            return -result;
    }
    return status->error;
}

static void
print(const struct admin_balloon *balloon)
{
    /* In the order of virtio 1.2, 5.5.6.3, and of what came later. */
    static const char *const names[] = {
        "swapped-in", "swapped-out", "major-faults", "minor-faults", "free",      "total",
        "available",  "caches",      "huge-pages",   "huge-page-failures", "oom-kills",
    };

    printf("target %" PRIu64 "\nballoon %" PRIu64 "\n", balloon->target, balloon->size);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((balloon->present & (UINT32_C(1) << i)) != 0)
            printf("%s %" PRIu64 "\n", names[i], balloon->value[i]);
}

int
balloon_main(int argc, char **argv)
{
    struct admin_status status = { 0 };
    struct balloon balloon;
    int result = parse(argc, argv, &balloon);

    if (result == -ERANGE)
        return EX_USAGE;
    if (result < 0) {
        log_error("usage: vmsup balloon [--runtime-dir DIR] NAME [SIZE]");
        return EX_USAGE;
    }
    if (!name_is_valid(balloon.name)) {
        log_error("NAME: %s: expected a-z or 0-9, then at most 31 of a-z, 0-9, _ . and -", balloon.name);
        return EX_USAGE;
    }
    result = ask(&balloon, &status);
    if (result != 0)
        return explain(&balloon, result);
    if (!balloon.has_size)
        print(&status.balloon);
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return EX_OK;
    log_error("standard output cannot be written: %s", strerror(errno));
    return EX_IOERR;
}
