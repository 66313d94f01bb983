/* The state of the devices in the kernel: what is set is what the guest finds, and what the guest does is what is got. */
#include "machine.h"

static void
pic_state(void)
{
    struct kvm_pic_state primary, secondary;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_get_pic_state(machine.vm, true, &primary), 0);
    check_equal(crosvm_get_pic_state(machine.vm, false, &secondary), 0);
    primary.imr = 0x5a;
    secondary.imr = 0xa5;
    check_equal(crosvm_set_pic_state(machine.vm, true, &primary), 0);
    check_equal(crosvm_set_pic_state(machine.vm, false, &secondary), 0);
    machine_start(&machine, GUEST_PIC);
    check_equal(machine_take(&machine, 0x500, 1), 0x5a);
    machine_finish(&machine);
    check_equal(crosvm_get_pic_state(machine.vm, true, &primary), 0);
    check_equal(primary.imr, 0x3c);
    check_equal(crosvm_get_pic_state(machine.vm, false, &secondary), 0);
    check_equal(secondary.imr, 0xa5);
}

static void
ioapic_state(void)
{
    struct kvm_ioapic_state state, again;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_get_ioapic_state(machine.vm, &state), 0);
    check_equal(state.base_address, 0xfec00000);
    state.redirtbl[3].fields.vector = 0x77;
    check_equal(crosvm_set_ioapic_state(machine.vm, &state), 0);
    check_equal(crosvm_get_ioapic_state(machine.vm, &again), 0);
    check_equal(again.redirtbl[3].fields.vector, 0x77);
}

static void
pit_state(void)
{
    struct kvm_pit_state2 state, again;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_get_pit_state(machine.vm, &state), 0);
    state.channels[1].count = 0x4321;
    check_equal(crosvm_set_pit_state(machine.vm, &state), 0);
    check_equal(crosvm_get_pit_state(machine.vm, &again), 0);
    check_equal(again.channels[1].count, 0x4321);
    machine_start(&machine, GUEST_PIT);
    machine_finish(&machine);
    check_equal(crosvm_get_pit_state(machine.vm, &again), 0);
    check_equal(again.channels[2].count, 0x1234);
}

static void
clock_state(void)
{
    const uint64_t day = UINT64_C(86400) * 1000000000;
    struct kvm_clock_data clock = { 0 }, again;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_get_clock(machine.vm, &clock), 0);
    check(clock.clock < day);
    clock.clock = 7 * day;
    clock.flags = 0;
    check_equal(crosvm_set_clock(machine.vm, &clock), 0);
    check_equal(crosvm_get_clock(machine.vm, &again), 0);
    check(again.clock >= 7 * day);
    check(again.clock < 8 * day);
}

#define MSR_KVM_SYSTEM_TIME 0x4b564d01

/* A guest that asks KVM for the time is given what was set. */
static void
clock_is_what_the_guest_reads(void)
{
    const uint64_t day = UINT64_C(86400) * 1000000000;
    const struct kvm_msr_entry where = { .index = MSR_KVM_SYSTEM_TIME, .data = 0x8000 | 1 };
    const struct kvm_clock_data clock = { .clock = 7 * day };
    struct machine machine;
    uint64_t system_time;
    uint32_t count;

    machine_open_at_init(&machine);
    check_equal(crosvm_vcpu_set_msrs(machine.vcpu, 1, &where), 0);
    struct kvm_msr_entry again = { .index = MSR_KVM_SYSTEM_TIME };

    check_equal(crosvm_vcpu_get_msrs(machine.vcpu, 1, &again, &count), 0);
    if (count == 0)
        skip("this KVM gives the guest no clock");
    check_equal(again.data, where.data);
    check_equal(crosvm_set_clock(machine.vm, &clock), 0);
    machine_enter(&machine, machine.vcpu, GUEST_PORTS);
    machine_expect(&machine, 0x500, false, 1);
    /* struct pvclock_vcpu_time_info: version, padding, a TSC, and then the time of that TSC in nanoseconds. */
    memcpy(&system_time, machine.memory + 0x8010, sizeof system_time);
    check(system_time >= 7 * day);
    check(system_time < 8 * day);
}

/* KVM takes it before the first vCPU exists, and not after. */
static void
identity_map_addr(void)
{
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_set_identity_map_addr(machine.vm, 0xfeffc000), 0);
    machine_start(&machine, GUEST_SPIN);
    machine_take(&machine, 0x500, 1);
    check(crosvm_set_identity_map_addr(machine.vm, 0xfeffc000) < 0);
}

const struct conformance_case cases_devices[] = {
    { "pic_state", pic_state },
    { "ioapic_state", ioapic_state },
    { "pit_state", pit_state },
    { "clock_state", clock_state },
    { "clock_is_what_the_guest_reads", clock_is_what_the_guest_reads },
    { "identity_map_addr", identity_map_addr },
    { 0 },
};
