/* A disk under a driver that breaks every rule. It must never grow, and what lies behind its last whole sector must stay. */
#include "tests/fuzz/fuzz_virtio.h"

#include "plugin/microvm/virtio_blk.h"

#include <sys/mman.h>

#define DISK_SIZE (128 * 512)
#define TAIL "not a whole sector"

static int disk = -1;

static void
own(const uint8_t *step)
{
    fake_now += (uint64_t)step[1] << 20;
}

static void
check_disk(void)
{
    char tail[sizeof TAIL];

    if (lseek(disk, 0, SEEK_END) != DISK_SIZE + (off_t)sizeof TAIL || pread(disk, tail, sizeof tail, DISK_SIZE) != sizeof tail ||
        memcmp(tail, TAIL, sizeof tail) != 0)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_mmio *mmio;
    static struct virtio_blk *blk;

    if (blk == NULL) {
        struct virtio_blk_settings settings = {
            .queues = 2, .serial = "fuzz", .limit = { .bandwidth = { 1000000, 100000 }, .operations = { 100, 40 } },
        };

        disk = settings.fd = memfd_create("disk", MFD_CLOEXEC);
        if (ftruncate(disk, DISK_SIZE) < 0 || pwrite(disk, TAIL, sizeof TAIL, DISK_SIZE) != sizeof TAIL ||
            virtio_blk_create(NULL, &settings, &blk) < 0)
            abort();
        mmio = fake_connect(virtio_blk_device(blk));
    }
    fake_run(mmio, virtio_blk_device(blk), data, size, own);
    check_disk();
    return 0;
}
