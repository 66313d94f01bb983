#include "plain_machine.h"

#include "rounds.h"

#include <err.h>
#include <fcntl.h>
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

struct plain_machine
plain_machine_make(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), size;
    struct plain_machine machine;

    if (kvm < 0)
        err(1, "/dev/kvm");
    machine.vcpu = make_vcpu(make_vm(kvm));
    size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    machine.run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, machine.vcpu, 0);
    if (machine.run == MAP_FAILED)
        err(1, "kvm_run");
    return machine;
}
