/*
 * The TAP and its source filter, for real, in a network namespace of the test's own: the host is not touched. Needs root.
 *
 * What passed the filter is seen by packet sockets that are bound to one protocol: those get frames after the ingress hook.
 */
#include "supervisor/net_filter.h"
#include "supervisor/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST_IP "10.118.0.1"
#define GUEST_IP "10.118.0.2"
#define FRAME_SIZE 96
#define MARKER 0xee

static const uint8_t host_mac[] = { 0xde, 0x21, 0xe8, 0x47, 0x6b, 0x6a };
static const uint8_t guest_mac[] = { 0xde, 0x21, 0xe8, 0x47, 0x6b, 0x6b };
static const uint8_t other_mac[] = { 0xde, 0x21, 0xe8, 0x47, 0x6b, 0x6c };

static void
make_tap(struct tap *tap)
{
    struct tap_settings settings = { .host_ip.s_addr = inet_addr(HOST_IP), .netmask.s_addr = inet_addr("255.255.255.252") };
    struct failure failure;

    memcpy(settings.mac, host_mac, sizeof host_mac);
    if (tap_create(&settings, tap, &failure) < 0)
        fail_msg("%s", failure.text);
}

static short
link_flags(const char *name)
{
    struct ifreq request = { 0 };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    close(fd);
    return request.ifr_flags;
}

static in_addr_t
link_address(const char *name, unsigned long which)
{
    struct ifreq request = { 0 };
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    assert_int_equal(ioctl(fd, which, &request), 0);
    close(fd);
    memcpy(&address, &request.ifr_addr, sizeof address);
    return address.sin_addr.s_addr;
}

static void
assert_setting(const char *name, const char *setting, char value)
{
    char path[128], found = '?';
    int fd;

    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", name, setting);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && access("/proc/sys/net/ipv6", F_OK) < 0)
        return;
    assert_true(fd >= 0);
    assert_int_equal(read(fd, &found, 1), 1);
    assert_int_equal(found, value);
    close(fd);
}

static void
test_settings(void **state)
{
    struct ifreq request = { 0 };
    struct failure failure;
    struct tap tap, second;
    int fd;

    (void)state;
    make_tap(&tap);
    assert_int_equal(strncmp(tap.name, "vmsup", 5), 0);
    assert_int_equal(if_nametoindex(tap.name), tap.index);
    assert_int_equal(link_flags(tap.name) & IFF_UP, 0);
    assert_int_equal(link_address(tap.name, SIOCGIFADDR), inet_addr(HOST_IP));
    assert_int_equal(link_address(tap.name, SIOCGIFNETMASK), inet_addr("255.255.255.252"));
    assert_int_equal(link_address(tap.name, SIOCGIFBRDADDR), inet_addr("10.118.0.3"));
    assert_setting(tap.name, "disable_ipv6", '1');
    assert_setting(tap.name, "accept_ra", '0');
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strlcpy(request.ifr_name, tap.name, sizeof request.ifr_name);
    assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &request), 0);
    assert_memory_equal(request.ifr_hwaddr.sa_data, host_mac, sizeof host_mac);
    request.ifr_hwaddr.sa_data[5]++;
    assert_true(ioctl(fd, SIOCSIFHWADDR, &request) == 0 && tap_settle(&tap, host_mac, &failure) == 0);
    assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &request), 0);
    assert_memory_equal(request.ifr_hwaddr.sa_data, host_mac, sizeof host_mac);
    close(fd);
    assert_true((fcntl(tap.fd, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(tap.kept, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(tap_up(&tap, &failure), 0);
    assert_int_equal(link_flags(tap.name) & IFF_UP, IFF_UP);
    assert_setting(tap.name, "disable_ipv6", '1');

    make_tap(&second);
    assert_string_not_equal(second.name, tap.name);
    tap_destroy(&second);
    tap_destroy(&tap);
    assert_int_equal(if_nametoindex(tap.name), 0);
    tap_destroy(&tap);
}

/* A child that does not outlive a test that fails. */
static pid_t
fork_child(void)
{
    pid_t child = fork();

    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

static void
drop_capabilities(void)
{
    cap_t none = cap_init();

    if (none == NULL || cap_set_proc(none) < 0)
        _exit(9);
    cap_free(none);
}

/* Somebody who held the descriptor has made the link persistent: the supervisor takes that back without any capability. */
static void
test_persistent(void **state)
{
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    struct tap tap;
    char name[IFNAMSIZ];
    int status, fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    (void)state;
    /* That a link would stay otherwise. */
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
    close(fd);
    assert_true(if_nametoindex(request.ifr_name) != 0);
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    assert_int_equal(ioctl(fd, TUNSETPERSIST, 0), 0);
    close(fd);

    make_tap(&tap);
    strlcpy(name, tap.name, sizeof name);
    if (fork_child() == 0) {
        if (ioctl(tap.fd, TUNSETPERSIST, 1) < 0)
            _exit(1);
        drop_capabilities();
        tap_destroy(&tap);
        _exit(0);
    }
    close(tap.fd);
    close(tap.kept);
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
    assert_int_equal(if_nametoindex(name), 0);
}

static void
test_killed(void **state)
{
    char name[IFNAMSIZ];
    int ready[2];
    pid_t child;

    (void)state;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    child = fork_child();
    if (child == 0) {
        struct failure failure;
        struct net_filter filter;
        struct tap tap;

        make_tap(&tap);
        if (net_filter_install(tap.name, guest_mac, (struct in_addr){ inet_addr(GUEST_IP) }, &filter, &failure) < 0 ||
            tap_up(&tap, &failure) < 0 || write(ready[1], tap.name, sizeof tap.name) != sizeof tap.name)
            _exit(1);
        pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], name, sizeof name), sizeof name);
    assert_true(if_nametoindex(name) != 0);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(if_nametoindex(name), 0);
    close(ready[0]);
}

static void
test_failures(void **state)
{
    struct tap_settings settings = { .host_ip.s_addr = inet_addr(HOST_IP), .netmask.s_addr = inet_addr("255.255.255.252") };
    struct failure failure;
    struct tap tap;
    int status;

    (void)state;
    /* A MAC that the kernel refuses (all zero): the link is gone again. */
    assert_true(tap_create(&settings, &tap, &failure) < 0);
    assert_non_null(strstr(failure.text, "MAC address"));
    assert_int_equal(if_nametoindex(tap.name), 0);
    assert_int_equal(tap.fd, -1);
    if (fork_child() == 0) {
        drop_capabilities();
        _exit(tap_create(&settings, &tap, &failure) == -EPERM && strstr(failure.text, "permitted") != NULL ? 0 : 1);
    }
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
}

/* --- the filter */

struct arp {
    uint16_t hardware, protocol;
    uint8_t hardware_length, protocol_length;
    uint16_t operation;
    uint8_t sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
} __attribute__((packed));

/* A frame of the guest's; its last byte tells it from others. */
struct frame {
    const char *name;
    const uint8_t *source;
    uint16_t tag; /* 0: none */
    uint16_t type;
    const char *ip;          /* the sender's, of IPv4 and ARP */
    const uint8_t *arp_mac;
    uint8_t arp_length;
    bool passes;
};

static const struct frame frames[] = {
    { "IPv4", guest_mac, 0, 0x0800, GUEST_IP, NULL, 0, true },
    { "IPv4 from another MAC", other_mac, 0, 0x0800, GUEST_IP, NULL, 0, false },
    { "IPv4 from the host's MAC", host_mac, 0, 0x0800, GUEST_IP, NULL, 0, false },
    { "IPv4 from another address", guest_mac, 0, 0x0800, "10.118.0.3", NULL, 0, false },
    { "IPv4 from the host's address", guest_mac, 0, 0x0800, HOST_IP, NULL, 0, false },
    { "IPv4 from no address", guest_mac, 0, 0x0800, "0.0.0.0", NULL, 0, false },
    { "ARP", guest_mac, 0, 0x0806, GUEST_IP, guest_mac, 6, true },
    { "ARP in a frame from another MAC", other_mac, 0, 0x0806, GUEST_IP, guest_mac, 6, false },
    { "ARP of another MAC", guest_mac, 0, 0x0806, GUEST_IP, other_mac, 6, false },
    { "ARP of another address", guest_mac, 0, 0x0806, "10.118.0.3", guest_mac, 6, false },
    { "ARP of no address", guest_mac, 0, 0x0806, "0.0.0.0", guest_mac, 6, false },
    { "ARP of another format", guest_mac, 0, 0x0806, GUEST_IP, guest_mac, 8, false },
    { "IPv6", guest_mac, 0, 0x86dd, NULL, NULL, 0, false },
    { "IPv4 with a tag", guest_mac, 0x8100, 0x0800, GUEST_IP, NULL, 0, false },
    { "IPv4 with a service tag", guest_mac, 0x88a8, 0x0800, GUEST_IP, NULL, 0, false },
    { "ARP with a tag", guest_mac, 0x8100, 0x0806, GUEST_IP, guest_mac, 6, false },
    { "an unknown type", guest_mac, 0, 0x88b5, NULL, NULL, 0, false },
    { "a length in place of a type", guest_mac, 0, 0x0040, NULL, NULL, 0, false },
};
#define FRAME_COUNT (sizeof frames / sizeof frames[0])

/* The protocols by which packet sockets know them; a frame with a length is ETH_P_802_2. */
static const uint16_t protocols[] = { 0x0800, 0x0806, 0x86dd, 0x88b5, 0x0004 };
#define PROTOCOL_COUNT (sizeof protocols / sizeof protocols[0])

static void
put_16(uint8_t **at, uint16_t value)
{
    uint16_t swapped = htons(value);

    memcpy(*at, &swapped, sizeof swapped);
    *at += sizeof swapped;
}

static void
build_frame(const struct frame *frame, uint8_t id, uint8_t bytes[FRAME_SIZE])
{
    in_addr_t ip = frame->ip != NULL ? inet_addr(frame->ip) : 0, host_ip = inet_addr(HOST_IP);
    uint8_t *at = bytes + 12;

    memset(bytes, 0, FRAME_SIZE);
    memcpy(bytes, host_mac, 6);
    memcpy(bytes + 6, frame->source, 6);
    if (frame->tag != 0) {
        put_16(&at, frame->tag);
        put_16(&at, 5);
    }
    put_16(&at, frame->type);
    if (frame->type == 0x0800) {
        const uint8_t header[] = { 0x45, 0, 0, 64, 0, 0, 0, 0, 64, 253 };

        memcpy(at, header, sizeof header);
        memcpy(at + 12, &ip, 4);
        memcpy(at + 16, &host_ip, 4);
    } else if (frame->type == 0x0806) {
        struct arp arp = { htons(1), htons(0x0800), frame->arp_length, 4, htons(1), { 0 }, { 0 }, { 0 }, { 0 } };

        memcpy(arp.sender_mac, frame->arp_mac, 6);
        memcpy(arp.sender_ip, &ip, 4);
        memcpy(arp.target_ip, &host_ip, 4);
        memcpy(at, &arp, sizeof arp);
    } else if (frame->type == 0x86dd) {
        *at = 0x60;
    } else if (frame->type < 0x600) {
        const uint8_t spanning_tree[] = { 0x42, 0x42, 0x03 };

        memcpy(at, spanning_tree, sizeof spanning_tree);
    }
    bytes[FRAME_SIZE - 1] = id;
}

static void
open_sockets(const struct tap *tap, int sockets[PROTOCOL_COUNT])
{
    for (size_t i = 0; i < PROTOCOL_COUNT; i++) {
        struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(protocols[i]), .sll_ifindex = tap->index };

        sockets[i] = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(sockets[i] >= 0);
        assert_int_equal(bind(sockets[i], (struct sockaddr *)&address, sizeof address), 0);
    }
}

/* Reads what has come; whether `id` was there. */
static bool
drain(int fd, uint8_t id)
{
    uint8_t bytes[2048];
    bool found = false;
    ssize_t length;

    while ((length = recv(fd, bytes, sizeof bytes, 0)) > 0)
        found = found || bytes[length - 1] == id;
    return found;
}

/* Sends one frame, then one that always passes: when that has come, the first has come or never will. */
static bool
passes(const struct tap *tap, const int sockets[PROTOCOL_COUNT], size_t index)
{
    uint8_t bytes[FRAME_SIZE];
    struct pollfd ip = { .fd = sockets[0], .events = POLLIN };
    uint8_t id = (uint8_t)(index + 1), last = 0, received[2048];
    bool found = false;

    build_frame(&frames[index], id, bytes);
    assert_int_equal(write(tap->fd, bytes, sizeof bytes), sizeof bytes);
    build_frame(&frames[0], MARKER, bytes);
    assert_int_equal(write(tap->fd, bytes, sizeof bytes), sizeof bytes);
    while (last != MARKER) {
        ssize_t length;

        assert_int_equal(poll(&ip, 1, 5000), 1);
        length = recv(sockets[0], received, sizeof received, 0);
        assert_true(length > 0);
        last = received[length - 1];
        found = found || last == id;
    }
    for (size_t i = 0; i < PROTOCOL_COUNT; i++)
        found = drain(sockets[i], id) || found;
    return found;
}

/* All frames pass, or those that should. */
static void
check_frames(const struct tap *tap, bool filtered)
{
    int sockets[PROTOCOL_COUNT];

    open_sockets(tap, sockets);
    for (size_t i = 0; i < FRAME_COUNT; i++)
        if (passes(tap, sockets, i) != (!filtered || frames[i].passes))
            fail_msg("%s: %s with%s the filter", frames[i].name, !filtered || frames[i].passes ? "dropped" : "passed",
                     filtered ? "" : "out");
    for (size_t i = 0; i < PROTOCOL_COUNT; i++)
        close(sockets[i]);
}

static void
test_filter(void **state)
{
    struct in_addr guest_ip = { inet_addr(GUEST_IP) };
    struct net_filter filter, second;
    struct failure failure;
    struct tap tap;

    (void)state;
    make_tap(&tap);
    if (net_filter_install(tap.name, guest_mac, guest_ip, &filter, &failure) < 0)
        fail_msg("%s", failure.text);
    assert_int_equal(tap_up(&tap, &failure), 0);
    check_frames(&tap, true);
    /* A table of that name is never added to. */
    assert_true(net_filter_install(tap.name, guest_mac, guest_ip, &second, &failure) < 0);
    assert_non_null(strstr(failure.text, "source filter"));
    assert_null(strchr(failure.text, '\n'));
    check_frames(&tap, true);
    net_filter_remove(&filter);
    check_frames(&tap, false);
    net_filter_remove(&filter);
    assert_true(net_filter_install("vmsup-none", guest_mac, guest_ip, &second, &failure) < 0);
    assert_null(second.context);
    tap_destroy(&tap);
}

/* It goes with its owner: without a capability, and by SIGKILL. */
static void
test_filter_goes(void **state)
{
    struct in_addr guest_ip = { inet_addr(GUEST_IP) };
    struct failure failure;
    struct tap tap;
    int ready[2], status;
    pid_t child;

    (void)state;
    make_tap(&tap);
    assert_int_equal(tap_up(&tap, &failure), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    for (int killed = 0; killed <= 1; killed++) {
        child = fork_child();
        if (child == 0) {
            struct net_filter filter;

            if (net_filter_install(tap.name, guest_mac, guest_ip, &filter, &failure) < 0 || write(ready[1], "x", 1) != 1)
                _exit(1);
            if (killed)
                pause();
            drop_capabilities();
            net_filter_remove(&filter);
            _exit(0);
        }
        assert_int_equal(read(ready[0], &(char){ 0 }, 1), 1);
        if (killed) {
            check_frames(&tap, true);
            kill(child, SIGKILL);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, killed ? SIGKILL : 0);
        check_frames(&tap, false);
    }
    close(ready[0]);
    close(ready[1]);
    tap_destroy(&tap);
}

/* One CPU: what is written first is received first. */
static int
enter_namespace(void **state)
{
    cpu_set_t one;

    (void)state;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    return unshare(CLONE_NEWNET);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings), cmocka_unit_test(test_persistent), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_filter),     cmocka_unit_test(test_filter_goes),
    };

    if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) < 0) {
        printf("test_tap: skipped: needs root and /dev/net/tun\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
