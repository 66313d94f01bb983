/*
 * The keeper of the VM: a socket in whose queue the VM's own descriptor of KVM lies, put there by vmproc and never taken out. KVM takes
 * many milliseconds to free a VM, and who closes the last descriptor of it waits so long: vmproc's end would, and whoever waits for that.
 * With the keeper vmproc is gone at once, and the kernel frees the VM by itself. If the supervisor is killed its sockets are closed, and
 * the VM is freed then. No guest runs in what is kept: its vCPUs were vmproc's threads, its memory vmproc's and the plugin's.
 */
#ifndef VMSUP_SUPERVISOR_KEEPER_H
#define VMSUP_SUPERVISOR_KEEPER_H

struct keeper {
    int entrance; /* what is sent here lies in the queue of `chamber` */
    int chamber;
};

/* 0 or a negative errno. vmproc gets a copy of `entrance`. */
int keeper_make(struct keeper *keeper);

/* Lets go of what is kept, without waiting for its end where the kernel (6.10 and later) allows that. Does nothing after itself. */
void keeper_release(struct keeper *keeper);

#endif
