/*
 * Why KVM_RUN came back. Accesses to what the plugin has reserved, pauses and Hyper-V's calls become events; a few
 * exits need nothing; everything else ends the VM and is named. Nothing here allocates or logs on the way of an access.
 */
#include "vmproc/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

struct access {
    AddressSpace space;
    uint64_t address;
    uint8_t *data;
    size_t length;
    bool is_write;
};

/* What is to be done about an access. */
struct reaction {
    bool report;
    bool no_resume;
    bool regs, sregs, debugregs;
};

static int
end_for_kvm(struct vcpu *vcpu, int error, const char *what)
{
    vm_end(vcpu->vm, CONTROL_ENDED__KIND__KVM_FAILED, vcpu->id, (uint64_t)-error, "vCPU %u: %s: %s", vcpu->id, what,
           strerror(-error));
    return -ESHUTDOWN;
}

/* The access lock is held. 0 or what KVM said to the registers being read. */
static int
look_at_hint(struct vcpu *vcpu, const struct access *access, struct reaction *reaction)
{
    const struct hint *hint = &vcpu->vm->hint;
    const struct hint_detail *detail;
    const void *regs;
    size_t size;
    int result;

    if (!hint_matches_access(hint, access->space, access->address, access->is_write))
        return 0;
    result = vcpu_state_get(vcpu, VCPU_REQUEST__STATE_SET__REGS, &regs, &size);
    if (result < 0)
        return result;
    reaction->regs = true;
    detail = hint_find_detail(hint, regs);
    if (detail != NULL) {
        reaction->sregs = detail->send_sregs;
        reaction->debugregs = detail->send_debugregs;
    }
    return 0;
}

static int
decide(struct vcpu *vcpu, const struct access *access, struct reaction *reaction)
{
    const struct range *range;
    int result = 0;

    *reaction = (struct reaction){ 0 };
    pthread_rwlock_rdlock(&vcpu->vm->access_lock);
    range = ranges_find(&vcpu->vm->ranges, access->space, access->address);
    if (range != NULL && range->kind != RANGE_AWAITED && access->is_write) {
        reaction->report = reaction->no_resume = true;
    } else if (range != NULL && range->kind != RANGE_ASYNC) {
        reaction->report = true;
        result = look_at_hint(vcpu, access, reaction);
    }
    pthread_rwlock_unlock(&vcpu->vm->access_lock);
    return result;
}

static int
add_state(struct vcpu *vcpu, VcpuRequest__StateSet set, ProtobufCBinaryData *field)
{
    const void *state;
    int result = vcpu_state_get(vcpu, set, &state, &field->len);

    field->data = (uint8_t *)(uintptr_t)state;
    return result;
}

static int
send_access(struct vcpu *vcpu, const struct access *access, const struct reaction *reaction)
{
    VcpuResponse__Wait__Io io = {
        .space = access->space,
        .address = access->address,
        .is_write = access->is_write,
        .no_resume = reaction->no_resume,
        .data = { .data = access->data, .len = access->length },
    };
    int result = 0;

    if (reaction->regs)
        result = add_state(vcpu, VCPU_REQUEST__STATE_SET__REGS, &io.regs);
    if (result == 0 && reaction->sregs)
        result = add_state(vcpu, VCPU_REQUEST__STATE_SET__SREGS, &io.sregs);
    if (result == 0 && reaction->debugregs)
        result = add_state(vcpu, VCPU_REQUEST__STATE_SET__DEBUGREGS, &io.debugregs);
    if (result < 0)
        return end_for_kvm(vcpu, result, "the registers of a hint cannot be read");
    return vcpu_send_access(vcpu, &io);
}

static int
handle_access(struct vcpu *vcpu, const struct access *access)
{
    struct vcpu_resume resume;
    struct reaction reaction;
    int result;

    /* What nobody answers reads as zero; so does what an answer leaves out. */
    if (!access->is_write)
        memset(access->data, 0, access->length);
    result = decide(vcpu, access, &reaction);
    if (result < 0)
        return end_for_kvm(vcpu, result, "the registers of a hint cannot be read");
    if (!reaction.report)
        return 0;
    result = send_access(vcpu, access, &reaction);
    if (result < 0 || reaction.no_resume)
        return result;
    result = vcpu_serve(vcpu, &resume);
    if (result == 0 && !access->is_write && resume.size > 0)
        memcpy(access->data, resume.data, resume.size < access->length ? resume.size : access->length);
    return result;
}

static int
handle_io(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    return handle_access(vcpu, &(struct access){
                                   .space = ADDRESS_SPACE__IOPORT,
                                   .address = run->io.port,
                                   .data = (uint8_t *)run + run->io.data_offset,
                                   .length = (size_t)run->io.size * run->io.count,
                                   .is_write = run->io.direction == KVM_EXIT_IO_OUT,
                               });
}

static int
handle_mmio(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    return handle_access(vcpu, &(struct access){
                                   .space = ADDRESS_SPACE__MMIO,
                                   .address = run->mmio.phys_addr,
                                   .data = run->mmio.data,
                                   .length = run->mmio.len,
                                   .is_write = run->mmio.is_write != 0,
                               });
}

static int
send_and_serve(struct vcpu *vcpu, struct vcpu_resume *resume)
{
    int result = vcpu_send_event(vcpu);

    return result < 0 ? result : vcpu_serve(vcpu, resume);
}

static int
end_for_unknown(struct vcpu *vcpu, const char *name, uint64_t code)
{
    vm_end(vcpu->vm, CONTROL_ENDED__KIND__UNKNOWN_EXIT, vcpu->id, code,
           "vCPU %u: an exit that is not known: %s, number %llu", vcpu->id, name, (unsigned long long)code);
    return -ESHUTDOWN;
}

static int
handle_hyperv_call(struct vcpu *vcpu)
{
    VcpuResponse__Wait__HypervCall *call = &vcpu->answer.event.hyperv_call;
    struct kvm_hyperv_exit *exit = &vcpu->run->hyperv;
    struct vcpu_resume resume;
    uint64_t answer = 0;
    int result;

    vcpu_begin_event(vcpu, VCPU_RESPONSE__WAIT__EXIT_HYPERV_CALL);
    vcpu_response__wait__hyperv_call__init(call);
    call->input = exit->u.hcall.input;
    call->params0 = exit->u.hcall.params[0];
    call->params1 = exit->u.hcall.params[1];
    result = send_and_serve(vcpu, &resume);
    if (result < 0)
        return result;
    if (resume.size > 0)
        memcpy(&answer, resume.data, resume.size < sizeof answer ? resume.size : sizeof answer);
    exit->u.hcall.result = answer;
    return 0;
}

static int
handle_hyperv(struct vcpu *vcpu)
{
    VcpuResponse__Wait__HypervSynic *synic = &vcpu->answer.event.hyperv_synic;
    const struct kvm_hyperv_exit *exit = &vcpu->run->hyperv;
    struct vcpu_resume resume;

    if (exit->type == KVM_EXIT_HYPERV_HCALL)
        return handle_hyperv_call(vcpu);
    if (exit->type != KVM_EXIT_HYPERV_SYNIC)
        return end_for_unknown(vcpu, "KVM_EXIT_HYPERV", exit->type);
    vcpu_begin_event(vcpu, VCPU_RESPONSE__WAIT__EXIT_HYPERV_SYNIC);
    vcpu_response__wait__hyperv_synic__init(synic);
    synic->msr = exit->u.synic.msr;
    synic->control = exit->u.synic.control;
    synic->evt_page = exit->u.synic.evt_page;
    synic->msg_page = exit->u.synic.msg_page;
    return send_and_serve(vcpu, &resume);
}

/* KVM_RUN was interrupted, with the access it was in the middle of completed: a pause, or nothing. */
static int
handle_interruption(struct vcpu *vcpu)
{
    VcpuResponse__Wait__User *paused = &vcpu->answer.event.user;
    struct vcpu_resume resume;
    uint64_t user;
    bool pending;

    pthread_mutex_lock(&vcpu->pause_lock);
    pending = vcpu->pause_pending;
    user = vcpu->pause_user;
    vcpu->pause_pending = false;
    pthread_mutex_unlock(&vcpu->pause_lock);
    if (!pending)
        return 0;
    vcpu_begin_event(vcpu, VCPU_RESPONSE__WAIT__EXIT_USER);
    vcpu_response__wait__user__init(paused);
    paused->user = user;
    return send_and_serve(vcpu, &resume);
}

static int
end_for_internal_error(struct vcpu *vcpu)
{
    static const char *const names[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "an instruction that KVM cannot emulate",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "an exception while another was delivered",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit while an event was delivered",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit of the processor's that KVM does not know",
    };
    const uint32_t error = vcpu->run->internal.suberror;
    const char *name = error < sizeof names / sizeof names[0] && names[error] != NULL
                           ? names[error]
                           : "an error that KVM does not name";

    vm_end(vcpu->vm, CONTROL_ENDED__KIND__INTERNAL_ERROR, vcpu->id, error, "vCPU %u: KVM internal error %u: %s",
           vcpu->id, error, name);
    return -ESHUTDOWN;
}

static int
end_for_failed_entry(struct vcpu *vcpu)
{
    const uint64_t reason = vcpu->run->fail_entry.hardware_entry_failure_reason;

    vm_end(vcpu->vm, CONTROL_ENDED__KIND__INTERNAL_ERROR, vcpu->id, reason,
           "vCPU %u: the processor refuses to enter the guest, reason %#llx", vcpu->id, (unsigned long long)reason);
    return -ESHUTDOWN;
}

static int
end_for_system_event(struct vcpu *vcpu)
{
    const uint32_t type = vcpu->run->system_event.type;

    if (type == KVM_SYSTEM_EVENT_RESET)
        vm_end(vcpu->vm, CONTROL_ENDED__KIND__GUEST_RESET, vcpu->id, type, "vCPU %u: the guest asked for a reset",
               vcpu->id);
    else if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
        vm_end(vcpu->vm, CONTROL_ENDED__KIND__GUEST_SHUTDOWN, vcpu->id, type, "vCPU %u: the guest shut down", vcpu->id);
    else if (type == KVM_SYSTEM_EVENT_CRASH)
        vm_end(vcpu->vm, CONTROL_ENDED__KIND__INTERNAL_ERROR, vcpu->id, type,
               "vCPU %u: the guest reported its own crash", vcpu->id);
    else
        return end_for_unknown(vcpu, "KVM_EXIT_SYSTEM_EVENT", type);
    return -ESHUTDOWN;
}

static int
end_for_shutdown(struct vcpu *vcpu)
{
    vm_end(vcpu->vm, CONTROL_ENDED__KIND__GUEST_SHUTDOWN, vcpu->id, KVM_EXIT_SHUTDOWN,
           "vCPU %u: the guest shut down (triple fault)", vcpu->id);
    return -ESHUTDOWN;
}

static const char *
name_exit(uint32_t reason)
{
    static const char *const names[] = {
        [KVM_EXIT_UNKNOWN] = "KVM_EXIT_UNKNOWN",
        [KVM_EXIT_EXCEPTION] = "KVM_EXIT_EXCEPTION",
        [KVM_EXIT_HYPERCALL] = "KVM_EXIT_HYPERCALL",
        [KVM_EXIT_DEBUG] = "KVM_EXIT_DEBUG",
        [KVM_EXIT_HLT] = "KVM_EXIT_HLT",
        [KVM_EXIT_SET_TPR] = "KVM_EXIT_SET_TPR",
        [KVM_EXIT_TPR_ACCESS] = "KVM_EXIT_TPR_ACCESS",
        [KVM_EXIT_NMI] = "KVM_EXIT_NMI",
        [KVM_EXIT_IOAPIC_EOI] = "KVM_EXIT_IOAPIC_EOI",
        [KVM_EXIT_X86_RDMSR] = "KVM_EXIT_X86_RDMSR",
        [KVM_EXIT_X86_WRMSR] = "KVM_EXIT_X86_WRMSR",
        [KVM_EXIT_DIRTY_RING_FULL] = "KVM_EXIT_DIRTY_RING_FULL",
        [KVM_EXIT_AP_RESET_HOLD] = "KVM_EXIT_AP_RESET_HOLD",
        [KVM_EXIT_XEN] = "KVM_EXIT_XEN",
    };

    return reason < sizeof names / sizeof names[0] && names[reason] != NULL ? names[reason] : "a reason without a name";
}

/*
 * The guest kept its processor from interrupts for too long: it was stopped for that, and goes on unless its state is
 * lost.
 */
static int
handle_notify(struct vcpu *vcpu)
{
    if ((vcpu->run->notify.flags & KVM_NOTIFY_CONTEXT_INVALID) == 0)
        return 0;
    vm_end(vcpu->vm, CONTROL_ENDED__KIND__INTERNAL_ERROR, vcpu->id, KVM_EXIT_NOTIFY,
           "vCPU %u: the guest blocked the processor, and its state is lost", vcpu->id);
    return -ESHUTDOWN;
}

/* A locked access across cache lines may have another exit of its own: then only the flag tells of it. */
static bool
has_locked_the_bus(const struct kvm_run *run)
{
    return run->exit_reason == KVM_EXIT_X86_BUS_LOCK || (run->flags & KVM_RUN_X86_BUS_LOCK) != 0;
}

static int
handle_reason(struct vcpu *vcpu)
{
    if (has_locked_the_bus(vcpu->run))
        vm_delay(vcpu->vm, LIMIT_BUS_LOCK_DELAY_MS);
    switch (vcpu->run->exit_reason) {
    case KVM_EXIT_IO:
        return handle_io(vcpu);
    case KVM_EXIT_MMIO:
        return handle_mmio(vcpu);
    case KVM_EXIT_HYPERV:
        return handle_hyperv(vcpu);
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_X86_BUS_LOCK:
        return 0;
    case KVM_EXIT_NOTIFY:
        return handle_notify(vcpu);
    case KVM_EXIT_SHUTDOWN:
        return end_for_shutdown(vcpu);
    case KVM_EXIT_SYSTEM_EVENT:
        return end_for_system_event(vcpu);
    case KVM_EXIT_INTERNAL_ERROR:
        return end_for_internal_error(vcpu);
    case KVM_EXIT_FAIL_ENTRY:
        return end_for_failed_entry(vcpu);
    default:
        return end_for_unknown(vcpu, name_exit(vcpu->run->exit_reason), vcpu->run->exit_reason);
    }
}

int
vcpu_handle_exit(struct vcpu *vcpu, int result)
{
    /* What the guest wrote before this. */
    if (coalesced_take(vcpu) < 0)
        return -ESHUTDOWN;
    if (result == 0)
        return handle_reason(vcpu);
    switch (result) {
    case -EINTR:
        return handle_interruption(vcpu);
    case -EAGAIN:
        /* It waited for another vCPU to start it, and was woken. */
        return 0;
    case -EFAULT:
        vm_end(vcpu->vm, CONTROL_ENDED__KIND__OUT_OF_MEMORY, vcpu->id, EFAULT,
               "vCPU %u: the host has no page for memory that the guest touched", vcpu->id);
        return -ESHUTDOWN;
    case -ENOMEM:
        vm_end(vcpu->vm, CONTROL_ENDED__KIND__OUT_OF_MEMORY, vcpu->id, ENOMEM,
               "vCPU %u: the host has no memory for KVM to run the guest with", vcpu->id);
        return -ESHUTDOWN;
    default:
        if (vcpu_state_drop_refused(vcpu)) {
            vm_complain(vcpu->vm, "vCPU %u: the registers that the plugin gave with a resume are refused: %s", vcpu->id,
                        strerror(-result));
            return 0;
        }
        return end_for_kvm(vcpu, result, "KVM_RUN");
    }
}
