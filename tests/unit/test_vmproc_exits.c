/*
 * What each way out of KVM_RUN leads to, one by one, on a KVM made of memory: most of them no guest can be made to take
 * at will.
 */
#include "tests/unit/vmproc_fake.h"

#include <time.h>

/* --- endings */

static void
expect_end(struct vcpu *vcpu, int result, ControlEnded__Kind kind, uint64_t code, const char *word)
{
    const struct vm_end *end;

    assert_int_equal(vcpu_handle_exit(vcpu, result), -ESHUTDOWN);
    end = vm_get_end(vcpu->vm);
    assert_non_null(end);
    assert_int_equal(end->kind, kind);
    assert_int_equal(end->code, code);
    assert_int_equal(end->vcpu, 0);
    assert_non_null(strstr(end->text, "vCPU 0"));
    if (strstr(end->text, word) == NULL)
        print_message("\"%s\" does not say \"%s\"\n", end->text, word);
    assert_non_null(strstr(end->text, word));
    destroy(vcpu);
}

static void
test_exits_that_are_not_known_end_the_vm_and_are_named(void **state)
{
    static const struct {
        uint32_t reason;
        const char *name;
    } unknown[] = {
        { KVM_EXIT_UNKNOWN, "KVM_EXIT_UNKNOWN" },
        { KVM_EXIT_EXCEPTION, "KVM_EXIT_EXCEPTION" },
        { KVM_EXIT_HYPERCALL, "KVM_EXIT_HYPERCALL" },
        { KVM_EXIT_DEBUG, "KVM_EXIT_DEBUG" },
        { KVM_EXIT_HLT, "KVM_EXIT_HLT" },
        { KVM_EXIT_SET_TPR, "KVM_EXIT_SET_TPR" },
        { KVM_EXIT_TPR_ACCESS, "KVM_EXIT_TPR_ACCESS" },
        { KVM_EXIT_NMI, "KVM_EXIT_NMI" },
        { KVM_EXIT_IOAPIC_EOI, "KVM_EXIT_IOAPIC_EOI" },
        { KVM_EXIT_X86_RDMSR, "KVM_EXIT_X86_RDMSR" },
        { KVM_EXIT_X86_WRMSR, "KVM_EXIT_X86_WRMSR" },
        { KVM_EXIT_DIRTY_RING_FULL, "KVM_EXIT_DIRTY_RING_FULL" },
        { KVM_EXIT_AP_RESET_HOLD, "KVM_EXIT_AP_RESET_HOLD" },
        { KVM_EXIT_XEN, "KVM_EXIT_XEN" },
        /* Of another architecture, and of a kernel to come. */
        { KVM_EXIT_S390_RESET, "number 14" },
        { 38, "number 38" },
        { 39, "number 39" },
        { UINT32_MAX, "number 4294967295" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        struct vcpu *vcpu = make_vcpu();

        vcpu->run->exit_reason = unknown[i].reason;
        expect_end(vcpu, 0, CONTROL_ENDED__KIND__UNKNOWN_EXIT, unknown[i].reason, unknown[i].name);
    }
}

static void
test_ends_of_the_guest(void **state)
{
    static const struct {
        uint32_t type;
        ControlEnded__Kind kind;
        const char *word;
    } events[] = {
        { KVM_SYSTEM_EVENT_SHUTDOWN, CONTROL_ENDED__KIND__GUEST_SHUTDOWN, "shut down" },
        { KVM_SYSTEM_EVENT_RESET, CONTROL_ENDED__KIND__GUEST_RESET, "reset" },
        { KVM_SYSTEM_EVENT_CRASH, CONTROL_ENDED__KIND__INTERNAL_ERROR, "crash" },
        { KVM_SYSTEM_EVENT_WAKEUP, CONTROL_ENDED__KIND__UNKNOWN_EXIT, "KVM_EXIT_SYSTEM_EVENT, number 4" },
        { 77, CONTROL_ENDED__KIND__UNKNOWN_EXIT, "KVM_EXIT_SYSTEM_EVENT, number 77" },
    };
    struct vcpu *vcpu;

    (void)state;
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        vcpu = make_vcpu();
        vcpu->run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
        vcpu->run->system_event.type = events[i].type;
        expect_end(vcpu, 0, events[i].kind, events[i].type, events[i].word);
    }
    vcpu = make_vcpu();
    vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
    expect_end(vcpu, 0, CONTROL_ENDED__KIND__GUEST_SHUTDOWN, KVM_EXIT_SHUTDOWN, "triple fault");
}

static void
test_failures_of_the_processor(void **state)
{
    static const struct {
        uint32_t error;
        const char *word;
    } internal[] = {
        { KVM_INTERNAL_ERROR_EMULATION, "cannot emulate" },
        { KVM_INTERNAL_ERROR_SIMUL_EX, "an exception while" },
        { KVM_INTERNAL_ERROR_DELIVERY_EV, "an event was delivered" },
        { KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, "does not know" },
        { 0, "internal error 0" },
        { UINT32_MAX, "internal error 4294967295" },
    };
    struct vcpu *vcpu;

    (void)state;
    for (size_t i = 0; i < sizeof internal / sizeof internal[0]; i++) {
        vcpu = make_vcpu();
        vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
        vcpu->run->internal.suberror = internal[i].error;
        expect_end(vcpu, 0, CONTROL_ENDED__KIND__INTERNAL_ERROR, internal[i].error, internal[i].word);
    }
    vcpu = make_vcpu();
    vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
    vcpu->run->fail_entry.hardware_entry_failure_reason = 0x80000021;
    expect_end(vcpu, 0, CONTROL_ENDED__KIND__INTERNAL_ERROR, 0x80000021, "0x80000021");
    vcpu = make_vcpu();
    vcpu->run->exit_reason = KVM_EXIT_NOTIFY;
    vcpu->run->notify.flags = KVM_NOTIFY_CONTEXT_INVALID;
    expect_end(vcpu, 0, CONTROL_ENDED__KIND__INTERNAL_ERROR, KVM_EXIT_NOTIFY, "its state is lost");
    vcpu = make_vcpu();
    vcpu->run->exit_reason = KVM_EXIT_HYPERV;
    vcpu->run->hyperv.type = KVM_EXIT_HYPERV_SYNDBG;
    expect_end(vcpu, 0, CONTROL_ENDED__KIND__UNKNOWN_EXIT, KVM_EXIT_HYPERV_SYNDBG, "KVM_EXIT_HYPERV, number 3");
}

static void
test_failures_of_kvm_run(void **state)
{
    struct vcpu *vcpu = make_vcpu();

    (void)state;
    /* Woken, or kicked for nothing: on into the guest. */
    vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
    assert_int_equal(vcpu_handle_exit(vcpu, -EAGAIN), 0);
    assert_int_equal(vcpu_handle_exit(vcpu, -EINTR), 0);
    /* Registers of a resume that KVM does not like are dropped, once. */
    vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
    assert_int_equal(vcpu_handle_exit(vcpu, -EINVAL), 0);
    assert_int_equal(vcpu->run->kvm_dirty_regs, 0);
    assert_null(vm_get_end(vcpu->vm));
    expect_end(vcpu, -EINVAL, CONTROL_ENDED__KIND__KVM_FAILED, EINVAL, "KVM_RUN: Invalid argument");
    vcpu = make_vcpu();
    /* With it newer kernels give KVM_EXIT_MEMORY_FAULT as the reason. */
    vcpu->run->exit_reason = 39;
    expect_end(vcpu, -EFAULT, CONTROL_ENDED__KIND__OUT_OF_MEMORY, EFAULT, "no page");
    expect_end(make_vcpu(), -ENOMEM, CONTROL_ENDED__KIND__OUT_OF_MEMORY, ENOMEM, "no memory");
    expect_end(make_vcpu(), -EIO, CONTROL_ENDED__KIND__KVM_FAILED, EIO, "KVM_RUN");
}

/* --- exits after which the guest goes on */

static double
seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
test_exits_that_need_nothing(void **state)
{
    static const uint32_t reasons[] = {
        KVM_EXIT_INTR, KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_NOTIFY, KVM_EXIT_X86_BUS_LOCK,
    };
    struct vcpu *vcpu = make_vcpu();

    (void)state;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        vcpu->run->exit_reason = reasons[i];
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    }
    assert_null(vm_get_end(vcpu->vm));
    destroy(vcpu);
}

/* Whatever else the exit is about: a locked access may be one to a device. */
static void
test_locking_the_bus_costs_time(void **state)
{
    const unsigned rounds = 50;
    struct vcpu *vcpu = make_vcpu();
    double begin = seconds();

    (void)state;
    vcpu->run->exit_reason = KVM_EXIT_X86_BUS_LOCK;
    for (unsigned i = 0; i < rounds; i++)
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_true(seconds() - begin >= rounds * LIMIT_BUS_LOCK_DELAY_MS / 1e3);
    set_access(vcpu, true, 1, 1);
    vcpu->run->flags = KVM_RUN_X86_BUS_LOCK;
    begin = seconds();
    for (unsigned i = 0; i < rounds; i++)
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_true(seconds() - begin >= rounds * LIMIT_BUS_LOCK_DELAY_MS / 1e3);
    vcpu->run->flags = 0;
    begin = seconds();
    for (unsigned i = 0; i < rounds; i++)
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_true(seconds() - begin < rounds * LIMIT_BUS_LOCK_DELAY_MS / 1e3);
    destroy(vcpu);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exits_that_are_not_known_end_the_vm_and_are_named),
        cmocka_unit_test(test_ends_of_the_guest),
        cmocka_unit_test(test_failures_of_the_processor),
        cmocka_unit_test(test_failures_of_kvm_run),
        cmocka_unit_test(test_exits_that_need_nothing),
        cmocka_unit_test(test_locking_the_bus_costs_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
