/*
 * A socket device under a driver that breaks every rule, with programs on the host that come, write, read, end and go. Between two inputs
 * nothing of the first may be left.
 */
#include "tests/fuzz/fuzz_virtio.h"

#include "common/fd.h"
#include "plugin/microvm/virtio_vsock.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define HOSTS 64

static struct virtio_vsock *vsock;
static int listener = -1, host[HOSTS];
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static socklen_t address_size = sizeof address;
static unsigned next_host;
static uint8_t bytes[70000];

static void
add_host(int fd)
{
    fd_close(&host[next_host % HOSTS]);
    host[next_host++ % HOSTS] = fd;
}

/* Connections that the guest begins: some are made, some are not, and some are not even asked for. */
static int
connect_guest(void *context, uint32_t port, uint64_t token)
{
    int pair[2];

    (void)context;
    if (port % 4 == 3)
        return -EPERM;
    if (port % 4 == 2)
        virtio_vsock_answer(vsock, token, -ECONNREFUSED);
    else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        abort();
    else {
        add_host(pair[0]);
        virtio_vsock_answer(vsock, token, pair[1]);
    }
    return 0;
}

/* A client comes, with a line that the step tells. */
static void
call(uint32_t value)
{
    char line[64];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), size;

    if (fd < 0)
        abort();
    if (connect(fd, (struct sockaddr *)&address, address_size) < 0) {
        fd_close(&fd);
        return;
    }
    size = snprintf(line, sizeof line, "CONNECT %u\nhello", value % 1024);
    send(fd, line, (size_t)size, MSG_NOSIGNAL);
    add_host(fd);
}

static void
own(const uint8_t *step)
{
    int *fd = &host[step[1] / 8 % HOSTS];
    uint32_t value;

    memcpy(&value, step + 2, sizeof value);
    switch (step[1] % 8) {
    case 0:
        call(value);
        break;
    case 1:
        send(*fd, bytes, value % sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 2:
        recv(*fd, bytes, value % sizeof bytes, MSG_DONTWAIT);
        break;
    case 3:
        shutdown(*fd, (int)(value % 3));
        break;
    case 4:
        fd_close(fd);
        break;
    default:
        break;
    }
    virtio_own_ready(virtio_vsock_device(vsock), 0);
}

static void
create(void)
{
    struct virtio_vsock_settings settings = { .cid = 3, .patience_ms = 1000, .connect = connect_guest };

    for (size_t i = 0; i < HOSTS; i++)
        host[i] = -1;
    settings.listener = listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address.sun_family) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &address_size) < 0 || listen(listener, HOSTS) < 0)
        abort();
    if (virtio_vsock_create(NULL, &settings, &vsock) < 0)
        abort();
}

/* A device that is made ready again drops every connection. Whoever was still in the kernel's queue goes, too. */
static void
clear(struct virtio_mmio *mmio)
{
    int fd;

    fake_set_up(mmio, virtio_vsock_device(vsock), 1);
    fake_write(mmio, VIRTIO_MMIO_STATUS, 0);
    fd_close_all(host, HOSTS);
    next_host = 0;
    while ((fd = accept(listener, NULL, NULL)) >= 0)
        fd_close(&fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_mmio *mmio;

    if (vsock == NULL) {
        create();
        mmio = fake_connect(virtio_vsock_device(vsock));
    }
    fake_run(mmio, virtio_vsock_device(vsock), data, size, own);
    clear(mmio);
    return 0;
}
