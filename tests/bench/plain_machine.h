/*
 * The machine of the bench's guest as one process makes it for itself, with the calls that a VM of vmsup's takes, in the order that costs
 * least. Whatever fails ends the program with a line that says what.
 */
#ifndef VMSUP_TESTS_BENCH_PLAIN_MACHINE_H
#define VMSUP_TESTS_BENCH_PLAIN_MACHINE_H

#include <linux/kvm.h>

struct plain_machine {
    int vcpu;
    struct kvm_run *run;
};

/* The vCPU is at the guest's first instruction. All of it ends with the process. */
struct plain_machine plain_machine_make(void);

#endif
