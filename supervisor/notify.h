/*
 * The listener of a filter: each notification is a call that the policy kills for. It is named, and who made it is not answered: the
 * caller kills the process, which waits in that call until then.
 */
#ifndef VMSUP_SUPERVISOR_NOTIFY_H
#define VMSUP_SUPERVISOR_NOTIFY_H

#include <stddef.h>

/* Takes one notification and describes it: "plugin killed by SIGSYS: `ptrace` is not in plugin.policy (…)". 0; -EAGAIN: there is none. */
int notify_take(int listener, const char *process, const char *policy, char *text, size_t size);

#endif
