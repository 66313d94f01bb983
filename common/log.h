/*
 * The log of one process: lines of text with a level, to one descriptor. The supervisor writes to its terminal or to syslog;
 * vmproc writes to a pipe whose other end the supervisor reads, each line preceded by "<N>", N being its level, so that the
 * level survives the crossing. The module owns no descriptor: who calls log_init() keeps it open. Nothing here fails: a
 * line that cannot be written is lost, since there is nobody left to be told. Who must not wait for a reader that does not read says so
 * by log_set_patience(); the lines that this costs are counted, and their number comes with the next line that is taken.
 *
 * A line is at most LOG_LINE_MAX bytes with its newline and is written with one write(2); control bytes in it are written as
 * vis(3) shows them, so text that a guest or a plugin made cannot move a terminal's cursor.
 */
#ifndef VMSUP_COMMON_LOG_H
#define VMSUP_COMMON_LOG_H

#include <stdarg.h>
#include <stdbool.h>

#define LOG_LINE_MAX 1024

/* The numbers are those of syslog(3). */
enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
};

enum log_style {
    LOG_STYLE_TERMINAL, /* "program: warning: text" */
    LOG_STYLE_PIPE,     /* "<4>text" */
    LOG_STYLE_SYSLOG,   /* the host's log (system_log.h), which never waits; the descriptor is not used */
};

/* Says where lines go from now on. `program` is kept by reference. Before the first call, lines go to standard error. */
void log_init(const char *program, enum log_style style, int fd, enum log_level level);

/* Lines of a higher number than `level` are dropped. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* How long a line may wait for its reader, in milliseconds; LOG_PATIENCE_ENDLESS, which it is at first, is for ever. */
#define LOG_PATIENCE_ENDLESS (-1)
void log_set_patience(int milliseconds);

/* "error", "warning", "info", "debug" and back; -EINVAL for any other name. */
const char *log_level_name(enum log_level level);
int log_level_parse(const char *name, enum log_level *level);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_vwrite(enum log_level level, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
