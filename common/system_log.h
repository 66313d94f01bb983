/*
 * The host's log: lines sent as datagrams to the socket that syslog(3) speaks to, in its format, facility daemon. That function is
 * not used, because it waits for a log daemon that hangs, and then everything waits that logs. Here nothing waits and nothing fails: a
 * line that is not taken at once is lost, and the caller is told so. The socket is owned here, one a process, and made anew when the log
 * daemon has been started again.
 */
#ifndef VMSUP_COMMON_SYSTEM_LOG_H
#define VMSUP_COMMON_SYSTEM_LOG_H

#include <stdbool.h>

#define SYSTEM_LOG_PATH "/dev/log"
/* One datagram, with its head. */
#define SYSTEM_LOG_LINE_MAX 1024

/* Both strings are kept by reference. */
void system_log_open(const char *program, const char *path);

/* `level` as syslog(3) numbers them. False: nobody took it. */
bool system_log_send(int level, const char *text);

#endif
