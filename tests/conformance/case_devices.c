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
    { "identity_map_addr", identity_map_addr },
    { 0 },
};
