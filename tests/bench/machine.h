/* The machine of the bench's guest, as the plugins of the bench make it. Whatever fails ends the program with a line that says what. */
#ifndef VMSUP_TESTS_BENCH_MACHINE_H
#define VMSUP_TESTS_BENCH_MACHINE_H

#include <vmsup-plugin.h>

/* `result` is a function's of the library; `what` names it. */
void machine_check(int result, const char *what);

/* Memory with the guest in it, and what is reserved. */
void machine_make(struct vmsup *vm);

/* Takes the vCPU from its INIT to the guest's first instruction, whichever vCPU it is. */
void machine_enter(struct vmsup_vcpu *vcpu);

/* Says "ready", and waits for a line: the bench pins threads meanwhile. */
void machine_wait_for_word(void);

#endif
