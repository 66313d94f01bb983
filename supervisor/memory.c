#include "supervisor/memory.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* /proc/meminfo is about 1500 bytes. */
#define MEMINFO_MAX 8192

static unsigned int
in_mebibytes(uint64_t bytes)
{
    uint64_t mebibytes = bytes >> 20;

    return mebibytes > UINT32_MAX ? UINT32_MAX : (unsigned int)mebibytes;
}

/* MemAvailable is in KiB (proc_meminfo(5)): what can be had without swapping. */
static int
parse_available(const char *meminfo, uint64_t *available)
{
    static const char key[] = "MemAvailable:";
    const char *line = meminfo;

    while (line != NULL && strncmp(line, key, sizeof key - 1) != 0) {
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
    if (line == NULL)
        return -ENOENT;
    errno = 0;
    *available = strtoull(line + sizeof key - 1, NULL, 10);
    if (errno != 0 || __builtin_mul_overflow(*available, UINT64_C(1024), available))
        return -ERANGE;
    return 0;
}

int
memory_decide_from(const char *meminfo, uint64_t memory_max, uint64_t *limit, struct failure *failure)
{
    uint64_t available, spare;
    int result = parse_available(meminfo, &available);

    if (result < 0)
        return failure_set(failure, EX_OSERR, result, "/proc/meminfo: MemAvailable is missing or no number");
    spare = available > MEMORY_RESERVE ? available - MEMORY_RESERVE : 0;
    if (memory_max > spare)
        return failure_set(failure, EX_TEMPFAIL, -ENOMEM,
                           "--memory-max is %u MiB: expected at most %u MiB, which the host has now beside a reserve of %u MiB",
                           in_mebibytes(memory_max), in_mebibytes(spare), in_mebibytes(MEMORY_RESERVE));
    if (spare < MEMORY_MIN)
        return failure_set(failure, EX_TEMPFAIL, -ENOMEM,
                           "the host has %u MiB of memory available: expected %u MiB at least, its reserve of %u MiB included",
                           in_mebibytes(available), in_mebibytes(MEMORY_MIN + MEMORY_RESERVE), in_mebibytes(MEMORY_RESERVE));
    *limit = memory_max > 0 ? memory_max : spare;
    return 0;
}

int
memory_decide(uint64_t memory_max, uint64_t *limit, struct failure *failure)
{
    char meminfo[MEMINFO_MAX];
    ssize_t length = fd_read_file(AT_FDCWD, "/proc/meminfo", meminfo, sizeof meminfo);

    if (length < 0)
        return failure_set(failure, EX_OSERR, (int)length, "/proc/meminfo cannot be read: %s", strerror((int)-length));
    return memory_decide_from(meminfo, memory_max, limit, failure);
}
