/*
 * The floor: the bench's guest with its exits answered in the loop around KVM_RUN, in one process, as no device model can beat. Does all
 * the work and prints the results.
 */
#include "plain_machine.h"
#include "rounds.h"

#include <err.h>
#include <string.h>
#include <sys/ioctl.h>

static void
touch_registers(int vcpu, enum bench_touch touch)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (touch == BENCH_TOUCH_REGS && (ioctl(vcpu, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0))
        err(1, "registers");
    if (touch == BENCH_TOUCH_SREGS && ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
        err(1, "registers");
}

static void
answer_port(struct bench_rounds *rounds, struct kvm_run *run, bool *is_last)
{
    *is_last = bench_access(rounds, run->io.port, run->io.direction == KVM_EXIT_IO_OUT, (uint8_t *)run + run->io.data_offset,
                            run->io.size);
}

static void
answer_exits(int vcpu, struct kvm_run *run)
{
    struct bench_rounds rounds = { 0 };
    bool is_last = false;

    while (!is_last) {
        if (ioctl(vcpu, KVM_RUN, 0) < 0)
            err(1, "KVM_RUN");
        bench_note_exit(&rounds);
        touch_registers(vcpu, bench_current(&rounds)->touch);
        if (run->exit_reason == KVM_EXIT_MMIO)
            memset(run->mmio.data, 0, sizeof run->mmio.data);
        else if (run->exit_reason == KVM_EXIT_IO)
            answer_port(&rounds, run, &is_last);
        else
            errx(1, "exit %u", run->exit_reason);
    }
}

int
main(void)
{
    struct plain_machine machine = plain_machine_make();

    answer_exits(machine.vcpu, machine.run);
    return 0;
}
