#include "plugin/microvm/ram.h"
#include "plugin/microvm/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* More could be given out, but not held. */
static int
check_host(uint64_t size)
{
    struct sysinfo host;

    if (sysinfo(&host) < 0)
        return -errno;
    return size / host.mem_unit > host.totalram ? -ENOMEM : 0;
}

/* Two parts of one memfd, below the hole and above it. */
static void
place(struct guest_memory *memory, uint8_t *host, uint64_t size)
{
    const uint64_t low = size < LAYOUT_HOLE_START ? size : LAYOUT_HOLE_START;

    memory->region[0] = (struct guest_region){ .start = 0, .size = low, .host = host };
    memory->region[1] = (struct guest_region){ .start = LAYOUT_HOLE_END, .size = size - low, .host = host + low };
    memory->count = size > low ? 2 : 1;
}

/* Mapping it is what sets huge pages aside, and fails where there are too few; usual ones are not even counted. */
static int
map(int fd, uint64_t size, bool huge, void **host)
{
    if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    *host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | (huge ? 0 : MAP_NORESERVE), fd, 0);
    return *host == MAP_FAILED ? -errno : 0;
}

int
ram_create(uint64_t size, bool huge, struct guest_memory *memory, int *fd, const char **what)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
    void *host;
    int result;

    *what = "--memory: the host has less than that";
    result = check_host(size);
    if (result < 0)
        return result;
    *what = huge ? "--huge-pages: the host has no pages of 2M" : "guest memory";
    *fd = memfd_create("guest", flags);
    if (*fd < 0)
        return -errno;
    *what = huge ? "--huge-pages: the host has too few free pages of 2M (vm.nr_hugepages)" : "guest memory";
    result = map(*fd, size, huge, &host);
    if (result < 0) {
        close(*fd);
        return result;
    }
    place(memory, host, size);
    return 0;
}
