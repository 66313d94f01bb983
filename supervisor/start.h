/*
 * `vmsup start`: everything a VM needs is had in one order and given back in the reverse one, whether it ran or a later step failed.
 */
#ifndef VMSUP_SUPERVISOR_START_H
#define VMSUP_SUPERVISOR_START_H

/* argv[0] is "start". Gives the exit code. */
int start_main(int argc, char **argv);

#endif
