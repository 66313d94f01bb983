/*
 * The bench's guest under vmsup: the same work as in floor.c, its exits answered by a plugin. It says "ready", waits for a line
 * on standard input (the bench pins threads meanwhile) and then answers the guest.
 */
#include "machine.h"
#include "rounds.h"

#include <err.h>

#include <vmsup-plugin.h>

static void
touch_registers(struct vmsup_vcpu *vcpu, enum bench_touch touch)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (touch == BENCH_TOUCH_REGS) {
        machine_check(vmsup_vcpu_get_regs(vcpu, &regs), "get_regs");
        machine_check(vmsup_vcpu_set_regs(vcpu, &regs), "set_regs");
    }
    if (touch == BENCH_TOUCH_SREGS)
        machine_check(vmsup_vcpu_get_sregs(vcpu, &sregs), "get_sregs");
}

/* Registers come along with a read of the port that is worked on, while the work is with registers: what pipes need a hint for. */
static void
set_hint(struct vmsup *vm, enum bench_touch touch)
{
    struct vmsup_hint_detail detail = { .send_sregs = touch == BENCH_TOUCH_SREGS };
    struct vmsup_hint hint = {
        .address_space = VMSUP_ADDRESS_SPACE_IOPORT,
        .address = BENCH_PORT_WORK,
        .details_count = 1,
        .details = &detail,
    };

    machine_check(vmsup_set_hypercall_hint(vm, touch != BENCH_TOUCH_NONE, touch != BENCH_TOUCH_NONE ? &hint : NULL), "the hint");
}

static void
answer_exits(struct vmsup *vm, struct vmsup_vcpu *vcpu)
{
    struct bench_rounds rounds = { 0 };
    struct vmsup_vcpu_event event;
    enum bench_touch touch = BENCH_TOUCH_NONE;

    for (;;) {
        machine_check(vmsup_vcpu_wait(vcpu, &event), "wait");
        bench_note_exit(&rounds);
        if (event.kind != VMSUP_VCPU_EVENT_KIND_IO_ACCESS)
            errx(1, "event %u", event.kind);
        if (event.io_access.no_resume)
            continue;
        if (bench_current(&rounds)->touch != touch) {
            touch = bench_current(&rounds)->touch;
            set_hint(vm, touch);
        }
        touch_registers(vcpu, touch);
        if (event.io_access.address_space == VMSUP_ADDRESS_SPACE_IOPORT &&
            bench_access(&rounds, event.io_access.address, event.io_access.is_write, event.io_access.data,
                         event.io_access.length))
            return;
        machine_check(vmsup_vcpu_resume(vcpu), "resume");
    }
}

int
main(void)
{
    struct vmsup *vm;
    struct vmsup_vcpu *vcpu;

    machine_check(vmsup_connect(&vm), "connect");
    machine_make(vm);
    machine_check(vmsup_coalesce_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, BENCH_PORT_COALESCED, 1), "coalesced port");
    machine_check(vmsup_get_vcpu(vm, 0, &vcpu), "get_vcpu");
    machine_check(vmsup_start(vm), "start");
    machine_enter(vcpu);
    machine_wait_for_word();
    answer_exits(vm, vcpu);
    return 0;
}
