#include "plugin/microvm/virtio_thread.h"

#include "common/fd.h"
#include "plugin/microvm/virtio.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What is waited for: the end, the device's own descriptor, and from FIRST_DOORBELL on the queues. */
#define STOP 0
#define OWN 1
#define FIRST_DOORBELL 2
#define WAITS_MAX (FIRST_DOORBELL + VIRTIO_QUEUES_MAX)

/* poll(2) leaves out what is negative: a device that asks to be reset waits for that alone. */
static void
prepare_waits(struct virtio_device *device, struct pollfd *wait)
{
    bool works = !virtio_is_broken(device);

    wait[STOP] = (struct pollfd){ .fd = device->thread.stop, .events = POLLIN };
    wait[OWN] = (struct pollfd){ .fd = -1 };
    if (works && device->operations->watch != NULL)
        wait[OWN].fd = device->operations->watch(device->context, &wait[OWN].events);
    for (unsigned i = 0; i < device->queue_count; i++)
        wait[FIRST_DOORBELL + i] = (struct pollfd){
            .fd = works && device->queue[i].ready ? device->doorbell[i] : -1,
            .events = POLLIN,
        };
}

static void
answer_doorbell(struct virtio_device *device, unsigned index)
{
    eventfd_t count;

    /* It may have been rung for the driver before this one, and be empty by now. */
    if (eventfd_read(device->doorbell[index], &count) == 0)
        virtio_serve(device, index);
}

static void *
work(void *argument)
{
    struct virtio_device *device = argument;
    struct pollfd wait[WAITS_MAX];

    pthread_setname_np(pthread_self(), device->operations->name);
    for (unsigned i = 0; i < device->queue_count; i++)
        virtio_serve(device, i);
    for (;;) {
        prepare_waits(device, wait);
        if (poll(wait, FIRST_DOORBELL + device->queue_count, -1) < 0)
            continue;
        if (wait[STOP].revents != 0)
            return NULL;
        if (wait[OWN].revents != 0)
            virtio_own_ready(device);
        for (unsigned i = 0; i < device->queue_count; i++) {
            if (wait[FIRST_DOORBELL + i].revents != 0)
                answer_doorbell(device, i);
        }
    }
}

/* Signals are for the threads that wait for them. */
static int
create_thread(struct virtio_device *device)
{
    pthread_attr_t attributes;
    sigset_t all;
    int result;

    sigfillset(&all);
    result = pthread_attr_init(&attributes);
    if (result != 0)
        return -result;
    result = pthread_attr_setsigmask_np(&attributes, &all);
    if (result == 0)
        result = pthread_create(&device->thread.id, &attributes, work, device);
    pthread_attr_destroy(&attributes);
    return -result;
}

int
virtio_thread_start(struct virtio_device *device)
{
    int result;

    device->thread.stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (device->thread.stop < 0)
        return -errno;
    result = create_thread(device);
    if (result < 0)
        fd_close(&device->thread.stop);
    device->thread.running = result == 0;
    return result;
}

void
virtio_thread_stop(struct virtio_device *device)
{
    if (!device->thread.running)
        return;
    eventfd_write(device->thread.stop, 1);
    pthread_join(device->thread.id, NULL);
    fd_close(&device->thread.stop);
    device->thread.running = false;
}
