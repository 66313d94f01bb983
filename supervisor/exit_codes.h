/*
 * How `vmsup start -f` ends, and `vmsup list` tells of it. Faults found before the VM ran have the codes of <sysexits.h> (64 to 78). The
 * plugin's own exit code is never passed on as such: it stands in the reason. vmsup(8) has this table; a test compares them.
 */
#ifndef VMSUP_SUPERVISOR_EXIT_CODES_H
#define VMSUP_SUPERVISOR_EXIT_CODES_H

enum exit_code {
    EXIT_PLUGIN_GOOD = 0,       /* the plugin exited 0; of microvm: the guest powered off */
    EXIT_PLUGIN_FAILED = 100,   /* the plugin exited with another code */
    EXIT_PLUGIN_SIGNAL = 101,   /* the plugin died of a signal */
    EXIT_PLUGIN_FILTERED = 102, /* the plugin's policy stopped it */
    EXIT_GUEST_SHUTDOWN = 103,  /* the guest shut down: a triple fault */
    EXIT_GUEST_RESET = 104,     /* the guest asked for a reset, of KVM or of microvm */
    EXIT_INTERNAL_ERROR = 105,  /* KVM could not go on with the guest */
    EXIT_UNKNOWN_EXIT = 106,    /* KVM left the guest for a reason that is not known */
    EXIT_KVM_FAILED = 107,      /* KVM could not be had, or an ioctl of it failed */
    EXIT_PROTOCOL = 108,        /* the plugin broke the protocol of its vCPUs */
    EXIT_OUT_OF_MEMORY = 109,   /* memory ran out */
    EXIT_TIMED_OUT = 110,       /* the guest ended and the plugin did not exit in the grace time */
    EXIT_VMPROC_DIED = 111,     /* vmproc ended by itself */
    EXIT_VMPROC_FILTERED = 112, /* vmproc's policy stopped it */
    EXIT_STOPPED = 113,         /* stopped on request */
    EXIT_SUPERVISOR = 114,      /* the supervisor itself could not go on */
    EXIT_JAIL_FAILED = 115,     /* a layer of a jail could not be had */
    EXIT_NETWORK_FAILED = 116,  /* the TAP or its filter could not be had */
};

#endif
