/*
 * Points of a VM's life at which a test can hold the supervisor, to see what happens when something dies, hangs or is stopped just there. Only
 * in a program built with VMSUP_TEST_POINTS; in any other there is nothing here. The environment says VMSUP_HOLD=POINT:FIFO: when
 * the supervisor comes to POINT it writes the point's name and its pid to FIFO, and goes on when it has read a byte from FIFO.go.
 *
 *   runtime    the runtime folder is locked; nothing else is made
 *   resources  cgroup, TAP and control socket are made
 *   begun      vmproc and the plugin are on their way in, and wait for their ids and filters
 *   vmproc     vmproc has been executed, the plugin is on its way
 *   children   both have been executed; the supervisor has its privileges still
 *   confined   the supervisor has none any more; nothing has been heard of vmproc
 *   setup      vmproc has said hello
 *   ready      the VM exists
 *   running    every vCPU runs
 *   asking     microvm's guest has been asked to turn itself off
 *   stopping   the VM is to end, and vmproc has not been told
 *   killing    the grace time is over, or there is none
 *   gone       both processes are reaped; nothing is cleaned up
 */
#ifndef VMSUP_SUPERVISOR_HOLD_H
#define VMSUP_SUPERVISOR_HOLD_H

#ifdef VMSUP_TEST_POINTS
/* Opens both FIFOs, which must exist, while files can be opened. */
void hold_init(void);
void hold_at(const char *point);
#else
static inline void
hold_init(void)
{
}

static inline void
hold_at(const char *point)
{
    (void)point;
}
#endif

#endif
