/*
 * The floor of a start: one process that makes the bench's guest, runs it to its first exit, says when main and that exit were, and ends;
 * KVM's own end of the VM included.
 */
#include "plain_machine.h"
#include "rounds.h"

#include <err.h>
#include <stdio.h>
#include <sys/ioctl.h>

int
main(void)
{
    uint64_t at_main = bench_now();
    struct plain_machine machine = plain_machine_make();

    if (ioctl(machine.vcpu, KVM_RUN, 0) < 0)
        err(1, "KVM_RUN");
    printf("main\t%lu\nfirst exit\t%lu\n", at_main, bench_now());
    return 0;
}
