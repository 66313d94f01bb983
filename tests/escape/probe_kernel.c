/* Attempts on the kernel itself: network, bpf, io_uring, calls of other architectures, capabilities. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/kvm.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int
open_socket(int family, int type, int protocol)
{
    return probe_close(socket(family, type, protocol));
}

static int
raw_socket(const struct probe_command *command)
{
    (void)command;
    return open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int
packet_socket(const struct probe_command *command)
{
    (void)command;
    return open_socket(AF_PACKET, SOCK_RAW, __builtin_bswap16(ETH_P_ALL));
}

/* To the machine that the host itself may run on, whatever the network namespace. */
static int
vm_socket(const struct probe_command *command)
{
    (void)command;
    return open_socket(AF_VSOCK, SOCK_STREAM, 0);
}

static int
crypto_socket(const struct probe_command *command)
{
    (void)command;
    return open_socket(AF_ALG, SOCK_SEQPACKET, 0);
}

static int
netlink_socket(const struct probe_command *command)
{
    (void)command;
    return open_socket(AF_NETLINK, SOCK_RAW, 0);
}

static int
connect_abstract_socket(const struct probe_command *command)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof PROBE_ABSTRACT_SOCKET);
    int result, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)command;
    if (fd < 0)
        return -errno;
    memcpy(address.sun_path + 1, PROBE_ABSTRACT_SOCKET, sizeof PROBE_ABSTRACT_SOCKET - 1);
    result = connect(fd, (struct sockaddr *)&address, length) < 0 ? -errno : 0;
    close(fd);
    return result;
}

static int
load_bpf(const struct probe_command *command)
{
    static const struct bpf_insn program[] = {
        { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
        { .code = BPF_JMP | BPF_EXIT },
    };
    union bpf_attr attributes = {
        .prog_type = BPF_PROG_TYPE_XDP, .insn_cnt = 2, .insns = (uint64_t)program, .license = (uint64_t) "ISC",
    };

    (void)command;
    return probe_close(syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes));
}

/*
 * io_uring opens files past the filter of openat(2): what it must not reach is the host's file.
 * With one entry each, the rings are one mapping and the entries another.
 */
static int
open_by_io_uring(const struct probe_command *command)
{
    struct io_uring_params params = { 0 };
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

    /* Kernels that count rings as locked memory, of which vmproc may have none, refuse earlier: no ring, no file. */
    if (ring < 0)
        return errno == ENOMEM ? -ENOENT : -errno;
    size_t size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    uint8_t *rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry = mmap(NULL, sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);

    if (rings == MAP_FAILED || entry == MAP_FAILED)
        return -errno;
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_OPENAT;
    entry->fd = AT_FDCWD;
    entry->addr = (uint64_t)command->file;
    *(uint32_t *)(void *)(rings + params.sq_off.array) = 0;
    __atomic_store_n((uint32_t *)(void *)(rings + params.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        return -errno;
    struct io_uring_cqe *completion = (void *)(rings + params.cq_off.cqes);

    return completion->res < 0 ? completion->res : 0;
}

/* Events of everybody on a processor. */
static int
watch_processor(const struct probe_command *command)
{
    struct perf_event_attr event = { .type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_CPU_CLOCK };

    (void)command;
    return probe_close(syscall(SYS_perf_event_open, &event, -1, 0, -1, 0));
}

/* Holds the kernel at a page that it reads: what many exploits need. */
static int
handle_faults(const struct probe_command *command)
{
    (void)command;
    return probe_close(syscall(SYS_userfaultfd, O_CLOEXEC));
}

static int
add_key(const struct probe_command *command)
{
    (void)command;
    return syscall(SYS_add_key, "user", "probe", "x", 1, KEY_SPEC_PROCESS_KEYRING) < 0 ? -errno : 0;
}

static int
open_ports(const struct probe_command *command)
{
    (void)command;
    return syscall(SYS_iopl, 3) < 0 ? -errno : 0;
}

/* A TAP that outlives its VM. */
static int
keep_tap(const struct probe_command *command)
{
    (void)command;
    if (ioctl(PROBE_FD_TAP, TUNSETPERSIST, 1) < 0)
        return -errno;
    return ioctl(PROBE_FD_TAP, TUNSETPERSIST, 0) < 0 ? -errno : 0;
}

static int
own_tap(const struct probe_command *command)
{
    (void)command;
    return ioctl(PROBE_FD_TAP, TUNSETOWNER, 0) < 0 ? -errno : 0;
}

/* To a link of another name. EEXIST: the request is looked at, and this descriptor has one. */
static int
attach_tap(const struct probe_command *command)
{
    struct ifreq request = { .ifr_name = "vmsup-escape", .ifr_flags = IFF_TAP };

    (void)command;
    return ioctl(PROBE_FD_TAP, TUNSETIFF, &request) < 0 && errno != EEXIST ? -errno : 0;
}

/* One of KVM's requests that vmproc has no use for. E2BIG: the list is longer than none. */
static int
request_unlisted(const struct probe_command *command)
{
    struct kvm_msr_list list = { .nmsrs = 0 };

    (void)command;
    return ioctl(PROBE_FD_KVM, KVM_GET_MSR_FEATURE_INDEX_LIST, &list) < 0 && errno != E2BIG ? -errno : 0;
}

/* One that it has, by a number that the kernel takes for the same and a filter must not. */
static int
request_with_high_bits(const struct probe_command *command)
{
    (void)command;
    return syscall(SYS_ioctl, PROBE_FD_KVM, 0x100000000 | KVM_GET_API_VERSION, 0) < 0 ? -errno : 0;
}

static int
call_x32(const struct probe_command *command)
{
    (void)command;
    return syscall(0x40000000 + SYS_getpid) < 0 ? -errno : 0;
}

/* open(2) of i386, whose number 5 is another call's here. The path must lie below 4 GiB. */
static int
call_i386(const struct probe_command *command)
{
    char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    long result = 5;

    if (low == MAP_FAILED)
        return -errno;
    strncpy(low, command->file, 4095);
    __asm__ volatile("int $0x80" : "+a"(result) : "b"(low), "c"(O_RDONLY), "d"(0) : "memory", "r8", "r9", "r10", "r11");
    /* A 32-bit call gives a 32-bit result. */
    return (int)result < 0 ? (int)result : 0;
}

static int
become_root(const struct probe_command *command)
{
    (void)command;
    return setresuid(1, 1, 1) < 0 ? -errno : 0;
}

static int
raise_capability(const struct probe_command *command)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { { .effective = 1u << CAP_KILL, .permitted = 1u << CAP_KILL } };

    (void)command;
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* Outside it is that of a namespace made for the attempt. */
static int
set_host_name(const struct probe_command *command)
{
    (void)command;
    return sethostname("probe", 5) < 0 ? -errno : 0;
}

/* Raises a link by netlink. The loopback is as good as any, and up already where it succeeds. */
static int
raise_link(const struct probe_command *command)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg link;
    } request = {
        .header = { .nlmsg_len = sizeof request, .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
        .link = { .ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP },
    };
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[256];
    } answer = { 0 };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), result = 0;

    (void)command;
    if (fd < 0)
        return -errno;
    if (send(fd, &request, sizeof request, 0) < 0 || recv(fd, &answer, sizeof answer, 0) < 0)
        result = -errno;
    close(fd);
    return result < 0 ? result : answer.error.error;
}

/* The host's side of the link under another address. */
static int
readdress_tap(const struct probe_command *command)
{
    struct ifreq request = { 0 };

    (void)command;
    if (ioctl(PROBE_FD_TAP, SIOCGIFHWADDR, &request) < 0)
        return -errno;
    return ioctl(PROBE_FD_TAP, SIOCSIFHWADDR, &request) < 0 ? -errno : 0;
}

const struct probe_attempt probe_kernel[] = {
    { "raw-socket", raw_socket, { EPERM, EPERM }, { "socket", "socket" } },
    { "packet-socket", packet_socket, { EPERM, EPERM }, { "socket", "socket" } },
    { "abstract-socket", connect_abstract_socket, { ECONNREFUSED, ECONNREFUSED }, { "socket", "socket" } },
    { "bpf", load_bpf, { EPERM, EPERM }, { "bpf", "bpf" } },
    { "io-uring", open_by_io_uring, { ENOENT, ENOENT }, { "io_uring_setup", "io_uring_setup" } },
    /* getpid(2) does no harm: that these numbers are refused at all is the filter's work. */
    { "x32", call_x32, { 0, 0 }, { PROBE_FOREIGN, PROBE_FOREIGN } },
    { "i386", call_i386, { ENOENT, ENOENT }, { PROBE_FOREIGN, PROBE_FOREIGN } },
    { "setresuid", become_root, { EINVAL, EPERM }, { "setresuid", "setresuid" } }, /* the plugin's user namespace has no such user */
    { "capset", raise_capability, { EPERM, EPERM }, { "capset", "capset" } },
    { "sethostname", set_host_name, { EPERM, EPERM }, { "sethostname", "sethostname" } },
    { "vm-socket", vm_socket, { 0, 0 }, { "socket", "socket" } },
    { "crypto-socket", crypto_socket, { 0, 0 }, { "socket", "socket" } },
    { "netlink-socket", netlink_socket, { 0, 0 }, { "socket", "socket" } },
    { "netlink", raise_link, { EPERM, EPERM }, { "socket", "socket" } },
    { "perf-event-open", watch_processor, { EACCES, EACCES }, { "perf_event_open", "perf_event_open" } },
    { "userfaultfd", handle_faults, { EPERM, EPERM }, { "userfaultfd", "userfaultfd" } },
    { "add-key", add_key, { 0, 0 }, { "add_key", "add_key" } },
    { "iopl", open_ports, { EPERM, EPERM }, { "iopl", "iopl" } },
    { "tap-persist", keep_tap, { 0, 0 }, { "ioctl", "ioctl" } },
    { "tap-owner", own_tap, { 0, 0 }, { "ioctl", "ioctl" } },
    { "tap-attach", attach_tap, { 0, 0 }, { "ioctl", "ioctl" } },
    { "tap-address", readdress_tap, { 0, 0 }, { "ioctl", "ioctl" } },
    { "kvm-unlisted", request_unlisted, { 0, 0 }, { "ioctl", "ioctl" } },
    { "kvm-high-bits", request_with_high_bits, { 0, 0 }, { "ioctl", "ioctl" } },
    { 0 },
};
