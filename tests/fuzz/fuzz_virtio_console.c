/* The virtio console under a driver that breaks every rule, with somebody who types, and one who reads or does not. */
#include "tests/fuzz/fuzz_virtio.h"

#include "plugin/microvm/virtio_console.h"

#include <fcntl.h>
#include <poll.h>

static struct virtio_console *console;
static int keyboard, screen, output;
static uint8_t bytes[65536];

static void
drain(void)
{
    while (read(screen, bytes, sizeof bytes) > 0)
        ;
}

/* Who waits until there is room on the screen finds it read. */
int
poll(struct pollfd *descriptors, nfds_t count, int timeout)
{
    (void)descriptors, (void)timeout;
    drain();
    return (int)count;
}

static void
run_threads(void)
{
    struct virtio_device *device = virtio_console_device(console);

    for (unsigned thread = 0; thread < VIRTIO_CONSOLE_QUEUES; thread++) {
        short events;

        if (!virtio_is_broken(device) && device->operations->watch(console, thread, &events) >= 0)
            virtio_own_ready(device, thread);
    }
}

/* Some bytes are typed, or the screen is so full that output waits, and read. */
static void
own(const uint8_t *step)
{
    uint16_t size;

    memcpy(&size, step + 2, sizeof size);
    switch (step[1] % 3) {
    case 0:
        memset(bytes, step[4], sizeof bytes);
        if (write(keyboard, bytes, size) < 0 && errno != EAGAIN)
            abort();
        break;
    case 1:
        while (write(output, bytes, sizeof bytes) > 0)
            ;
        for (unsigned i = 0; i < VIRTIO_CONSOLE_QUEUES; i++)
            virtio_serve(virtio_console_device(console), i);
        break;
    }
    if (step[1] % 3 != 0)
        drain();
    run_threads();
    drain();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_mmio *mmio;

    if (console == NULL) {
        int in[2], out[2];

        if (pipe2(in, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
            abort();
        keyboard = in[1];
        screen = out[0];
        output = out[1];
        if (virtio_console_create(NULL, in[0], output, &console) < 0)
            abort();
        mmio = fake_connect(virtio_console_device(console));
    }
    fake_run(mmio, virtio_console_device(console), data, size, own);
    drain();
    return 0;
}
