/* `vmsup balloon NAME [SIZE]`: asks memory of a guest, or shows what the guest says of its memory. */
#include "common/log.h"
#include "supervisor/admin.h"
#include "supervisor/options_value.h"
#include "supervisor/verb.h"
#include "supervisor/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

/* How long the guest may take to answer, and how often the supervisor is asked whether it has, in milliseconds. */
#define BALLOON_PATIENCE 2000
#define BALLOON_STEP 20

/* What is asked: a size, or how things stand. */
struct wish {
    struct verb_target target;
    bool has_size;
    uint64_t size;
};

static int
parse(int argc, char **argv, struct wish *wish)
{
    const char *size;
    int result = verb_parse(argc, argv, 1, "vmsup balloon [--runtime-dir DIR] NAME [SIZE]", &wish->target, &size);

    wish->size = 0;
    wish->has_size = result == EX_OK && size != NULL;
    if (!wish->has_size || strcmp(size, "0") == 0 || value_size(size, &wish->size) == 0)
        return result;
    log_error("SIZE is \"%.128s\": expected bytes, such as 128M, or 0", size);
    return EX_USAGE;
}

static int
explain(const char *name, int error)
{
    switch (error) {
    case EOPNOTSUPP:
        log_error("%s has no balloon: expected a VM that was started with one, see vmsup-microvm(7)", name);
        return EX_UNAVAILABLE;
    case ENOTCONN:
        log_error("%s does not listen: its guest does not run yet, or its plugin is not microvm", name);
        return EX_UNAVAILABLE;
    default:
        return verb_explain(name, error);
    }
}

/* What it told last, where it tells nothing now. */
static int
ask(const struct wish *wish, struct admin_status *status)
{
    const struct timespec step = { .tv_nsec = BALLOON_STEP * 1000000L };
    const char *base = wish->target.base, *name = wish->target.name;
    uint32_t before;
    int result = admin_ask_balloon(base, name, wish->has_size ? &wish->size : NULL, !wish->has_size, status);

    if (result < 0)
        return -result;
    before = status->balloon.count;
    for (int waited = 0; status->error == 0 && !wish->has_size && status->balloon.count == before; waited += BALLOON_STEP) {
        if (waited >= BALLOON_PATIENCE) {
            log_warn("%s: the guest does not answer: these are its last words", name);
            break;
        }
        nanosleep(&step, NULL);
        result = admin_ask_balloon(base, name, NULL, false, status);
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
    struct wish wish;
    int result = parse(argc, argv, &wish);

    if (result != EX_OK)
        return result;
    result = ask(&wish, &status);
    if (result != 0)
        return explain(wish.target.name, result);
    if (!wish.has_size)
        print(&status.balloon);
    return verb_end_output();
}
