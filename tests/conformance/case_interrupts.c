/* Interrupt lines, routes, and the events that raise them. */
#include "machine.h"

#include <unistd.h>

/* The guest has set up its controller and sleeps. */
static void
start_sleeper(struct machine *machine)
{
    machine_start(machine, GUEST_INTERRUPTS);
    machine_take(machine, 0x500, 1);
}

static void
set_irq_raises_the_line(void)
{
    struct machine machine;

    machine_open(&machine);
    start_sleeper(&machine);
    for (int i = 0; i < 3; i++) {
        check_equal(crosvm_set_irq(machine.vm, 5, true), 0);
        machine_take(&machine, 0x510, 1);
        check_equal(crosvm_set_irq(machine.vm, 5, false), 0);
    }
    /* A line that leads nowhere takes it all the same. */
    check_equal(crosvm_set_irq_routing(machine.vm, 0, NULL), 0);
    check_equal(crosvm_set_irq(machine.vm, 5, true), 0);
}

static void
set_irq_routing_replaces_the_table(void)
{
    const struct crosvm_irq_route routes[] = {
        { .irq_id = 20, .kind = CROSVM_IRQ_ROUTE_IRQCHIP, .irqchip = { .irqchip = KVM_IRQCHIP_PIC_MASTER, .pin = 5 } },
        { .irq_id = 21, .kind = CROSVM_IRQ_ROUTE_MSI, .msi = { .address = 0xfee00000, .data = 0x40 } },
    };
    struct crosvm_irq_route wrong = routes[0];
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_set_irq_routing(machine.vm, 2, routes), 0);
    wrong.kind = 2;
    check_equal(crosvm_set_irq_routing(machine.vm, 1, &wrong), -EINVAL);
    wrong = routes[0];
    wrong.irqchip.irqchip = 9;
    check_equal(crosvm_set_irq_routing(machine.vm, 1, &wrong), -EINVAL);
    start_sleeper(&machine);
    check_equal(crosvm_set_irq(machine.vm, 20, true), 0);
    machine_take(&machine, 0x510, 1);
}

static void
create_irq_event_raises_and_resamples(void)
{
    struct crosvm_irq *irq, *second;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_create_irq_event(machine.vm, 5, &irq), 0);
    check_equal(crosvm_create_irq_event(machine.vm, 5, &second), 0);
    check_equal(crosvm_destroy_irq_event(machine.vm, &second), 0);
    start_sleeper(&machine);
    for (int i = 0; i < 3; i++) {
        write_event(crosvm_irq_event_get_fd(irq));
        machine_take(&machine, 0x510, 1);
        check(becomes_readable(crosvm_irq_event_get_resample_fd(irq), 1000));
        read_event(crosvm_irq_event_get_resample_fd(irq));
    }
}

static void
destroy_irq_event_ends_it(void)
{
    struct crosvm_irq *irq;
    struct machine machine;
    int trigger;

    machine_open(&machine);
    check_equal(crosvm_create_irq_event(machine.vm, 5, &irq), 0);
    trigger = dup(crosvm_irq_event_get_fd(irq));
    check_equal(crosvm_destroy_irq_event(machine.vm, &irq), 0);
    check(irq == NULL);
    start_sleeper(&machine);
    write_event(trigger);
    /* The only interrupt that comes is the pause's: none. */
    usleep(20000);
    check_equal(crosvm_pause_vcpus(machine.vm, 1, &machine), 0);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    check_equal(machine.event.kind, CROSVM_VCPU_EVENT_KIND_PAUSED);
}

/* The guest has its vectors, its local APIC is on, and it sleeps. */
static void
start_with_apic(struct machine *machine)
{
    const uint32_t enabled = 0x1ff;
    struct kvm_lapic_state state;

    machine_open_at_init(machine);
    check_equal(crosvm_vcpu_get_lapic_state(machine->vcpu, &state), 0);
    memcpy(&state.regs[0xf0], &enabled, sizeof enabled);
    check_equal(crosvm_vcpu_set_lapic_state(machine->vcpu, &state), 0);
    machine_enter(machine, machine->vcpu, GUEST_VECTORS);
    machine_take(machine, 0x500, 1);
}

static void
set_irq_routing_to_a_message(void)
{
    const struct crosvm_irq_route route = {
        .irq_id = 21, .kind = CROSVM_IRQ_ROUTE_MSI, .msi = { .address = 0xfee00000, .data = 0x40 }
    };
    struct machine machine;
    struct crosvm_irq *irq;

    start_with_apic(&machine);
    check_equal(crosvm_set_irq_routing(machine.vm, 1, &route), 0);
    check_equal(crosvm_set_irq(machine.vm, 21, true), 0);
    check_equal(machine_take(&machine, 0x510, 1), 0x40);
    /* The same by an event, while the guest runs, to a vector of a higher class: the guest never says that it is done with the first. */
    struct crosvm_irq_route other = route;

    other.msi.data = 0x51;
    check_equal(crosvm_create_irq_event(machine.vm, 21, &irq), 0);
    check_equal(crosvm_set_irq_routing(machine.vm, 1, &other), 0);
    write_event(crosvm_irq_event_get_fd(irq));
    check_equal(machine_take(&machine, 0x510, 1), 0x51);
}

static void
ioapic_state_is_where_interrupts_go(void)
{
    struct kvm_ioapic_state state;
    struct machine machine;

    start_with_apic(&machine);
    check_equal(crosvm_get_ioapic_state(machine.vm, &state), 0);
    state.redirtbl[20].bits = 0x51;
    check_equal(crosvm_set_ioapic_state(machine.vm, &state), 0);
    check_equal(crosvm_set_irq(machine.vm, 20, true), 0);
    check_equal(machine_take(&machine, 0x510, 1), 0x51);
}

/* Without its local APIC the guest sees nothing of it. */
static void
lapic_state_decides_what_comes(void)
{
    const uint32_t disabled = 0xff;
    struct kvm_lapic_state state;
    struct kvm_ioapic_state ioapic;
    struct machine machine;

    machine_open_at_init(&machine);
    check_equal(crosvm_vcpu_get_lapic_state(machine.vcpu, &state), 0);
    memcpy(&state.regs[0xf0], &disabled, sizeof disabled);
    check_equal(crosvm_vcpu_set_lapic_state(machine.vcpu, &state), 0);
    check_equal(crosvm_get_ioapic_state(machine.vm, &ioapic), 0);
    ioapic.redirtbl[20].bits = 0x51;
    check_equal(crosvm_set_ioapic_state(machine.vm, &ioapic), 0);
    machine_enter(&machine, machine.vcpu, GUEST_VECTORS);
    machine_take(&machine, 0x500, 1);
    check_equal(crosvm_set_irq(machine.vm, 20, true), 0);
    usleep(20000);
    check_equal(crosvm_pause_vcpus(machine.vm, 1, &machine), 0);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    check_equal(machine.event.kind, CROSVM_VCPU_EVENT_KIND_PAUSED);
}

/* What is injected comes, and what the guest is in the middle of can be seen. */
static void
vcpu_events_inject_an_nmi(void)
{
    struct kvm_vcpu_events events;
    struct machine machine;

    start_with_apic(&machine);
    check_equal(crosvm_pause_vcpus(machine.vm, 1, &machine), 0);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    check_equal(machine.event.kind, CROSVM_VCPU_EVENT_KIND_PAUSED);
    check_equal(crosvm_vcpu_get_vcpu_events(machine.vcpu, &events), 0);
    check_equal(events.nmi.masked, 0);
    events.nmi.pending = 1;
    events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
    check_equal(crosvm_vcpu_set_vcpu_events(machine.vcpu, &events), 0);
    machine_resume(&machine);
    machine_expect(&machine, 0x510, true, 1);
    check_equal(machine.event.io_access.data[0], 2);
    check_equal(crosvm_vcpu_get_vcpu_events(machine.vcpu, &events), 0);
    check_equal(events.nmi.masked, 1);
    check_equal(events.nmi.pending, 0);
}

const struct conformance_case cases_interrupts[] = {
    { "set_irq_raises_the_line", set_irq_raises_the_line },
    { "set_irq_routing_replaces_the_table", set_irq_routing_replaces_the_table },
    { "create_irq_event_raises_and_resamples", create_irq_event_raises_and_resamples },
    { "destroy_irq_event_ends_it", destroy_irq_event_ends_it },
    { "set_irq_routing_to_a_message", set_irq_routing_to_a_message },
    { "ioapic_state_is_where_interrupts_go", ioapic_state_is_where_interrupts_go },
    { "lapic_state_decides_what_comes", lapic_state_decides_what_comes },
    { "vcpu_events_inject_an_nmi", vcpu_events_inject_an_nmi },
    { 0 },
};
