/*
 * The floors: the bench's guest with its exits answered in the loop around KVM_RUN, in one process, as no device model can beat; and
 * answered by a second process over two pipes with nothing else around them, as none can beat that uses pipes.
 * "floor" does all the work and prints the results, "floor pipes CPU" does so with the second process on that CPU.
 */
#include "rounds.h"

#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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
touch_registers(int vcpu)
{
    struct kvm_regs regs;

    if (ioctl(vcpu, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
        err(1, "registers");
}

/* An exit as it crosses a pipe, and back. */
struct access {
    uint64_t port; /* 0: no port, but memory */
    uint8_t is_write, size, is_last, registers;
    uint8_t data[8];
};

static void
take_access(const struct kvm_run *run, struct access *access)
{
    *access = (struct access){ 0 };
    if (run->exit_reason == KVM_EXIT_MMIO)
        return;
    if (run->exit_reason != KVM_EXIT_IO || run->io.size > sizeof access->data)
        errx(1, "exit %u", run->exit_reason);
    access->port = run->io.port;
    access->is_write = run->io.direction == KVM_EXIT_IO_OUT;
    access->size = run->io.size;
    memcpy(access->data, (const uint8_t *)run + run->io.data_offset, run->io.size);
}

static void
give_access(struct kvm_run *run, const struct access *access)
{
    if (run->exit_reason == KVM_EXIT_MMIO)
        memset(run->mmio.data, 0, sizeof run->mmio.data);
    else
        memcpy((uint8_t *)run + run->io.data_offset, access->data, run->io.size);
}

/* The device: what a plugin would do. */
static void
answer(struct bench_rounds *rounds, struct access *access)
{
    if (access->port != 0)
        access->is_last = bench_access(rounds, access->port, access->is_write, access->data, access->size);
    access->registers = !access->is_last && bench_current(rounds)->registers;
}

static void
write_all(int fd, const struct access *access)
{
    if (write(fd, access, sizeof *access) != sizeof *access)
        err(1, "a pipe");
}

/* The second process: answers what comes, but for async writes, until the last. */
static void
serve_pipes(int from, int to)
{
    struct bench_rounds rounds = { 0 };
    struct access access = { 0 };

    while (!access.is_last && read(from, &access, sizeof access) == sizeof access) {
        answer(&rounds, &access);
        if (access.port != BENCH_PORT_ASYNC)
            write_all(to, &access);
    }
}

struct pipes {
    int to, from;
};

static struct pipes
start_server(int cpu)
{
    int there[2], back[2];
    cpu_set_t set;
    pid_t pid;

    if (pipe(there) < 0 || pipe(back) < 0)
        err(1, "pipes");
    pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid > 0) {
        close(there[0]);
        close(back[1]);
        return (struct pipes){ there[1], back[0] };
    }
    close(there[1]);
    close(back[0]);
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        err(1, "CPU %d", cpu);
    serve_pipes(there[0], back[1]);
    exit(0);
}

static void
answer_exits(int vcpu, struct kvm_run *run, const struct pipes *pipes)
{
    struct bench_rounds rounds = { 0 };
    struct access access = { 0 };

    while (!access.is_last) {
        const bool registers = access.registers;

        if (ioctl(vcpu, KVM_RUN, 0) < 0)
            err(1, "KVM_RUN");
        take_access(run, &access);
        access.registers = registers;
        if (registers)
            touch_registers(vcpu);
        if (pipes == NULL) {
            answer(&rounds, &access);
        } else {
            write_all(pipes->to, &access);
            if (access.port == BENCH_PORT_ASYNC)
                continue;
            if (read(pipes->from, &access, sizeof access) != sizeof access)
                err(1, "a pipe");
        }
        give_access(run, &access);
    }
}

int
main(int argc, char **argv)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vcpu, size;
    struct kvm_run *run;
    struct pipes pipes;

    if (kvm < 0)
        err(1, "/dev/kvm");
    vcpu = make_vcpu(make_vm(kvm));
    size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        err(1, "kvm_run");
    if (argc > 2 && strcmp(argv[1], "pipes") == 0) {
        pipes = start_server(atoi(argv[2]));
        answer_exits(vcpu, run, &pipes);
        return wait(NULL) < 0;
    }
    answer_exits(vcpu, run, NULL);
    return 0;
}
