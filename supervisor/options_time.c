#include "supervisor/options_time.h"

#include "supervisor/options_value.h"

#include <errno.h>
#include <sysexits.h>

int
options_set_grace(const char *option, const char *text, unsigned int *grace, struct failure *failure)
{
    uint64_t number;

    if (value_number(text, 0, OPTIONS_GRACE_MAX, &number) < 0)
        return failure_set(failure, EX_USAGE, -EINVAL, "--%s is \"%.128s\": expected milliseconds, from 0 to %d", option, text,
                           OPTIONS_GRACE_MAX);
    *grace = (unsigned int)number;
    return 0;
}

int
options_set_exit_spin(struct options *options, const char *text, struct failure *failure)
{
    uint64_t number;

    if (value_number(text, 0, OPTIONS_EXIT_SPIN_MAX, &number) < 0)
        return failure_set(failure, EX_USAGE, -EINVAL, "--exit-spin is \"%.128s\": expected microseconds, from 0 to %d", text,
                           OPTIONS_EXIT_SPIN_MAX);
    options->exit_spin = (unsigned int)number;
    return 0;
}
