/* The registers, the queues and the entropy device under a driver that breaks every rule. */
#include "tests/fuzz/fuzz_virtio.h"

#include "plugin/microvm/virtio_rng.h"

static void
own(const uint8_t *step)
{
    (void)step;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_mmio *mmio;
    static struct virtio_rng *rng;

    if (rng == NULL) {
        if (virtio_rng_create(NULL, &rng) < 0)
            abort();
        mmio = fake_connect(virtio_rng_device(rng));
    }
    fake_run(mmio, virtio_rng_device(rng), data, size, own);
    return 0;
}
