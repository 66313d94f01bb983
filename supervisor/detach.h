/*
 * Without -f: the supervisor goes on as a process of its own, and who called waits until it says, over a pipe, that the VM runs or why it
 * does not. After that the pipe is gone, and the supervisor has no terminal.
 */
#ifndef VMSUP_SUPERVISOR_DETACH_H
#define VMSUP_SUPERVISOR_DETACH_H

#include <stdbool.h>

/*
 * Forks. In the child: 0, *report the descriptor to say it on. In the parent it does not return before it was said, and then gives
 * 1 with *exit_code, having printed what there was to print. A negative errno where the fork failed.
 */
int detach_fork(int *report, int *exit_code);

/* Says how the start went: `text` is for the caller's terminal, NULL where all is well. Closes *report. Leaves the terminal. */
void detach_report(int *report, int exit_code, const char *text);

#endif
