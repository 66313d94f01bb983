/* The options whose value is a time. Internal to supervisor/options*.c. */
#ifndef VMSUP_SUPERVISOR_OPTIONS_TIME_H
#define VMSUP_SUPERVISOR_OPTIONS_TIME_H

#include "supervisor/options.h"

/* How long somebody has to end by himself, in milliseconds. `option` is its name without dashes. */
int options_set_grace(const char *option, const char *text, unsigned int *grace, struct failure *failure);

/* How long either side of a vCPU's channel may spin, in microseconds. */
int options_set_exit_spin(struct options *options, const char *text, struct failure *failure);

#endif
