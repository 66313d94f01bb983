/*
 * The supervisor's side of the VM process: the control socket, from the greeting over the set-up, running and ended to
 * the end. Whatever fails is logged where it fails; exit codes are those of <sysexits.h>.
 */
#ifndef VMSUP_VMPROC_CONTROL_H
#define VMSUP_VMPROC_CONTROL_H

/* Speaks with the supervisor on `socket` until that is closed. Gives the exit code. */
int control_run(int socket);

#endif
