#include "plugin/microvm/virtio_thread.h"

#include "common/clock.h"
#include "common/fd.h"
#include "plugin/microvm/virtio.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/param.h>
#include <time.h>
#include <unistd.h>

/* What is waited for: the end, the device's own descriptor, and from FIRST_DOORBELL on the queues. */
#define STOP 0
#define OWN 1
#define FIRST_DOORBELL 2
#define WAITS_MAX (FIRST_DOORBELL + VIRTIO_QUEUES_MAX)

#define NANO UINT64_C(1000000000)
/* With the NUL; the kernel takes no more. */
#define THREAD_NAME_MAX 16

uint64_t
virtio_thread_now(void)
{
    return clock_nanoseconds();
}

/* A queue that waits for its time does not hear its doorbell: it would only find that the time has not come. */
static bool
listens(const struct virtio_device *device, unsigned index)
{
    return device->queue[index].ready && device->serve_at[index] == 0;
}

/* poll(2) leaves out what is negative: a device that asks to be reset waits for that alone. */
static void
prepare_waits(const struct virtio_worker *worker, struct pollfd *wait)
{
    struct virtio_device *device = worker->device;
    bool works = !virtio_is_broken(device);

    wait[STOP] = (struct pollfd){ .fd = device->thread.stop, .events = POLLIN };
    wait[OWN] = (struct pollfd){ .fd = -1 };
    if (works && device->operations->watch != NULL)
        wait[OWN].fd = device->operations->watch(device->context, worker->number, &wait[OWN].events);
    for (unsigned i = worker->first; i < worker->end; i++)
        wait[FIRST_DOORBELL + i - worker->first] = (struct pollfd){
            .fd = works && listens(device, i) ? device->doorbell[i] : -1,
            .events = POLLIN,
        };
}

/* Until the first of the queues that wait has its time: in *timeout, or NULL: none does. */
static const struct timespec *
prepare_timeout(const struct virtio_worker *worker, struct timespec *timeout)
{
    const struct virtio_device *device = worker->device;
    uint64_t first = UINT64_MAX, now;

    for (unsigned i = worker->first; i < worker->end; i++) {
        if (device->serve_at[i] != 0)
            first = MIN(first, device->serve_at[i]);
    }
    if (first == UINT64_MAX || virtio_is_broken(device))
        return NULL;
    now = virtio_thread_now();
    first = first > now ? first - now : 0;
    *timeout = (struct timespec){ .tv_sec = (time_t)(first / NANO), .tv_nsec = (long)(first % NANO) };
    return timeout;
}

static void
serve_those_due(const struct virtio_worker *worker)
{
    struct virtio_device *device = worker->device;
    uint64_t now = 0;

    for (unsigned i = worker->first; i < worker->end; i++) {
        if (device->serve_at[i] == 0)
            continue;
        if (now == 0)
            now = virtio_thread_now();
        if (device->serve_at[i] <= now)
            virtio_serve(device, i);
    }
}

static void
answer_doorbell(struct virtio_device *device, unsigned index)
{
    eventfd_t count;

    /* It may have been rung for the driver before this one, and be empty by now. */
    if (eventfd_read(device->doorbell[index], &count) == 0)
        virtio_serve(device, index);
}

/* "disk", or where there are several "disk/0", "disk/1". */
static void
name_thread(const struct virtio_worker *worker)
{
    const struct virtio_device *device = worker->device;
    char name[THREAD_NAME_MAX];

    if (device->thread.count > 1)
        snprintf(name, sizeof name, "%s/%u", device->operations->name, worker->number);
    else
        snprintf(name, sizeof name, "%s", device->operations->name);
    pthread_setname_np(pthread_self(), name);
}

static void *
work(void *argument)
{
    const struct virtio_worker *worker = argument;
    struct virtio_device *device = worker->device;
    struct pollfd wait[WAITS_MAX];
    struct timespec timeout;

    name_thread(worker);
    for (unsigned i = worker->first; i < worker->end; i++)
        virtio_serve(device, i);
    for (;;) {
        prepare_waits(worker, wait);
        if (ppoll(wait, FIRST_DOORBELL + worker->end - worker->first, prepare_timeout(worker, &timeout), NULL) < 0)
            continue;
        if (wait[STOP].revents != 0)
            return NULL;
        if (wait[OWN].revents != 0)
            virtio_own_ready(device, worker->number);
        for (unsigned i = worker->first; i < worker->end; i++) {
            if (wait[FIRST_DOORBELL + i - worker->first].revents != 0)
                answer_doorbell(device, i);
        }
        serve_those_due(worker);
    }
}

/* Signals are for the threads that wait for them. */
static int
create_thread(struct virtio_worker *worker)
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
        result = pthread_create(&worker->id, &attributes, work, worker);
    pthread_attr_destroy(&attributes);
    return -result;
}

/* The first `count` of them are there. */
static void
end_threads(struct virtio_device *device, unsigned count)
{
    eventfd_write(device->thread.stop, 1);
    for (unsigned i = 0; i < count; i++)
        pthread_join(device->thread.worker[i].id, NULL);
    fd_close(&device->thread.stop);
    device->thread.running = false;
}

/* Groups as large as the device wants them; what is left over is the last one's. */
static void
divide_queues(struct virtio_device *device)
{
    struct virtio_threads *threads = &device->thread;

    threads->count = 0;
    for (unsigned first = 0; first < device->queue_count; first += device->queues_per_thread) {
        threads->worker[threads->count] = (struct virtio_worker){
            .device = device,
            .number = threads->count,
            .first = first,
            .end = MIN(first + device->queues_per_thread, device->queue_count),
        };
        threads->count++;
    }
}

int
virtio_thread_start(struct virtio_device *device)
{
    struct virtio_threads *threads = &device->thread;

    threads->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (threads->stop < 0)
        return -errno;
    divide_queues(device);
    threads->running = true;
    for (unsigned i = 0; i < threads->count; i++) {
        int result = create_thread(&threads->worker[i]);

        if (result < 0) {
            end_threads(device, i);
            return result;
        }
    }
    return 0;
}

void
virtio_thread_stop(struct virtio_device *device)
{
    if (device->thread.running)
        end_threads(device, device->thread.count);
}
