/* Hyper-V: what a guest that expects it is given, and what it asks of the plugin. */
#include "machine.h"

#define MSR_GUEST_OS_ID 0x40000000
#define MSR_SYNIC_CONTROL 0x40000080
#define HYPERCALL_POST_MESSAGE 0x5c
#define LEAVES_MAX 64

static void
vcpu_enable_capability_knows_two(void)
{
    uint64_t args[4] = { 0 };
    struct machine machine;
    bool has;
    int result;

    machine_open_at_init(&machine);
    check_equal(crosvm_vcpu_enable_capability(machine.vcpu, KVM_CAP_SPLIT_IRQCHIP, 0, args), -EINVAL);
    check_equal(crosvm_vcpu_enable_capability(machine.vcpu, KVM_CAP_HYPERV_SYNIC, 1, args), -EINVAL);
    args[3] = 1;
    check_equal(crosvm_vcpu_enable_capability(machine.vcpu, KVM_CAP_HYPERV_SYNIC, 0, args), -EINVAL);
    args[3] = 0;
    check_equal(crosvm_check_extension(machine.vm, KVM_CAP_HYPERV_SYNIC2, &has), 0);
    result = crosvm_vcpu_enable_capability(machine.vcpu, KVM_CAP_HYPERV_SYNIC2, 0, args);
    if (has) {
        struct kvm_msr_entry synic = { .index = MSR_SYNIC_CONTROL, .data = 1 };
        uint32_t count;

        check_equal(result, 0);
        /* The SynIC's MSRs exist from now on. */
        check_equal(crosvm_vcpu_set_msrs(machine.vcpu, 1, &synic), 0);
        synic.data = 0;
        check_equal(crosvm_vcpu_get_msrs(machine.vcpu, 1, &synic, &count), 0);
        check_equal(count, 1);
    } else {
        check(result < 0);
    }
}

static void
get_hyperv_cpuid_lists_leaves(void)
{
    struct kvm_cpuid_entry2 entries[LEAVES_MAX];
    struct machine machine;
    uint32_t count = 0;
    int result;
    bool has;

    machine_open_at_init(&machine);
    check_equal(crosvm_check_extension(machine.vm, KVM_CAP_HYPERV_CPUID, &has), 0);
    result = crosvm_get_hyperv_cpuid(machine.vcpu, LEAVES_MAX, entries, &count);
    if (!has) {
        check(result < 0);
        return;
    }
    check_equal(result, 0);
    check(count > 0);
    check_equal(entries[0].function, 0x40000000);
    check_equal(crosvm_get_hyperv_cpuid(machine.vcpu, 0, entries, &count), -E2BIG);
    check(count > 0);
}

static void
hyperv_calls_and_synic_are_events(void)
{
    const struct kvm_msr_entry identity = { .index = MSR_GUEST_OS_ID, .data = 1 };
    struct kvm_cpuid_entry2 entries[LEAVES_MAX];
    uint64_t args[4] = { 0 };
    struct machine machine;
    uint32_t count = 0;
    bool has;

    machine_open_at_init(&machine);
    check_equal(crosvm_check_extension(machine.vm, KVM_CAP_HYPERV_SYNIC2, &has), 0);
    if (!has)
        skip("this KVM has no Hyper-V");
    check_equal(crosvm_get_hyperv_cpuid(machine.vcpu, LEAVES_MAX, entries, &count), 0);
    check_equal(crosvm_vcpu_set_cpuid(machine.vcpu, count, entries), 0);
    check_equal(crosvm_vcpu_enable_capability(machine.vcpu, KVM_CAP_HYPERV_SYNIC2, 0, args), 0);
    check_equal(crosvm_vcpu_set_msrs(machine.vcpu, 1, &identity), 0);
    machine_enter_protected(&machine, machine.vcpu, GUEST_HYPERV);

    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    check_equal(machine.event.kind, CROSVM_VCPU_EVENT_KIND_HYPERV_SYNIC);
    check_equal(machine.event.hyperv_synic.msr, MSR_SYNIC_CONTROL);
    check_equal(machine.event.hyperv_synic.control, 1);
    machine_resume(&machine);

    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    check_equal(machine.event.kind, CROSVM_VCPU_EVENT_KIND_HYPERV_HCALL);
    check_equal(machine.event.hyperv_call.input, HYPERCALL_POST_MESSAGE);
    check_equal(machine.event.hyperv_call.params[0], 0x8000);
    check_equal(machine.event.hyperv_call.params[1], 0x9000);
    *machine.event.hyperv_call.result = 0x1234;
    machine_resume(&machine);
    check_equal(machine_take(&machine, 0x500, 4), 0x1234);
    machine_finish(&machine);
}

const struct conformance_case cases_hyperv[] = {
    { "vcpu_enable_capability_knows_two", vcpu_enable_capability_knows_two },
    { "get_hyperv_cpuid_lists_leaves", get_hyperv_cpuid_lists_leaves },
    { "hyperv_calls_and_synic_are_events", hyperv_calls_and_synic_are_events },
    { 0 },
};
