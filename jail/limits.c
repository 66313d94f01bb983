#include "jail/child.h"

#include <errno.h>
#include <sys/resource.h>

int
limits_set(const struct jail *jail)
{
    for (size_t i = 0; i < jail->limit_count; i++) {
        const struct jail_limit *wanted = &jail->limits[i];
        struct rlimit limit = { .rlim_cur = wanted->value, .rlim_max = wanted->value }, now;

        if (setrlimit((__rlimit_resource_t)wanted->resource, &limit) == 0)
            continue;
        /* Root without CAP_SYS_RESOURCE cannot go above the hard limit that it has. */
        if (errno != EPERM || getrlimit((__rlimit_resource_t)wanted->resource, &now) < 0)
            return -errno;
        limit.rlim_cur = limit.rlim_max = now.rlim_max;
        if (setrlimit((__rlimit_resource_t)wanted->resource, &limit) < 0)
            return -errno;
    }
    return 0;
}
