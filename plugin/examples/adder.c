/*
 * adder: the smallest plugin there is. Its guest reads two numbers from one port and writes their sum to another; the plugin gives the
 * numbers, prints the sum, and ends. vmsup-plugin(7) walks through it.
 */
#define _GNU_SOURCE 1 /* memfd_create(2) */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vmsup-plugin.h>

#define MEMORY_SIZE 0x2000
#define GUEST_ADDRESS 0x1000
#define NUMBER_PORT 0x500
#define SUM_PORT 0x504

__asm__(".section .rodata\n"
        "guest_begin: .incbin \"adder_guest.bin\"\n"
        "guest_end: .previous\n");
extern const char guest_begin[], guest_end[];

/* Functions of the library give a negative errno where they fail. */
static void
check(int result, const char *what)
{
    if (result >= 0)
        return;
    errno = -result;
    err(1, "%s", what);
}

/* Guest memory is a memfd that can no longer shrink, mapped by both sides. */
static void
make_memory(struct vmsup *vm)
{
    const size_t size = (size_t)(guest_end - guest_begin);
    struct vmsup_memory *memory;
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, MEMORY_SIZE) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
        pwrite(fd, guest_begin, size, GUEST_ADDRESS) != (ssize_t)size)
        err(1, "guest memory");
    check(vmsup_create_memory(vm, fd, 0, MEMORY_SIZE, 0, false, false, &memory), "create_memory");
}

/* The first event of a vCPU is INIT: the guest begins where the registers say. */
static void
enter_guest(struct vmsup_vcpu *vcpu)
{
    const struct kvm_regs regs = { .rip = GUEST_ADDRESS, .rflags = 2 };
    struct vmsup_vcpu_event event;
    struct kvm_sregs sregs;

    check(vmsup_vcpu_wait(vcpu, &event), "wait");
    check(vmsup_vcpu_get_sregs(vcpu, &sregs), "get_sregs");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    check(vmsup_vcpu_set_sregs(vcpu, &sregs), "set_sregs");
    check(vmsup_vcpu_set_regs(vcpu, &regs), "set_regs");
    check(vmsup_vcpu_resume(vcpu), "resume");
}

int
main(int argc, char **argv)
{
    const uint32_t numbers[] = { argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 20,
                                 argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 22 };
    struct vmsup_vcpu_event event;
    struct vmsup_vcpu *vcpu;
    struct vmsup *vm;
    unsigned given = 0;
    uint32_t sum;

    check(vmsup_connect(&vm), "connect");
    make_memory(vm);
    check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, NUMBER_PORT, 8), "reserve_range");
    if (vmsup_get_vcpu(vm, 1, &vcpu) == 0)
        errx(1, "more than one vCPU: expected -c 1");
    check(vmsup_get_vcpu(vm, 0, &vcpu), "get_vcpu");
    check(vmsup_start(vm), "start");
    enter_guest(vcpu);
    for (;;) {
        check(vmsup_vcpu_wait(vcpu, &event), "wait");
        if (event.kind == VMSUP_VCPU_EVENT_KIND_IO_ACCESS && event.io_access.is_write) {
            memcpy(&sum, event.io_access.data, sizeof sum);
            printf("%u + %u = %u\n", numbers[0], numbers[1], sum);
            return 0;
        }
        if (event.kind == VMSUP_VCPU_EVENT_KIND_IO_ACCESS)
            memcpy(event.io_access.data, &numbers[given++ % 2], sizeof numbers[0]);
        check(vmsup_vcpu_resume(vcpu), "resume");
    }
}
