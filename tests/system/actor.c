/*
 * A plugin that plays the part that its first argument names, so that a test of the supervisor gets the VM that it needs. But for the
 * parts that end early, the guest is one page of real-mode code that sleeps for ever.
 *
 *   idle      exits 0 once the VM is ending
 *   stay      does not mind that the VM is ending
 *   exit N    exits with N once the VM runs
 *   early N   exits with N without having connected
 *   fault     dies of a real fault once the VM runs
 *   forbidden makes a system call that no policy of ours allows
 *   lost      runs guest code where there is none
 *   echo      prints its arguments, then its input, a line at a time, until the input ends; then exits 0
 *   network   prints what net_get_config gives, then as idle
 *   eat       takes memory and writes it, as much as it gets, up to 1 GiB; then as idle
 *   flood     writes log lines as fast as it can, then as idle
 */
#include "vmsup-plugin.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <unistd.h>

#define PAGE 4096
#define MIB (1024 * 1024)
#define EAT_MIB 1024
#define FLOOD_LINES 200000

/* hlt; jmp to itself: no interrupt comes, so it sleeps. */
static const uint8_t guest_code[] = { 0xfa, 0xf4, 0xeb, 0xfd };

static void
check(int result, const char *what)
{
    if (result < 0)
        errx(90, "%s: %s", what, strerror(-result));
}

/* One page of memory at 0 with the guest's code. */
static void
make_memory(struct vmsup *vm)
{
    struct vmsup_memory *memory;
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, PAGE) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        err(91, "memory");
    if (pwrite(fd, guest_code, sizeof guest_code, 0) != sizeof guest_code)
        err(91, "memory");
    check(vmsup_create_memory(vm, fd, 0, PAGE, 0, false, false, &memory), "create_memory");
    close(fd);
}

/* Real mode, from address 0. */
static void
begin_at(struct vmsup_vcpu *vcpu, uint64_t address)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = { .rip = address, .rflags = 2 };

    check(vmsup_vcpu_get_sregs(vcpu, &sregs), "get_sregs");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    check(vmsup_vcpu_set_sregs(vcpu, &sregs), "set_sregs");
    check(vmsup_vcpu_set_regs(vcpu, &regs), "set_regs");
}

static void
start(struct vmsup *vm, uint64_t address)
{
    struct vmsup_vcpu_event event;
    struct vmsup_vcpu *vcpu;

    make_memory(vm);
    check(vmsup_start(vm), "start");
    for (uint32_t id = 0; vmsup_get_vcpu(vm, id, &vcpu) == 0; id++) {
        check(vmsup_vcpu_wait(vcpu, &event), "wait");
        begin_at(vcpu, address);
        check(vmsup_vcpu_resume(vcpu), "resume");
    }
}

static int
wait_for_end(struct vmsup *vm)
{
    struct pollfd end = { .fd = vmsup_get_shutdown_eventfd(vm), .events = POLLIN };

    check(end.fd, "get_shutdown_eventfd");
    while (poll(&end, 1, -1) < 0 && errno == EINTR)
        ;
    return 0;
}

static int
echo(int argc, char **argv)
{
    char line[1024];

    for (int i = 2; i < argc; i++)
        printf("argument %s\n", argv[i]);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        printf("read %s", line);
        fflush(stdout);
    }
    return 0;
}

static void
print_network(struct vmsup *vm)
{
    struct vmsup_net_config config;
    char address[INET_ADDRSTRLEN], netmask[INET_ADDRSTRLEN];
    const uint8_t *mac = config.host_mac_address;

    check(vmsup_net_get_config(vm, &config), "net_get_config");
    inet_ntop(AF_INET, &config.host_ip, address, sizeof address);
    inet_ntop(AF_INET, &config.netmask, netmask, sizeof netmask);
    printf("network %s %s %02x:%02x:%02x:%02x:%02x:%02x\n", address, netmask, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    fflush(stdout);
}

static void
flood(void)
{
    for (int i = 0; i < FLOOD_LINES; i++)
        fprintf(stderr, "line %d of a plugin that says too much\n", i);
}

static void
eat(void)
{
    for (int i = 0; i < EAT_MIB; i++) {
        char *piece = malloc(MIB);

        if (piece == NULL)
            err(92, "memory");
        memset(piece, i, MIB);
    }
}

int
main(int argc, char **argv)
{
    const char *part = argc > 1 ? argv[1] : "idle";
    int code = argc > 2 ? atoi(argv[2]) : 0;
    struct vmsup *vm;

    if (strcmp(part, "early") == 0)
        return code;
    check(vmsup_connect(&vm), "connect");
    if (strcmp(part, "network") == 0)
        print_network(vm);
    start(vm, strcmp(part, "lost") == 0 ? 0x8000 : 0);
    if (strcmp(part, "exit") == 0)
        return code;
    if (strcmp(part, "fault") == 0) {
        /* A sanitizer would make an exit of it. */
        signal(SIGSEGV, SIG_DFL);
        *(volatile int *)(uintptr_t)PAGE = 1;
    }
    if (strcmp(part, "forbidden") == 0)
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    if (strcmp(part, "echo") == 0)
        return echo(argc, argv);
    if (strcmp(part, "eat") == 0)
        eat();
    if (strcmp(part, "flood") == 0)
        flood();
    if (strcmp(part, "stay") == 0)
        for (;;)
            pause();
    return wait_for_end(vm);
}
