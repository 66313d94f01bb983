/*
 * A plugin whose vCPU speaks over a channel, in the part that its first argument names.
 *
 *   idle         its guest sleeps for ever; waits for an event
 *   busy         its guest does nothing but exit, and is answered
 *   hold         the same, but the first exit is never answered
 *   scribble N   as busy, while a thread writes over the channel, in an order that begins at N: where N modulo 4 is 0 all that there can
 *                be, where it is 1 what is nearly right, where it is 2 resumes that set registers, where it is 3 such as set none
 *
 * Where a wait fails, it says so, calls itself "failed", and stays; where the VM is ending, a scribbler exits 0.
 */
#include "vmsup-plugin.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define PORT 0x60
#define ASYNC_PORT 0x61

/* As vmsup-protocol(7) has it. */
#define CHANNEL_SIZE 0x91000
#define LINES_SIZE 0x180
#define VMPROC_SLEEPS 0x40
#define REQUEST 0x80
#define RING_TAIL 0x100
#define RING_HEAD 0x140
#define REQUEST_STATES 0x800
#define REQUEST_PAYLOAD 0x41000

static const uint8_t idle_code[] = { 0xfa, 0xf4, 0xeb, 0xfd };

/* mov dx, PORT; mov cx, 512; xor si, si; rep outsb; in al, PORT; out ASYNC_PORT, al; out PORT, al; and again */
static const uint8_t busy_code[] = { 0xba, PORT, 0x00, 0xb9, 0x00, 0x02, 0x31,       0xf6, 0xf3,
                                     0x6e, 0xe4, PORT, 0xe6, ASYNC_PORT, 0xe6, PORT, 0xeb, 0xee };

static void
check(int result, const char *what)
{
    if (result < 0)
        errx(90, "%s: %s", what, strerror(-result));
}

static void
make_memory(struct vmsup *vm, const uint8_t *code, size_t size)
{
    struct vmsup_memory *memory;
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, PAGE) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 || pwrite(fd, code, size, 0) != (ssize_t)size)
        err(91, "memory");
    check(vmsup_create_memory(vm, fd, 0, PAGE, 0, false, false, &memory), "create_memory");
    close(fd);
}

static struct vmsup_vcpu *
start(struct vmsup *vm)
{
    struct kvm_regs regs = { .rflags = 2 };
    struct vmsup_vcpu_event event;
    struct vmsup_vcpu *vcpu;
    struct kvm_sregs sregs;

    check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, PORT, 1), "reserve_range");
    check(vmsup_reserve_async_write_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, ASYNC_PORT, 1), "reserve_async_write_range");
    check(vmsup_start(vm), "start");
    check(vmsup_get_vcpu(vm, 0, &vcpu), "get_vcpu");
    check(vmsup_vcpu_wait(vcpu, &event), "wait");
    check(vmsup_vcpu_get_sregs(vcpu, &sregs), "get_sregs");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    check(vmsup_vcpu_set_sregs(vcpu, &sregs), "set_sregs");
    check(vmsup_vcpu_set_regs(vcpu, &regs), "set_regs");
    check(vmsup_vcpu_resume(vcpu), "resume");
    return vcpu;
}

static void
say(const char *text)
{
    printf("%s\n", text);
    fflush(stdout);
}

static _Noreturn void
stay(void)
{
    for (;;)
        pause();
}

static _Noreturn void
answer(struct vmsup_vcpu *vcpu, bool forgives)
{
    struct vmsup_vcpu_event event;
    struct kvm_regs regs;
    unsigned long count = 0;
    int result;

    for (;;) {
        result = vmsup_vcpu_wait(vcpu, &event);
        if (result < 0 && !forgives)
            break;
        if (result < 0)
            usleep(1000);
        if (result < 0 || (event.kind == VMSUP_VCPU_EVENT_KIND_IO_ACCESS && event.io_access.no_resume))
            continue;
        if (++count == 100)
            say("runs");
        if (count % 4 == 0 && vmsup_vcpu_get_regs(vcpu, &regs) == 0)
            vmsup_vcpu_set_regs(vcpu, &regs);
        vmsup_vcpu_resume(vcpu);
    }
    prctl(PR_SET_NAME, "failed");
    say(strerror(-result));
    stay();
}

static _Noreturn void
hold(struct vmsup_vcpu *vcpu)
{
    struct vmsup_vcpu_event event;

    check(vmsup_vcpu_wait(vcpu, &event), "wait");
    say("runs");
    stay();
}

/* --- scribbling */

static uint64_t random_state;
static unsigned harmless; /* 0 to 3 */

static uint32_t
next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* MainRequest { get_vcpu_channels {} }, asked for again by hand: the library keeps its own to itself. */
static int
get_channels(void)
{
    static const uint8_t request[] = { 0xca, 0x0c, 0x00 };
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    const char *number = getenv("VMSUP_SOCKET");
    int socket = number != NULL ? atoi(number) : -1, memfd;
    char answer_bytes[256];
    struct iovec part = { answer_bytes, sizeof answer_bytes };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };

    if (send(socket, request, sizeof request, 0) < 0 || recvmsg(socket, &message, MSG_CMSG_CLOEXEC) < 0 ||
        CMSG_FIRSTHDR(&message) == NULL)
        err(93, "get_vcpu_channels");
    memcpy(&memfd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof memfd);
    return memfd;
}

static void
write_word(volatile uint8_t *channel, size_t offset, uint32_t value)
{
    *(volatile uint32_t *)(volatile void *)(channel + offset) = value;
}

/* What is nearly right gets further than what is not. */
static void
write_request(volatile uint8_t *channel)
{
    static const uint8_t messages[][4] = { { 0x12, 0 }, { 0x1a, 2, 0x08, 1 }, { 0x1a, 2, 0x08, 7 }, { 0x22, 2, 0x08, 2 }, { 0x0a, 0 } };
    const uint32_t states = harmless < 3 && next_random() % 4 == 0 ? next_random() & 15 : 0;
    const uint32_t kind = harmless >= 2 ? 1 : harmless == 0 && next_random() % 8 == 0 ? 2 : next_random() & 1;
    const uint8_t *message = messages[next_random() % 5];

    for (size_t i = 0; i < sizeof messages[0]; i++)
        channel[REQUEST_PAYLOAD + i] = message[i];
    write_word(channel, REQUEST + 4, kind);
    write_word(channel, REQUEST + 8, kind == 0 ? (message[1] == 0 ? 2 : 4) : next_random() % 16);
    write_word(channel, REQUEST + 12, states);
    if (next_random() % 4 != 0)
        write_word(channel, RING_HEAD, *(volatile uint32_t *)(volatile void *)(channel + RING_TAIL));
    write_word(channel, REQUEST, next_random());
}

static void
scribble_once(volatile uint8_t *channel, int memfd)
{
    const uint32_t kind = next_random() % (harmless == 0 ? 1000 : 960);
    size_t begin = 0, size = CHANNEL_SIZE;

    if (kind < 900) {
        write_request(channel);
    } else if (kind < 960) {
        begin = REQUEST_STATES;
        size = 0x400;
        write_word(channel, begin + (next_random() % size & ~3u), next_random());
    } else if (kind < 985) {
        write_word(channel, next_random() % CHANNEL_SIZE & ~3u, next_random());
    } else if (kind < 999) {
        write_word(channel, next_random() % LINES_SIZE & ~3u, next_random() % 2 == 0 ? next_random() : next_random() % 5);
    } else if (next_random() % 2 == 0) {
        for (size_t i = 0; i < size; i++)
            channel[begin + i] = (uint8_t)next_random();
    } else {
        fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, CHANNEL_SIZE);
    }
    syscall(SYS_futex, channel + VMPROC_SLEEPS, FUTEX_WAKE, 1, NULL);
}

static void *
scribble(void *context)
{
    const int memfd = *(const int *)context;
    volatile uint8_t *channel = mmap(NULL, CHANNEL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);

    if (channel == MAP_FAILED)
        err(94, "the channel");
    say("scribbles");
    for (;;)
        scribble_once(channel, memfd);
}

static void *
exit_at_end(void *context)
{
    struct pollfd end = { .fd = *(const int *)context, .events = POLLIN };

    while (poll(&end, 1, -1) < 0 && errno == EINTR)
        ;
    _exit(0);
}

static void
begin_scribbling(struct vmsup *vm, uint64_t seed)
{
    static int memfd, end;
    pthread_t thread;

    random_state = seed;
    harmless = (unsigned)(seed % 4);
    end = vmsup_get_shutdown_eventfd(vm);
    memfd = get_channels();
    check(end, "get_shutdown_eventfd");
    check(-pthread_create(&thread, NULL, exit_at_end, &end), "thread");
    check(-pthread_create(&thread, NULL, scribble, &memfd), "thread");
}

int
main(int argc, char **argv)
{
    const char *part = argc > 1 ? argv[1] : "idle";
    const bool idle = strcmp(part, "idle") == 0, scribbles = strcmp(part, "scribble") == 0;
    struct vmsup_vcpu *vcpu;
    struct vmsup *vm;

    check(vmsup_connect(&vm), "connect");
    make_memory(vm, idle ? idle_code : busy_code, idle ? sizeof idle_code : sizeof busy_code);
    vcpu = start(vm);
    if (idle)
        say("runs");
    if (scribbles)
        begin_scribbling(vm, argc > 2 ? strtoull(argv[2], NULL, 10) : 0);
    if (strcmp(part, "hold") == 0)
        hold(vcpu);
    answer(vcpu, scribbles);
}
