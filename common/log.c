#include "common/log.h"

#include "common/system_log.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <vis.h>

static struct {
    const char *program;
    enum log_style style;
    int fd;
    enum log_level level;
    int patience;
    unsigned int lost; /* lines that nobody took in time */
} log_state = {
    .program = "vmsup", .style = LOG_STYLE_TERMINAL, .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO, .patience = LOG_PATIENCE_ENDLESS,
};

void
log_init(const char *program, enum log_style style, int fd, enum log_level level)
{
    log_state.program = program;
    log_state.style = style;
    log_state.fd = fd;
    log_state.level = level;
    if (style == LOG_STYLE_SYSLOG)
        system_log_open(program, SYSTEM_LOG_PATH);
}

void
log_set_patience(int milliseconds)
{
    log_state.patience = milliseconds;
}

void
log_set_level(enum log_level level)
{
    log_state.level = level;
}

enum log_level
log_get_level(void)
{
    return log_state.level;
}

static const struct {
    enum log_level level;
    const char *name;
} level_names[] = {
    { LOG_LEVEL_ERROR, "error" },
    { LOG_LEVEL_WARNING, "warning" },
    { LOG_LEVEL_INFO, "info" },
    { LOG_LEVEL_DEBUG, "debug" },
};

const char *
log_level_name(enum log_level level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
        if (level_names[i].level == level)
            return level_names[i].name;
    return "unknown";
}

int
log_level_parse(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(level_names[i].name, name) == 0) {
            *level = level_names[i].level;
            return 0;
        }
    }
    return -EINVAL;
}

/* False: it was not taken, now or in time. A line is shorter than what a pipe that is ready takes without waiting. */
static bool
write_line(const char *line, size_t length)
{
    struct pollfd reader = { .fd = log_state.fd, .events = POLLOUT };

    if (log_state.patience != LOG_PATIENCE_ENDLESS && poll(&reader, 1, log_state.patience) <= 0)
        return false;
    return write(log_state.fd, line, length) == (ssize_t)length;
}

/* A line with its level, as the style has it. */
static bool
emit(enum log_level level, const char *shown)
{
    char line[LOG_LINE_MAX];
    int length;

    if (log_state.style == LOG_STYLE_SYSLOG)
        return system_log_send((int)level, shown);
    if (log_state.style == LOG_STYLE_PIPE)
        length = snprintf(line, sizeof line - 1, "<%d>%s", (int)level, shown);
    else if (level == LOG_LEVEL_INFO)
        length = snprintf(line, sizeof line - 1, "%s: %s", log_state.program, shown);
    else
        length = snprintf(line, sizeof line - 1, "%s: %s: %s", log_state.program, log_level_name(level), shown);
    if (length > (int)sizeof line - 2)
        length = (int)sizeof line - 2;
    line[length++] = '\n';
    return write_line(line, (size_t)length);
}

static void
report_lost(void)
{
    char text[64];

    snprintf(text, sizeof text, "%u lines before this one were not taken and are lost", log_state.lost);
    if (emit(LOG_LEVEL_WARNING, text))
        log_state.lost = 0;
}

void
log_vwrite(enum log_level level, const char *format, va_list arguments)
{
    /* A byte is shown as four at most. */
    char text[LOG_LINE_MAX], shown[4 * LOG_LINE_MAX + 1];
    int saved_errno = errno;

    if (level > log_state.level)
        return;
    vsnprintf(text, sizeof text, format, arguments);
    if (strnvis(shown, sizeof shown, text, VIS_CSTYLE | VIS_TAB | VIS_NL) < 0)
        strlcpy(shown, "(a line that cannot be shown)", sizeof shown);
    if (log_state.lost > 0)
        report_lost();
    if (log_state.lost > 0 || !emit(level, shown))
        log_state.lost++;
    errno = saved_errno;
}

void
log_write(enum log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_vwrite(level, format, arguments);
    va_end(arguments);
}
