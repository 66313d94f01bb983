/* Attempts on the kernel itself: network, bpf, io_uring, calls of other architectures, capabilities. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
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
    int fd = socket(family, type, protocol);

    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
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
    long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);

    (void)command;
    if (fd < 0)
        return -errno;
    close((int)fd);
    return 0;
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

static int
set_host_name(const struct probe_command *command)
{
    char name[65];

    (void)command;
    if (gethostname(name, sizeof name) < 0)
        return -errno;
    return sethostname(name, strlen(name)) < 0 ? -errno : 0;
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

/* Of the whole system: what other processes do on the first processor. */
static int
watch_system(const struct probe_command *command)
{
    struct perf_event_attr attributes = { .type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_CPU_CLOCK };
    long fd = syscall(SYS_perf_event_open, &attributes, -1, 0, -1, 0);

    (void)command;
    if (fd < 0)
        return -errno;
    close((int)fd);
    return 0;
}

/* Faults of the kernel's that this process would answer, as long as it likes. */
static int
hold_kernel_faults(const struct probe_command *command)
{
    long fd = syscall(SYS_userfaultfd, O_CLOEXEC);

    (void)command;
    if (fd < 0)
        return -errno;
    close((int)fd);
    return 0;
}

/* A TAP that would outlive its VM. */
static int
keep_tap(const struct probe_command *command)
{
    (void)command;
    if (ioctl(PROBE_FD_TAP, TUNSETPERSIST, 1) < 0)
        return -errno;
    return ioctl(PROBE_FD_TAP, TUNSETPERSIST, 0) < 0 ? -errno : 0;
}

/* A TAP that somebody else could open. */
static int
give_tap_away(const struct probe_command *command)
{
    (void)command;
    return ioctl(PROBE_FD_TAP, TUNSETOWNER, 1) < 0 ? -errno : 0;
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
    { "raw-socket", raw_socket, { EPERM, EPERM } },
    { "packet-socket", packet_socket, { EPERM, EPERM } },
    { "abstract-socket", connect_abstract_socket, { ECONNREFUSED, ECONNREFUSED } },
    { "bpf", load_bpf, { EPERM, EPERM } },
    { "io-uring", open_by_io_uring, { ENOENT, ENOENT } },
    { "x32", call_x32, { 0, 0 } }, /* getpid(2) does no harm: that these numbers are refused at all is the filter's work */
    { "i386", call_i386, { ENOENT, ENOENT } },
    { "setresuid", become_root, { EINVAL, EPERM } }, /* the plugin's user namespace has no such user */
    { "capset", raise_capability, { EPERM, EPERM } },
    { "sethostname", set_host_name, { EPERM, EPERM } },
    { "netlink", raise_link, { EPERM, EPERM } },
    { "perf-event-open", watch_system, { EACCES, EACCES } },
    { "userfaultfd", hold_kernel_faults, { EPERM, EPERM } },
    { "tun-persist", keep_tap, { 0, 0 } }, /* who holds the descriptor may, for all that the kernel cares */
    { "tun-owner", give_tap_away, { 0, 0 } },
    { "tun-address", readdress_tap, { 0, 0 } },
    { 0 },
};
