/*
 * The floor: the bench's guest with its exits answered in the loop around KVM_RUN, in one process, as no device model can beat. Does all
 * the work and prints the results.
 */
#include "rounds.h"

#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define TSS_ADDRESS 0xfffbd000u

static int
make_vm(int kvm)
{
    struct kvm_pit_config pit = { 0 };
    struct kvm_userspace_memory_region region = { .memory_size = BENCH_MEMORY_SIZE };
    size_t size;
    const uint8_t *guest = bench_guest(&size);
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    uint8_t *memory = mmap(NULL, BENCH_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (vm < 0 || memory == MAP_FAILED)
        err(1, "KVM_CREATE_VM");
    memcpy(memory + BENCH_GUEST_ADDRESS, guest, size);
    region.userspace_addr = (uint64_t)memory;
    if (ioctl(vm, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ||
        ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(vm, KVM_CREATE_PIT2, &pit) < 0)
        err(1, "making the VM");
    return vm;
}

static int
make_vcpu(int vm)
{
    struct kvm_regs regs = { .rip = BENCH_GUEST_ADDRESS, .rflags = 2 };
    struct kvm_sregs sregs;
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);

    if (vcpu < 0 || ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
        err(1, "KVM_CREATE_VCPU");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
        err(1, "setting registers");
    return vcpu;
}

static void
touch_registers(int vcpu, enum bench_touch touch)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (touch == BENCH_TOUCH_REGS && (ioctl(vcpu, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0))
        err(1, "registers");
    if (touch == BENCH_TOUCH_SREGS && ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
        err(1, "registers");
}

static void
answer_port(struct bench_rounds *rounds, struct kvm_run *run, bool *is_last)
{
    *is_last = bench_access(rounds, run->io.port, run->io.direction == KVM_EXIT_IO_OUT, (uint8_t *)run + run->io.data_offset,
                            run->io.size);
}

static void
answer_exits(int vcpu, struct kvm_run *run)
{
    struct bench_rounds rounds = { 0 };
    bool is_last = false;

    while (!is_last) {
        if (ioctl(vcpu, KVM_RUN, 0) < 0)
            err(1, "KVM_RUN");
        bench_note_exit(&rounds);
        touch_registers(vcpu, bench_current(&rounds)->touch);
        if (run->exit_reason == KVM_EXIT_MMIO)
            memset(run->mmio.data, 0, sizeof run->mmio.data);
        else if (run->exit_reason == KVM_EXIT_IO)
            answer_port(&rounds, run, &is_last);
        else
            errx(1, "exit %u", run->exit_reason);
    }
}

int
main(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vcpu, size;
    struct kvm_run *run;

    if (kvm < 0)
        err(1, "/dev/kvm");
    vcpu = make_vcpu(make_vm(kvm));
    size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        err(1, "kvm_run");
    answer_exits(vcpu, run);
    return 0;
}
