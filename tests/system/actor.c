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
 *   queue     leaves the TAP's second queue unused and then uses it again; then as idle
 *   eat       takes memory and writes it, as much as it gets, up to 1 GiB; then as idle
 *   flood     writes log lines as fast as it can, then as idle
 *   silent    connects, never calls start, and does not mind that the VM is ending
 *   deaf      fills every pipe and socket that it has, reads none of them, and does not mind that the VM is ending
 *   rude      answers its vCPU's first event with what is no request, then as idle
 *   stubborn  runs guest code where there is none, and does not mind that the VM is ending
 *   group P   prints which group the file P has, as seen from inside, then exits 0
 *   grant N   prints what can be done with the descriptor granted as N, drops the lock that there is on it, then as idle
 */
#include "vmsup-plugin.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

/* The plugin's socket, without the library, which would read the answers. */
static int
main_socket(void)
{
    const char *number = getenv("VMSUP_SOCKET");

    return number != NULL ? atoi(number) : -1;
}

/* The two pipes of vCPU 0: MainRequest { get_vcpus {} }, whose answer has the end to write before the end to read. */
static void
get_pipes(int pipes[2])
{
    static const uint8_t request[] = { 0x8a, 0x01, 0x00 };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control = { 0 };
    char answer[256];
    struct iovec part = { answer, sizeof answer };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };

    if (send(main_socket(), request, sizeof request, 0) < 0 || recvmsg(main_socket(), &message, MSG_CMSG_CLOEXEC) < 0 ||
        CMSG_FIRSTHDR(&message) == NULL)
        err(93, "get_vcpus");
    memcpy(pipes, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof *pipes);
}

static int
rude(struct vmsup *vm)
{
    uint8_t nonsense[64];
    int pipes[2];

    make_memory(vm);
    check(vmsup_start(vm), "start");
    get_pipes(pipes);
    memset(nonsense, 0xff, sizeof nonsense);
    if (write(pipes[0], nonsense, sizeof nonsense) < 0)
        err(94, "write");
    return wait_for_end(vm);
}

static void
deaf(void)
{
    /* VcpuRequest { get_state { FPU } }, MainRequest { get_msr_index_list {} }, and a line. */
    static const uint8_t state[] = { 0x1a, 0x02, 0x08, 0x02 }, list[] = { 0x4a, 0x00 };
    static const char line[] = "a line that nobody wants to read\n";
    int pipes[2];

    get_pipes(pipes);
    for (;;) {
        struct pollfd all[] = { { pipes[0], POLLOUT, 0 }, { main_socket(), POLLOUT, 0 }, { 1, POLLOUT, 0 }, { 2, POLLOUT, 0 } };
        const struct iovec what[] = {
            { (void *)(uintptr_t)state, sizeof state }, { (void *)(uintptr_t)list, sizeof list },
            { (void *)(uintptr_t)line, sizeof line - 1 }, { (void *)(uintptr_t)line, sizeof line - 1 },
        };

        poll(all, 4, -1);
        for (int i = 0; i < 4; i++)
            if ((all[i].revents & POLLOUT) != 0 && write(all[i].fd, what[i].iov_base, what[i].iov_len) < 0 && errno != EAGAIN)
                pause();
    }
}

static int
print_group(const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        err(95, "%s", path);
    printf("group %u of %s\n", status.st_gid, path);
    return 0;
}

static void
print_outcome(const char *what, long result)
{
    printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
}

static void
use_queue(void)
{
    struct ifreq request = { .ifr_flags = IFF_DETACH_QUEUE };
    const int queue = vmsup_granted_fd("net1");

    check(queue, "granted_fd");
    print_outcome("detach", ioctl(queue, TUNSETQUEUE, &request));
    request.ifr_flags = IFF_ATTACH_QUEUE;
    print_outcome("attach", ioctl(queue, TUNSETQUEUE, &request));
    fflush(stdout);
}

static void
use_grant(const char *name)
{
    struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
    int fd = vmsup_granted_fd(name);
    char byte = 'x', path[64];

    check(fd, "granted_fd");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    print_outcome("read", pread(fd, &byte, 1, 0));
    print_outcome("write", pwrite(fd, &byte, 1, 0));
    print_outcome("open anew", open(path, O_RDWR | O_CLOEXEC));
    print_outcome("unlock", fcntl(fd, F_OFD_SETLK, &lock));
    fflush(stdout);
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
    if (strcmp(part, "grant") == 0)
        use_grant(argc > 2 ? argv[2] : "");
    if (strcmp(part, "network") == 0)
        print_network(vm);
    if (strcmp(part, "queue") == 0)
        use_queue();
    if (strcmp(part, "group") == 0)
        return print_group(argc > 2 ? argv[2] : "/");
    if (strcmp(part, "rude") == 0)
        return rude(vm);
    if (strcmp(part, "silent") == 0)
        for (;;)
            pause();
    start(vm, strcmp(part, "lost") == 0 || strcmp(part, "stubborn") == 0 ? 0x8000 : 0);
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
    if (strcmp(part, "deaf") == 0)
        deaf();
    if (strcmp(part, "stay") == 0 || strcmp(part, "stubborn") == 0)
        for (;;)
            pause();
    return wait_for_end(vm);
}
