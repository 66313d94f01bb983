/*
 * The bench's guest under vmsup: the same work as in floor.c, its exits answered by a plugin. It says "ready", waits for a line
 * on standard input (the bench pins threads meanwhile) and then answers the guest.
 */
#include "rounds.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vmsup-plugin.h>

static void
check(int result, const char *what)
{
    if (result < 0) {
        errno = -result;
        err(1, "%s", what);
    }
}

static void
make_machine(struct vmsup *vm)
{
    int memory_fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct vmsup_memory *memory;
    size_t size;
    const uint8_t *guest = bench_guest(&size);

    if (memory_fd < 0 || ftruncate(memory_fd, BENCH_MEMORY_SIZE) < 0 ||
        fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
        pwrite(memory_fd, guest, size, BENCH_GUEST_ADDRESS) != (ssize_t)size)
        err(1, "guest memory");
    check(vmsup_create_memory(vm, memory_fd, 0, BENCH_MEMORY_SIZE, 0, false, false, &memory), "create_memory");
    check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, BENCH_PORT_FIRST, BENCH_PORT_COUNT), "ports");
    check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_MMIO, BENCH_MMIO_ADDRESS, 0x1000), "mmio");
    check(vmsup_reserve_async_write_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, BENCH_PORT_ASYNC, 1), "async port");
}

static void
enter_guest(struct vmsup_vcpu *vcpu)
{
    struct kvm_regs regs = { .rip = BENCH_GUEST_ADDRESS, .rflags = 2 };
    struct kvm_sregs sregs;
    struct vmsup_vcpu_event event;

    check(vmsup_vcpu_wait(vcpu, &event), "wait for INIT");
    check(vmsup_vcpu_get_sregs(vcpu, &sregs), "get_sregs");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    check(vmsup_vcpu_set_sregs(vcpu, &sregs), "set_sregs");
    check(vmsup_vcpu_set_regs(vcpu, &regs), "set_regs");
    check(vmsup_vcpu_resume(vcpu), "resume");
}

static void
touch_registers(struct vmsup_vcpu *vcpu)
{
    struct kvm_regs regs;

    check(vmsup_vcpu_get_regs(vcpu, &regs), "get_regs");
    check(vmsup_vcpu_set_regs(vcpu, &regs), "set_regs");
}

/* Registers come along with a read of the port that is worked on, while the work is with registers. */
static void
set_hint(struct vmsup *vm, bool on)
{
    struct vmsup_hint hint = { .address_space = VMSUP_ADDRESS_SPACE_IOPORT, .address = BENCH_PORT_WORK };

    check(vmsup_set_hypercall_hint(vm, on ? 1 : 0, on ? &hint : NULL), "set_hypercall_hint");
}

static void
answer_exits(struct vmsup *vm, struct vmsup_vcpu *vcpu)
{
    struct bench_rounds rounds = { 0 };
    struct vmsup_vcpu_event event;
    bool hinted = false;

    for (;;) {
        check(vmsup_vcpu_wait(vcpu, &event), "wait");
        if (event.kind != VMSUP_VCPU_EVENT_KIND_IO_ACCESS)
            errx(1, "event %u", event.kind);
        if (event.io_access.no_resume)
            continue;
        if (bench_current(&rounds)->registers != hinted)
            set_hint(vm, hinted = !hinted);
        if (hinted)
            touch_registers(vcpu);
        if (event.io_access.address_space == VMSUP_ADDRESS_SPACE_IOPORT &&
            bench_access(&rounds, event.io_access.address, event.io_access.is_write, event.io_access.data,
                         event.io_access.length))
            return;
        check(vmsup_vcpu_resume(vcpu), "resume");
    }
}

int
main(void)
{
    struct vmsup *vm;
    struct vmsup_vcpu *vcpu;
    char line[16];

    check(vmsup_connect(&vm), "connect");
    make_machine(vm);
    check(vmsup_get_vcpu(vm, 0, &vcpu), "get_vcpu");
    check(vmsup_start(vm), "start");
    enter_guest(vcpu);
    printf("ready\n");
    fflush(stdout);
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        errx(1, "nobody said go");
    answer_exits(vm, vcpu);
    return 0;
}
