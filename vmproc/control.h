/*
 * The supervisor's side of the VM process: the control socket. control_set_up() is the start, up to the VM; control_run() is
 * the rest of the process's life. Whatever fails is logged where it fails; the exit codes are those of <sysexits.h>.
 */
#ifndef VMSUP_VMPROC_CONTROL_H
#define VMSUP_VMPROC_CONTROL_H

/* Speaks with the supervisor on `socket` until that is closed. Gives the exit code. */
int control_run(int socket);

#endif
