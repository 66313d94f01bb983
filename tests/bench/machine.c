#include "machine.h"

#include "rounds.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

void
machine_check(int result, const char *what)
{
    if (result < 0) {
        errno = -result;
        err(1, "%s", what);
    }
}

void
machine_make(struct vmsup *vm)
{
    int memory_fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct vmsup_memory *memory;
    size_t size;
    const uint8_t *guest = bench_guest(&size);

    if (memory_fd < 0 || ftruncate(memory_fd, BENCH_MEMORY_SIZE) < 0 ||
        fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
        pwrite(memory_fd, guest, size, BENCH_GUEST_ADDRESS) != (ssize_t)size)
        err(1, "guest memory");
    machine_check(vmsup_create_memory(vm, memory_fd, 0, BENCH_MEMORY_SIZE, 0, false, false, &memory), "create_memory");
    machine_check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, BENCH_PORT_FIRST, BENCH_PORT_COUNT), "ports");
    machine_check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_MMIO, BENCH_MMIO_ADDRESS, 0x1000), "mmio");
    machine_check(vmsup_reserve_async_write_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, BENCH_PORT_ASYNC, 1), "async port");
}

void
machine_enter(struct vmsup_vcpu *vcpu)
{
    const struct kvm_mp_state running = { .mp_state = KVM_MP_STATE_RUNNABLE };
    struct kvm_regs regs = { .rip = BENCH_GUEST_ADDRESS, .rflags = 2 };
    struct kvm_sregs sregs;
    struct vmsup_vcpu_event event;

    machine_check(vmsup_vcpu_wait(vcpu, &event), "wait for INIT");
    machine_check(vmsup_vcpu_get_sregs(vcpu, &sregs), "get_sregs");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    machine_check(vmsup_vcpu_set_sregs(vcpu, &sregs), "set_sregs");
    machine_check(vmsup_vcpu_set_regs(vcpu, &regs), "set_regs");
    machine_check(vmsup_vcpu_set_mp_state(vcpu, &running), "set_mp_state");
    machine_check(vmsup_vcpu_resume(vcpu), "resume");
}

void
machine_wait_for_word(void)
{
    char line[16];

    printf("ready\n");
    fflush(stdout);
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        errx(1, "nobody said go");
}
