#include "common/log.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>
#include <vis.h>

static struct {
    const char *program;
    enum log_style style;
    int fd;
    enum log_level level;
} log_state = { .program = "vmsup", .style = LOG_STYLE_TERMINAL, .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO };

void
log_init(const char *program, enum log_style style, int fd, enum log_level level)
{
    log_state.program = program;
    log_state.style = style;
    log_state.fd = fd;
    log_state.level = level;
    if (style == LOG_STYLE_SYSLOG)
        openlog(program, LOG_PID, LOG_DAEMON);
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

void
log_vwrite(enum log_level level, const char *format, va_list arguments)
{
    /* A byte is shown as four at most. */
    char text[LOG_LINE_MAX], shown[4 * LOG_LINE_MAX + 1], line[LOG_LINE_MAX];
    int length, saved_errno = errno;

    if (level > log_state.level)
        return;
    vsnprintf(text, sizeof text, format, arguments);
    if (strnvis(shown, sizeof shown, text, VIS_CSTYLE | VIS_TAB | VIS_NL) < 0)
        strlcpy(shown, "(a line that cannot be shown)", sizeof shown);
    if (log_state.style == LOG_STYLE_SYSLOG) {
        syslog((int)level, "%s", shown);
    } else {
        if (log_state.style == LOG_STYLE_PIPE)
            length = snprintf(line, sizeof line - 1, "<%d>%s", (int)level, shown);
        else if (level == LOG_LEVEL_INFO)
            length = snprintf(line, sizeof line - 1, "%s: %s", log_state.program, shown);
        else
            length = snprintf(line, sizeof line - 1, "%s: %s: %s", log_state.program, log_level_name(level), shown);
        if (length > (int)sizeof line - 2)
            length = (int)sizeof line - 2;
        line[length++] = '\n';
        if (write(log_state.fd, line, (size_t)length) < 0) {
            /* There is nobody left to be told. */
        }
    }
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
