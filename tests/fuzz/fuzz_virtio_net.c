/*
 * A network card of several pairs under a driver that breaks every rule, with frames from the host. No header that lies may reach the TAP,
 * a pair of sockets here.
 */
#include "tests/fuzz/fuzz_virtio.h"

#include "plugin/microvm/virtio_net.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

static int host = -1;
static struct virtio_net *net;
static uint8_t frame[70000];

/* The TAP takes every setting. */
int
ioctl(int fd, unsigned long request, ...)
{
    (void)fd, (void)request;
    return 0;
}

static void
drain(void)
{
    ssize_t size;

    while ((size = recv(host, frame, sizeof frame, MSG_DONTWAIT)) >= 0) {
        struct virtio_net_hdr_v1 header;

        if ((size_t)size < sizeof header + ETH_HLEN)
            abort();
        memcpy(&header, frame, sizeof header);
        if (!virtio_net_header_is_good(&header, (uint64_t)size - sizeof header, virtio_net_device(net)->offered))
            abort();
    }
}

/* A frame comes, of a size the step tells, and then the thread looks. */
static void
own(const uint8_t *step)
{
    uint16_t size;

    memcpy(&size, step + 2, sizeof size);
    memset(frame, step[1], size);
    send(host, frame, size, MSG_DONTWAIT);
    fake_now += (uint64_t)step[1] << 20;
    for (unsigned i = 0; i < 4; i++) {
        short events;

        if (virtio_net_device(net)->operations->watch(net, i, &events) >= 0)
            virtio_own_ready(virtio_net_device(net), i);
    }
    drain();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_mmio *mmio;

    if (net == NULL) {
        struct virtio_net_settings settings = {
            .limit = { .bandwidth = { 100000, 50000 } }, .pairs = 3, .vnet_header = true, .mac = { 2 },
        };
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
            abort();
        /* One end for all queues of the TAP: whoever reads first. */
        for (unsigned i = 0; i < settings.pairs; i++)
            settings.tap[i] = pair[0];
        host = pair[1];
        if (virtio_net_create(NULL, &settings, &net) < 0)
            abort();
        mmio = fake_connect(virtio_net_device(net));
    }
    fake_run(mmio, virtio_net_device(net), data, size, own);
    drain();
    return 0;
}
