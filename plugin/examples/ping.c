/*
 * ping: a plugin that answers ARP and ICMP echo on its TAP, in the name of a guest that sleeps. The example for a device that has work of its
 * own beside its vCPUs: the main thread waits for frames and for the end of the VM, a thread waits for vCPU 0.
 *
 *     vmsup start -f --plugin ping --host-ip 10.118.0.1 --netmask 255.255.255.252 --mac de:21:e8:47:6b:6a net
 *     ping 10.118.0.2
 */
#define _GNU_SOURCE 1 /* memfd_create(2) */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vmsup-plugin.h>

#define MEMORY_SIZE 0x2000
#define GUEST_ADDRESS 0x1000
#define FRAME_MAX 2048

__asm__(".section .rodata\n"
        "guest_begin: .incbin \"ping_guest.bin\"\n"
        "guest_end: .previous\n");
extern const char guest_begin[], guest_end[];

/* Who answers. */
struct station {
    int tap;
    uint32_t address; /* network order */
    uint8_t mac[ETH_ALEN];
};

static void
check(int result, const char *what)
{
    if (result >= 0)
        return;
    errno = -result;
    err(1, "%s", what);
}

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
    close(fd);
}

/* Enters the guest, which never comes back but for the VM's end. */
static void *
run_vcpu(void *context)
{
    struct vmsup_vcpu *vcpu = context;
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
    while (vmsup_vcpu_wait(vcpu, &event) == 0)
        check(vmsup_vcpu_resume(vcpu), "resume");
    return NULL;
}

/* The other address of the host's subnet: the one after the host's, or the one before where that is the subnet's last. */
static uint32_t
choose_address(uint32_t host, uint32_t netmask)
{
    const uint32_t next = ntohl(host) + 1, last = ntohl(host) | ~ntohl(netmask);

    return htonl(next < last ? next : ntohl(host) - 1);
}

/* RFC 1071. */
static uint16_t
checksum(const uint8_t *data, size_t size)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static void
send_back(const struct station *station, uint8_t *frame, size_t size)
{
    struct ether_header *ethernet = (struct ether_header *)frame;

    memcpy(ethernet->ether_dhost, ethernet->ether_shost, ETH_ALEN);
    memcpy(ethernet->ether_shost, station->mac, ETH_ALEN);
    if (write(station->tap, frame, size) < 0)
        warn("a frame was not sent");
}

static void
answer_arp(const struct station *station, uint8_t *frame, size_t size)
{
    struct ether_arp *arp = (struct ether_arp *)(frame + sizeof(struct ether_header));
    uint32_t target;

    if (size < sizeof(struct ether_header) + sizeof *arp || ntohs(arp->arp_op) != ARPOP_REQUEST)
        return;
    memcpy(&target, arp->arp_tpa, sizeof target);
    if (target != station->address)
        return;
    arp->arp_op = htons(ARPOP_REPLY);
    memcpy(arp->arp_tha, arp->arp_sha, ETH_ALEN);
    memcpy(arp->arp_tpa, arp->arp_spa, sizeof target);
    memcpy(arp->arp_sha, station->mac, ETH_ALEN);
    memcpy(arp->arp_spa, &station->address, sizeof target);
    send_back(station, frame, sizeof(struct ether_header) + sizeof *arp);
}

static void
answer_echo(const struct station *station, uint8_t *frame, size_t size)
{
    struct iphdr *ip = (struct iphdr *)(frame + sizeof(struct ether_header));
    const size_t header = sizeof(struct ether_header) + sizeof *ip;
    struct icmphdr *icmp = (struct icmphdr *)(frame + header);
    size_t length;

    /* Without options: echo requests have none. A fragment is no whole request. */
    if (size < header + sizeof *icmp || ip->ihl != 5 || ip->protocol != IPPROTO_ICMP || ip->daddr != station->address ||
        (ntohs(ip->frag_off) & (IP_MF | IP_OFFMASK)) != 0)
        return;
    length = ntohs(ip->tot_len);
    if (length < sizeof *ip + sizeof *icmp || length > size - sizeof(struct ether_header) || icmp->type != ICMP_ECHO)
        return;
    ip->daddr = ip->saddr;
    ip->saddr = station->address;
    icmp->type = ICMP_ECHOREPLY;
    icmp->checksum = 0;
    icmp->checksum = checksum((const uint8_t *)icmp, length - sizeof *ip);
    send_back(station, frame, sizeof(struct ether_header) + length);
}

static void
answer_frame(const struct station *station)
{
    /* Aligned so that the headers behind the Ethernet one are. */
    _Alignas(4) uint8_t room[FRAME_MAX + 2];
    uint8_t *frame = room + 2;
    ssize_t size = read(station->tap, frame, FRAME_MAX);

    if (size < (ssize_t)sizeof(struct ether_header))
        return;
    switch (ntohs(((const struct ether_header *)frame)->ether_type)) {
    case ETHERTYPE_ARP:
        answer_arp(station, frame, (size_t)size);
        break;
    case ETHERTYPE_IP:
        answer_echo(station, frame, (size_t)size);
        break;
    default:
        break;
    }
}

int
main(void)
{
    struct station station = { .mac = { 0x02, 'v', 'm', 's', 'u', 'p' } };
    struct vmsup_net_config network;
    struct vmsup_vcpu *vcpu;
    struct vmsup *vm;
    pthread_t thread;
    int end;

    check(vmsup_connect(&vm), "connect");
    check(vmsup_net_get_config(vm, &network), "net_get_config (start me with --host-ip, --netmask and --mac)");
    station.tap = network.tap_fd;
    station.address = choose_address(network.host_ip, network.netmask);
    make_memory(vm);
    end = vmsup_get_shutdown_eventfd(vm);
    check(end, "get_shutdown_eventfd");
    if (vmsup_get_vcpu(vm, 1, &vcpu) == 0)
        errx(1, "more than one vCPU: expected -c 1");
    check(vmsup_get_vcpu(vm, 0, &vcpu), "get_vcpu");
    check(vmsup_start(vm), "start");
    if (pthread_create(&thread, NULL, run_vcpu, vcpu) != 0)
        errx(1, "no thread for the vCPU");
    for (;;) {
        struct pollfd wait[] = { { .fd = end, .events = POLLIN }, { .fd = station.tap, .events = POLLIN } };

        if (poll(wait, 2, -1) < 0)
            err(1, "poll");
        if (wait[0].revents != 0)
            return 0;
        if (wait[1].revents != 0)
            answer_frame(&station);
    }
}
