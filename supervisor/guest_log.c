#include "supervisor/guest_log.h"

#include "common/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void
report_dropped(struct guest_log *log)
{
    if (log->dropped > 0)
        log_warn("%s: %" PRIu64 " more lines were not shown", log->name, log->dropped);
    log->dropped = 0;
}

/* vmproc says how bad it is, but not louder than an error nor anything that is not a level. */
static const char *
take_level(const struct guest_log *log, enum log_level *level)
{
    const char *line = log->line;

    *level = log->level;
    if (!log->has_levels || line[0] != '<' || line[1] < '3' || line[1] > '7' || line[2] != '>')
        return line;
    *level = (enum log_level)(line[1] - '0');
    return line + 3;
}

static void
end_line(struct guest_log *log)
{
    enum log_level level;
    const char *text;

    log->line[log->length] = '\0';
    text = take_level(log, &level);
    if (log->length > 0 && ++log->lines > GUEST_LOG_LINES_MAX)
        log->dropped++;
    else if (log->length > 0)
        log_write(level, "%s: %s%s", log->name, text, log->cut ? " (cut)" : "");
    log->length = 0;
    log->cut = false;
}

void
guest_log_feed(struct guest_log *log, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\n')
            end_line(log);
        else if (log->length == GUEST_LOG_LINE_MAX)
            log->cut = true;
        else
            /* A NUL would hide what follows it. */
            log->line[log->length++] = data[i] == '\0' ? '?' : data[i];
    }
}

static void
on_readable(void *context, uint32_t events)
{
    struct guest_log *log = context;
    char data[GUEST_LOG_READ_MAX];
    ssize_t got = read(log->fd, data, sizeof data);

    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        loop_remove(&log->source);
        return;
    }
    guest_log_feed(log, data, (size_t)got);
    if (log->reads++ == 0)
        loop_set_timer(log->timer, GUEST_LOG_PERIOD);
    /* It has had its share: the writer waits. A pipe whose writer is gone says so all the time, so it is not merely put to sleep. */
    if (log->reads >= GUEST_LOG_READS_MAX)
        loop_modify(log->source, EPOLLET);
}

static void
on_period(void *context)
{
    struct guest_log *log = context;

    report_dropped(log);
    log->reads = log->lines = 0;
    if (log->source != NULL)
        loop_modify(log->source, EPOLLIN);
}

int
guest_log_begin(struct guest_log *log, struct loop *loop, int fd, const char *name, enum log_level level, bool has_levels)
{
    int result = fd_set_nonblocking(fd, true);

    *log = (struct guest_log){ .name = name, .level = level, .has_levels = has_levels, .fd = fd };
    if (result < 0)
        return result;
    log->source = loop_add(loop, fd, EPOLLIN, on_readable, log);
    log->timer = loop_add_timer(loop, on_period, log);
    return log->source == NULL || log->timer == NULL ? -ENOMEM : 0;
}

void
guest_log_end(struct guest_log *log)
{
    char data[GUEST_LOG_READ_MAX];

    loop_remove(&log->source);
    loop_remove(&log->timer);
    for (size_t total = 0; log->fd >= 0 && total < GUEST_LOG_DRAIN_MAX;) {
        ssize_t got = read(log->fd, data, sizeof data);

        if (got <= 0)
            break;
        total += (size_t)got;
        guest_log_feed(log, data, (size_t)got);
    }
    if (log->length > 0)
        end_line(log);
    report_dropped(log);
    fd_close(&log->fd);
}
