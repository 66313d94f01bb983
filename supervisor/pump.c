#include "supervisor/pump.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

static bool
is_ready(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };

    return poll(&one, 1, 0) > 0;
}

/* Waits for whichever side it is that has to become ready. */
static void
listen_again(struct pump *pump)
{
    const bool holds = pump->size > 0;
    /* A source that wakes nobody is read whenever the other side takes more. */
    const bool unheard = pump->from_source == NULL && !pump->ended;

    if (pump->from_source != NULL)
        loop_modify(pump->from_source, !holds && !pump->ended ? EPOLLIN : EPOLLET);
    if (pump->to_source != NULL)
        loop_modify(pump->to_source, holds || unheard ? EPOLLOUT : EPOLLET);
}

/* False: it would wait, or it is over. */
static bool
fill(struct pump *pump)
{
    ssize_t got;

    if (pump->ended || !is_ready(pump->from, POLLIN))
        return false;
    got = read(pump->from, pump->buffer, sizeof pump->buffer);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    if (got <= 0) {
        pump->ended = true;
        loop_remove(&pump->from_source);
        if (pump->end != NULL)
            pump->end(pump->context);
        return false;
    }
    pump->size = pump->filter != NULL ? pump->filter(pump->context, pump->buffer, (size_t)got) : (size_t)got;
    pump->done = 0;
    return true;
}

static bool
empty(struct pump *pump)
{
    while (pump->size > 0) {
        ssize_t written;

        if (!pump->deaf && !is_ready(pump->to, POLLOUT))
            return false;
        written = pump->deaf ? (ssize_t)pump->size : write(pump->to, pump->buffer + pump->done, pump->size);
        if (written < 0 && (errno == EINTR || errno == EAGAIN))
            return false;
        if (written < 0) {
            pump->deaf = true;
            loop_remove(&pump->to_source);
            continue;
        }
        pump->done += (size_t)written;
        pump->size -= (size_t)written;
    }
    return true;
}

/* A turn of one buffer, so that one busy descriptor leaves time for the others. */
static void
step(void *context, uint32_t events)
{
    struct pump *pump = context;

    (void)events;
    if (empty(pump) && fill(pump))
        empty(pump);
    listen_again(pump);
}

/* A side that epoll cannot watch is always ready. */
static int
watch(struct pump *pump, int fd, struct loop_source **source)
{
    *source = loop_add(pump->loop, fd, EPOLLET, step, pump);
    return *source == NULL && errno != EPERM ? -errno : 0;
}

int
pump_begin(struct pump *pump, struct loop *loop, int from, int to, pump_filter *filter, pump_end *end, void *context)
{
    int result;

    *pump = (struct pump){ .loop = loop, .from = from, .to = to, .filter = filter, .end = end, .context = context };
    result = watch(pump, from, &pump->from_source);
    if (result == 0)
        result = watch(pump, to, &pump->to_source);
    if (result < 0)
        return result;
    /* A file as input wakes nobody: it is carried as far as it goes now, and goes on when the other side takes more. */
    while (pump->from_source == NULL && empty(pump) && fill(pump))
        ;
    listen_again(pump);
    return 0;
}

void
pump_drain(struct pump *pump, size_t limit)
{
    for (size_t total = 0; total < limit && empty(pump) && fill(pump); total += pump->size)
        ;
    empty(pump);
}

void
pump_stop(struct pump *pump)
{
    loop_remove(&pump->from_source);
    loop_remove(&pump->to_source);
}
