/* Connections, the vCPUs they give, and the end. */
#include "machine.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static void
connect_reads_the_environment(void)
{
    struct crosvm *vm;
    char *ours = getenv("VMSUP_SOCKET"), number[16];

    check(ours != NULL);
    snprintf(number, sizeof number, "%s", ours);
    unsetenv("VMSUP_SOCKET");
    unsetenv("CROSVM_SOCKET");
    check_equal(crosvm_connect(&vm), -ENOTCONN);
    setenv("CROSVM_SOCKET", "three", 1);
    check_equal(crosvm_connect(&vm), -EINVAL);
    setenv("CROSVM_SOCKET", "-3", 1);
    check_equal(crosvm_connect(&vm), -EINVAL);
    setenv("CROSVM_SOCKET", number, 1);
    check_equal(crosvm_connect(&vm), 0);
    check_equal(crosvm_destroy_connection(&vm), 0);
    check(vm == NULL);
}

static void
new_connection_works_beside_the_first(void)
{
    struct machine machine;
    struct crosvm *second;
    struct crosvm_io *io;
    bool has = false;

    machine_open(&machine);
    check_equal(crosvm_new_connection(machine.vm, &second), 0);
    check_equal(crosvm_check_extension(second, KVM_CAP_IRQCHIP, &has), 0);
    check(has);
    check_equal(crosvm_create_io_event(second, CROSVM_ADDRESS_SPACE_IOPORT, 0x590, 1, NULL, &io), 0);
    check_equal(crosvm_destroy_connection(&second), 0);
    /* What it made belongs to the VM and stays. */
    machine_start(&machine, GUEST_DOORBELLS);
    machine_finish(&machine);
    check(becomes_readable(crosvm_io_event_fd(io), 1000));
}

static void
get_vcpu_gives_the_same_pointer(void)
{
    struct machine machine;
    struct crosvm_vcpu *again, *none;

    machine_open(&machine);
    check_equal(crosvm_get_vcpu(machine.vm, 0, &again), 0);
    check(again == machine.vcpu);
    check_equal(crosvm_get_vcpu(machine.vm, 1, &again), 0);
    check(again != machine.vcpu);
    check_equal(crosvm_get_vcpu(machine.vm, 2, &none), -ENOENT);
}

static void
get_shutdown_eventfd_tells_of_the_end(void)
{
    struct machine machine;
    int event;

    machine_open(&machine);
    event = crosvm_get_shutdown_eventfd(machine.vm);
    check(event >= 0);
    check(!becomes_readable(event, 0));
    check_equal(crosvm_start(machine.vm), 0);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    /* The other vCPU must be resumed from INIT, too. */
    struct crosvm_vcpu *other;
    struct crosvm_vcpu_event init;

    check_equal(crosvm_get_vcpu(machine.vm, 1, &other), 0);
    check_equal(crosvm_vcpu_wait(other, &init), 0);
    check_equal(crosvm_vcpu_resume(other), 0);
    machine_enter(&machine, machine.vcpu, GUEST_LOST);
    machine_take(&machine, 0x500, 1);
    check(crosvm_vcpu_wait(machine.vcpu, &machine.event) < 0);
    check(becomes_readable(event, 1000));
    check(crosvm_vcpu_wait(other, &init) < 0);
    /* Main requests go on being served. */
    bool has;

    check_equal(crosvm_check_extension(machine.vm, KVM_CAP_IRQCHIP, &has), 0);
}

const struct conformance_case cases_connection[] = {
    { "connect_reads_the_environment", connect_reads_the_environment },
    { "new_connection_works_beside_the_first", new_connection_works_beside_the_first },
    { "get_vcpu_gives_the_same_pointer@2", get_vcpu_gives_the_same_pointer },
    { "get_shutdown_eventfd_tells_of_the_end@2@dies", get_shutdown_eventfd_tells_of_the_end },
    { 0 },
};
