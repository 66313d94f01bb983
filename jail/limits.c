#include "jail/child.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/*
 * Where the host gives every program transparent huge pages, a thread's stack would take 2 MiB for the few pages it needs. It lasts across
 * execve(2), and reserved huge pages (memfd_create(2), MFD_HUGETLB) are not concerned.
 */
static int
forgo_huge_pages(void)
{
    return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) < 0 ? -errno : 0;
}

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
    return forgo_huge_pages();
}
