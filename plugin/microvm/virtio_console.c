#include "plugin/microvm/virtio_console.h"

#include "common/fd.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* The threads have their queues' numbers: one for each direction, as each has a descriptor to wait for. */
struct virtio_console {
    struct virtio_device device;
    struct virtio_console_config config;
    int input, output;
    /* In the receive thread: the guest has no room for input, or there will be no more. */
    bool starved, ended;
    /* In the transmit thread: the output takes no more at the moment, or never again; so much of the first request went out. */
    bool waits, failed;
    uint64_t sent;
};

/* --- To the guest. */

/* As much as there is, into the first buffer: a request is done when it has something (5.3.6). */
static int
receive(void *device, const struct chain *chain, uint32_t *written)
{
    struct virtio_console *console = device;
    const struct iovec *room = &chain->buffer[chain->readable_count];
    ssize_t size;

    if (chain->readable_count > 0)
        return -EPROTO;
    size = console->ended ? 0 : read(console->input, room->iov_base, room->iov_len);
    if (size > 0) {
        *written = (uint32_t)size;
        return 0;
    }
    console->starved = false;
    console->ended = size == 0 || (errno != EAGAIN && errno != EINTR);
    return -EAGAIN;
}

/* --- From the guest. */

static bool
is_for_later(ssize_t size)
{
    return size < 0 && (errno == EAGAIN || errno == EINTR);
}

/* What of a request did not go out is waited for, with the request in the queue: the driver has it in its place as long. */
static int
transmit(void *device, const struct chain *chain, uint32_t *written)
{
    struct virtio_console *console = device;
    struct iovec rest[QUEUE_SIZE_MAX];

    (void)written;
    if (chain->writable_count > 0)
        return -EPROTO;
    console->waits = false;
    while (!console->failed && console->sent < chain->readable_size) {
        size_t count = chain_slice_readable(chain, console->sent, chain->readable_size - console->sent, rest);
        ssize_t size = writev(console->output, rest, (int)count);

        if (is_for_later(size)) {
            console->waits = true;
            return -EAGAIN;
        }
        if (size < 0)
            console->failed = true;
        else
            console->sent += (uint64_t)size;
    }
    console->sent = 0;
    return 0;
}

/*
 * 5.3.4: a byte at any time, also of a driver that is not ready. It waits until it is out, as one written to the serial port does: there
 * is nobody to do it later.
 */
static void
write_config(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    const struct virtio_console *console = device;
    struct pollfd room = { .fd = console->output, .events = POLLOUT };

    if (offset != offsetof(struct virtio_console_config, emerg_wr) || size == 0)
        return;
    while (is_for_later(write(console->output, data, 1)))
        poll(&room, 1, -1);
}

/* --- What the core calls. */

static int
serve(void *device, unsigned queue)
{
    struct virtio_console *console = device;

    if (queue == VIRTIO_CONSOLE_TRANSMIT)
        return virtio_each_request(&console->device, queue, transmit);
    /* Unless it is input that there is not enough of. */
    console->starved = true;
    return virtio_each_request(&console->device, queue, receive);
}

static int
watch(void *device, unsigned thread, short *events)
{
    const struct virtio_console *console = device;

    if (!console->device.queue[thread].ready)
        return -1;
    *events = thread == VIRTIO_CONSOLE_RECEIVE ? POLLIN : POLLOUT;
    if (thread == VIRTIO_CONSOLE_RECEIVE)
        return !console->starved && !console->ended ? console->input : -1;
    return console->waits ? console->output : -1;
}

static int
own_ready(void *device, unsigned thread)
{
    return serve(device, thread);
}

/* What a driver before this one had not seen go out whole is gone with it. */
static int
activate(void *device, uint64_t features)
{
    struct virtio_console *console = device;

    (void)features;
    console->waits = false;
    console->sent = 0;
    return 0;
}

static const struct virtio_operations operations = {
    .name = "console",
    .id = VIRTIO_ID_CONSOLE,
    .activate = activate,
    .serve = serve,
    .watch = watch,
    .own_ready = own_ready,
    .write_config = write_config,
};

int
virtio_console_create(const struct guest_memory *memory, int input, int output, struct virtio_console **out)
{
    struct virtio_console *console;
    int result;

    if ((result = fd_set_nonblocking(input, true)) < 0 || (result = fd_set_nonblocking(output, true)) < 0)
        return result;
    console = calloc(1, sizeof *console);
    if (console == NULL)
        return -ENOMEM;
    console->input = input;
    console->output = output;
    virtio_init(&console->device, &(struct virtio_setup){
                                      .operations = &operations,
                                      .context = console,
                                      .memory = memory,
                                      .features = VIRTIO_FEATURE(VIRTIO_CONSOLE_F_EMERG_WRITE),
                                      .config = &console->config,
                                      .config_size = sizeof console->config,
                                      .queue_count = VIRTIO_CONSOLE_QUEUES,
                                      .queues_per_thread = 1,
                                  });
    *out = console;
    return 0;
}

void
virtio_console_destroy(struct virtio_console *console)
{
    free(console);
}

struct virtio_device *
virtio_console_device(struct virtio_console *console)
{
    return &console->device;
}
