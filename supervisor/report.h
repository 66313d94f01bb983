/*
 * The three processes of a VM as the host sees them: pid, uid, capabilities, which namespaces are not the host's, filters. Read from /proc
 * while the supervisor still may; nothing in it is believed from the processes themselves.
 */
#ifndef VMSUP_SUPERVISOR_REPORT_H
#define VMSUP_SUPERVISOR_REPORT_H

#include <stddef.h>
#include <sys/types.h>

#define REPORT_LINE_MAX 160

/* The heading, and a line about one process, into `line`. */
void report_heading(char line[REPORT_LINE_MAX]);
void report_process(const char *name, pid_t pid, char line[REPORT_LINE_MAX]);

/* The same of the calling process, from a descriptor of its own status file that was opened while it could be. */
void report_self(const char *name, int status, char line[REPORT_LINE_MAX]);

#endif
