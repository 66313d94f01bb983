/*
 * SIGTERM, SIGINT, SIGQUIT and SIGHUP while a VM is being set up: they are held back, and asked for between two steps, so that what
 * was made is undone as after any other failure. Those that come after the last look are taken by the event loop, since they still wait.
 */
#ifndef VMSUP_SUPERVISOR_INTERRUPT_H
#define VMSUP_SUPERVISOR_INTERRUPT_H

#include <signal.h>

/* Those four, without a SIGHUP that this process was told to ignore. */
void interrupt_fill(sigset_t *set);

/* From now on they wait. */
void interrupt_hold(void);

/* One that waits; 0: none. */
int interrupt_waiting(void);

#endif
