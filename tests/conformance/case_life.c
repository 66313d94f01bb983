/* Start, waiting, pausing, and what is refused when. */
#include "machine.h"

#include <pthread.h>
#include <unistd.h>

static void
start_is_once(void)
{
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_start(machine.vm), 0);
    check_equal(crosvm_start(machine.vm), -EINVAL);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    check_equal(machine.event.kind, CROSVM_VCPU_EVENT_KIND_INIT);
}

static void *
wait_for_init(void *context)
{
    struct machine *machine = context;

    check_equal(crosvm_vcpu_wait(machine->vcpu, &machine->event), 0);
    return NULL;
}

static void
wait_before_start_blocks_until_then(void)
{
    struct machine machine;
    pthread_t thread;

    machine_open(&machine);
    machine.event.kind = UINT32_MAX;
    check_equal(pthread_create(&thread, NULL, wait_for_init, &machine), 0);
    usleep(20000);
    check_equal(*(volatile uint32_t *)&machine.event.kind, UINT32_MAX);
    check_equal(crosvm_start(machine.vm), 0);
    check_equal(pthread_join(thread, NULL), 0);
    check_equal(machine.event.kind, CROSVM_VCPU_EVENT_KIND_INIT);
}

static void
requests_before_init_is_read_are_refused(void)
{
    struct machine machine;
    struct kvm_fpu fpu;
    struct kvm_regs regs = { 0 };

    machine_open(&machine);
    check_equal(crosvm_start(machine.vm), 0);
    check_equal(crosvm_vcpu_get_fpu(machine.vcpu, &fpu), -EPROTO);
    check_equal(crosvm_vcpu_get_regs(machine.vcpu, &regs), -EPROTO);
    check_equal(crosvm_vcpu_set_regs(machine.vcpu, &regs), 0);
    check_equal(crosvm_vcpu_resume(machine.vcpu), 0);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    check_equal(machine.event.kind, CROSVM_VCPU_EVENT_KIND_INIT);
}

/* No vCPU enters the guest before each was resumed from INIT. */
static void
all_wait_for_all(void)
{
    const struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
    struct crosvm_vcpu_event event;
    struct crosvm_vcpu *second;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_get_vcpu(machine.vm, 1, &second), 0);
    check_equal(crosvm_start(machine.vm), 0);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    machine_enter(&machine, machine.vcpu, GUEST_SPIN);
    check_equal(crosvm_vcpu_wait(second, &event), 0);
    usleep(20000);
    check_equal(machine.memory[0x8000], 0);
    check_equal(crosvm_vcpu_set_mp_state(second, &runnable), 0);
    machine_enter(&machine, second, GUEST_PORTS);
    machine_take(&machine, 0x500, 1);
    check_equal(crosvm_vcpu_wait(second, &event), 0);
    check_equal(event.kind, CROSVM_VCPU_EVENT_KIND_IO_ACCESS);
}

/* One that was left to wait is started by another, as processors are. */
static void
a_vcpu_is_started_by_another(void)
{
    struct crosvm_vcpu *second;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_get_vcpu(machine.vm, 1, &second), 0);
    check_equal(crosvm_start(machine.vm), 0);
    check_equal(crosvm_vcpu_wait(second, &machine.event), 0);
    check_equal(crosvm_vcpu_resume(second), 0);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    machine_enter_protected(&machine, machine.vcpu, GUEST_WAKER);
    machine_finish(&machine);
    machine.vcpu = second;
    machine_answer(&machine, 0x500, 1, 0x42);
    check_equal(machine_take(&machine, 0x501, 1), 0x42);
}

static void
expect_pause(struct machine *machine, const void *user)
{
    check_equal(crosvm_vcpu_wait(machine->vcpu, &machine->event), 0);
    check_equal(machine->event.kind, CROSVM_VCPU_EVENT_KIND_PAUSED);
    check(machine->event.user == user);
}

static void
pause_vcpus_interrupts_a_running_guest(void)
{
    struct machine machine;
    int first, second;
    uint16_t before;

    machine_open(&machine);
    machine_start(&machine, GUEST_SPIN);
    machine_take(&machine, 0x500, 1);
    usleep(10000);
    check_equal(crosvm_pause_vcpus(machine.vm, UINT64_MAX, &first), 0);
    expect_pause(&machine, &first);
    /* It stands still. */
    memcpy(&before, machine.memory + 0x8000, sizeof before);
    usleep(10000);
    check_equal(memcmp(&before, machine.memory + 0x8000, sizeof before), 0);
    /* Asked while it is held: one more, with the latest word. */
    check_equal(crosvm_pause_vcpus(machine.vm, 1, &first), 0);
    check_equal(crosvm_pause_vcpus(machine.vm, 1, &second), 0);
    machine_resume(&machine);
    expect_pause(&machine, &second);
    machine_resume(&machine);
    usleep(10000);
    check(memcmp(&before, machine.memory + 0x8000, sizeof before) != 0);
}

static void
a_pause_before_start_is_remembered(void)
{
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_pause_vcpus(machine.vm, 1, &machine), 0);
    machine_start(&machine, GUEST_PORTS);
    expect_pause(&machine, &machine);
    machine_resume(&machine);
    machine_answer(&machine, 0x500, 1, 0x99);
    check_equal(machine_take(&machine, 0x501, 1), 0x99);
}

/* The access that the guest is in the middle of is completed first: its read is not lost. */
static void
a_pause_waits_for_the_access(void)
{
    struct machine machine;

    machine_open(&machine);
    machine_start(&machine, GUEST_PORTS);
    machine_expect(&machine, 0x500, false, 1);
    check_equal(crosvm_pause_vcpus(machine.vm, 1, &machine), 0);
    machine.event.io_access.data[0] = 0x42;
    machine_resume(&machine);
    expect_pause(&machine, &machine);
    struct kvm_regs regs;

    check_equal(crosvm_vcpu_get_regs(machine.vcpu, &regs), 0);
    check_equal(regs.rax & 0xff, 0x42);
    machine_resume(&machine);
    check_equal(machine_take(&machine, 0x501, 1), 0x42);
}

static void
the_first_process_of_an_empty_room(void)
{
    check(getenv("CROSVM_SOCKET") != NULL);
    check(getenv("HOME") == NULL);
    if (getpid() != 1)
        skip("the plugin is not jailed");
    check_equal(getuid(), 0);
    check(access("/etc/passwd", F_OK) < 0);
}

/* What the VM ends with, and its exit code, is looked at from outside. */
static void
a_triple_fault_ends_the_vm(void)
{
    struct machine machine;

    machine_open(&machine);
    machine_start(&machine, GUEST_TRIPLE_FAULT);
    check(crosvm_vcpu_wait(machine.vcpu, &machine.event) < 0);
}

const struct conformance_case cases_life[] = {
    { "start_is_once", start_is_once },
    { "wait_before_start_blocks_until_then", wait_before_start_blocks_until_then },
    { "requests_before_init_is_read_are_refused", requests_before_init_is_read_are_refused },
    { "all_wait_for_all@2", all_wait_for_all },
    { "a_vcpu_is_started_by_another@2", a_vcpu_is_started_by_another },
    { "pause_vcpus_interrupts_a_running_guest", pause_vcpus_interrupts_a_running_guest },
    { "a_pause_before_start_is_remembered", a_pause_before_start_is_remembered },
    { "a_pause_waits_for_the_access", a_pause_waits_for_the_access },
    { "a_triple_fault_ends_the_vm@shuts", a_triple_fault_ends_the_vm },
    { "the_first_process_of_an_empty_room", the_first_process_of_an_empty_room },
    { 0 },
};
