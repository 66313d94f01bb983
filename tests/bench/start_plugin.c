/*
 * The smallest plugin that the bench's guest can do with: makes it, runs it to its first exit, says when main and that exit were, and ends.
 * "start_plugin idle" first waits for the end of its standard input.
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

    if (memory_fd < 0 || ftruncate(memory_fd, BENCH_MEMORY_SIZE) < 0 || fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
        pwrite(memory_fd, guest, size, BENCH_GUEST_ADDRESS) != (ssize_t)size)
        err(1, "guest memory");
    check(vmsup_create_memory(vm, memory_fd, 0, BENCH_MEMORY_SIZE, 0, false, false, &memory), "create_memory");
    check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, BENCH_PORT_FIRST, BENCH_PORT_COUNT), "ports");
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
    check(vmsup_vcpu_wait(vcpu, &event), "wait");
}

int
main(int argc, char **argv)
{
    uint64_t at_main = bench_now();
    struct vmsup *vm;
    struct vmsup_vcpu *vcpu;
    char byte;

    check(vmsup_connect(&vm), "connect");
    make_machine(vm);
    check(vmsup_get_vcpu(vm, 0, &vcpu), "get_vcpu");
    check(vmsup_start(vm), "start");
    enter_guest(vcpu);
    printf("main\t%lu\nfirst exit\t%lu\n", at_main, bench_now());
    fflush(stdout);
    if (argc > 1 && strcmp(argv[1], "idle") == 0)
        while (read(STDIN_FILENO, &byte, 1) > 0)
            continue;
    return 0;
}
