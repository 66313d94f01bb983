#include "common/loop.h"

#include "common/fd.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LOOP_EVENTS_MAX 32

struct loop_source {
    struct loop *loop;
    int fd;
    bool owns_fd;
    bool removed;
    loop_callback *callback;
    loop_timer_callback *timer_callback;
    loop_signal_callback *signal_callback;
    void *context;
    SLIST_ENTRY(loop_source) link;
};

struct loop {
    int epoll;
    bool stopped;
    /* Removed while events may still name them; freed once the batch of events is done. */
    SLIST_HEAD(, loop_source) graveyard;
};

struct loop *
loop_create(void)
{
    struct loop *loop = calloc(1, sizeof *loop);

    if (loop == NULL)
        return NULL;
    SLIST_INIT(&loop->graveyard);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0) {
        free(loop);
        return NULL;
    }
    return loop;
}

static void
loop_bury(struct loop *loop)
{
    while (!SLIST_EMPTY(&loop->graveyard)) {
        struct loop_source *source = SLIST_FIRST(&loop->graveyard);

        SLIST_REMOVE_HEAD(&loop->graveyard, link);
        free(source);
    }
}

void
loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    loop_bury(loop);
    fd_close(&loop->epoll);
    free(loop);
}

static struct loop_source *
loop_add_source(struct loop *loop, int fd, bool owns_fd, uint32_t events, void *context)
{
    struct loop_source *source = calloc(1, sizeof *source);
    struct epoll_event event = { .events = events, .data.ptr = source };

    if (source == NULL)
        return NULL;
    source->loop = loop;
    source->fd = fd;
    source->owns_fd = owns_fd;
    source->context = context;
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        free(source);
        return NULL;
    }
    return source;
}

struct loop_source *
loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *callback, void *context)
{
    struct loop_source *source = loop_add_source(loop, fd, false, events, context);

    if (source != NULL)
        source->callback = callback;
    return source;
}

int
loop_modify(struct loop_source *source, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = source };

    return epoll_ctl(source->loop->epoll, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

struct loop_source *
loop_add_timer(struct loop *loop, loop_timer_callback *callback, void *context)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct loop_source *source;

    if (fd < 0)
        return NULL;
    source = loop_add_source(loop, fd, true, EPOLLIN, context);
    if (source == NULL)
        fd_close(&fd);
    else
        source->timer_callback = callback;
    return source;
}

int
loop_set_timer(struct loop_source *timer, int64_t milliseconds)
{
    struct itimerspec when = { 0 };

    if (milliseconds >= 0) {
        when.it_value.tv_sec = milliseconds / 1000;
        when.it_value.tv_nsec = milliseconds % 1000 * 1000000;
        /* All zeroes would unset it. */
        if (milliseconds == 0)
            when.it_value.tv_nsec = 1;
    }
    return timerfd_settime(timer->fd, 0, &when, NULL) < 0 ? -errno : 0;
}

struct loop_source *
loop_add_signals(struct loop *loop, const sigset_t *set, loop_signal_callback *callback, void *context)
{
    struct loop_source *source;
    int fd;

    if (sigprocmask(SIG_BLOCK, set, NULL) < 0)
        return NULL;
    fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return NULL;
    source = loop_add_source(loop, fd, true, EPOLLIN, context);
    if (source == NULL)
        fd_close(&fd);
    else
        source->signal_callback = callback;
    return source;
}

void
loop_remove(struct loop_source **slot)
{
    struct loop_source *source = *slot;

    *slot = NULL;
    if (source == NULL)
        return;
    epoll_ctl(source->loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
    if (source->owns_fd)
        fd_close(&source->fd);
    source->removed = true;
    SLIST_INSERT_HEAD(&source->loop->graveyard, source, link);
}

static void
loop_dispatch(struct loop_source *source, uint32_t events)
{
    if (source->timer_callback != NULL) {
        uint64_t expirations;

        if (read(source->fd, &expirations, sizeof expirations) == sizeof expirations)
            source->timer_callback(source->context);
    } else if (source->signal_callback != NULL) {
        struct signalfd_siginfo signal;

        while (!source->removed && read(source->fd, &signal, sizeof signal) == sizeof signal)
            source->signal_callback(source->context, &signal);
    } else {
        source->callback(source->context, events);
    }
}

int
loop_run(struct loop *loop)
{
    struct epoll_event events[LOOP_EVENTS_MAX];

    loop->stopped = false;
    while (!loop->stopped) {
        int count = epoll_wait(loop->epoll, events, LOOP_EVENTS_MAX, -1);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        for (int i = 0; i < count && !loop->stopped; i++) {
            struct loop_source *source = events[i].data.ptr;

            if (!source->removed)
                loop_dispatch(source, events[i].events);
        }
        loop_bury(loop);
    }
    return 0;
}

void
loop_stop(struct loop *loop)
{
    loop->stopped = true;
}
