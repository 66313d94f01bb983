/* The memory balloon under a driver that breaks every rule: nothing is given back that is not memory. */
#include "tests/fuzz/fuzz_virtio.h"

#include "plugin/microvm/virtio_balloon.h"

static struct virtio_balloon *balloon;

static void
told(void *context, const struct virtio_balloon_statistics *statistics)
{
    (void)context;
    if (statistics->present >= 1U << VIRTIO_BALLOON_S_NR)
        abort();
}

/* The host wants something: so much memory, or statistics. */
static void
own(const uint8_t *step)
{
    uint32_t value;

    memcpy(&value, step + 2, sizeof value);
    if (step[1] % 2 == 0)
        virtio_balloon_set_target(balloon, value);
    else if (virtio_balloon_ask(balloon))
        virtio_serve(virtio_balloon_device(balloon), 2);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct guest_memory memory = { .region[0] = { .start = FAKE_START, .size = FAKE_SIZE, .host = fake_bytes }, .count = 1 };
    static struct virtio_mmio *mmio;

    if (balloon == NULL) {
        const struct virtio_balloon_settings settings = { .told = told };

        if (virtio_balloon_create(&memory, &settings, &balloon) < 0)
            abort();
        mmio = fake_connect(virtio_balloon_device(balloon));
    }
    fake_run(mmio, virtio_balloon_device(balloon), data, size, own);
    return 0;
}
