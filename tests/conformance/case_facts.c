/* What KVM has, as the interface tells it; and the network. */
#include "machine.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

static void
check_extension_is_true_only_for_1(void)
{
    struct machine machine;
    bool has = false;

    machine_open(&machine);
    check_equal(crosvm_check_extension(machine.vm, KVM_CAP_IRQCHIP, &has), 0);
    check(has);
    /* Its answer is a number larger than 1. */
    check_equal(crosvm_check_extension(machine.vm, KVM_CAP_NR_MEMSLOTS, &has), 0);
    check(!has);
    check_equal(crosvm_check_extension(machine.vm, 0x7fffffff, &has), 0);
    check(!has);
}

static void
enable_capability_permits_none(void)
{
    uint64_t args[4] = { 0 };
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_enable_capability(machine.vm, KVM_CAP_SPLIT_IRQCHIP, 0, args), -EINVAL);
}

static void
get_supported_cpuid_lists_leaves(void)
{
    struct kvm_cpuid_entry2 entries[256];
    struct machine machine;
    uint32_t count = 0, again = 0;

    machine_open(&machine);
    check_equal(crosvm_get_supported_cpuid(machine.vm, 256, entries, &count), 0);
    check(count > 1);
    check_equal(entries[0].function, 0);
    check(entries[0].ebx != 0);
    check_equal(crosvm_get_supported_cpuid(machine.vm, count - 1, entries, &again), -E2BIG);
    check_equal(again, count);
    check_equal(crosvm_get_supported_cpuid(machine.vm, count, entries, &again), 0);
}

static void
get_emulated_cpuid_lists_leaves(void)
{
    struct kvm_cpuid_entry2 entries[256];
    struct machine machine;
    uint32_t count = 0, again = 0;

    machine_open(&machine);
    check_equal(crosvm_get_emulated_cpuid(machine.vm, 256, entries, &count), 0);
    check(count > 0);
    check_equal(crosvm_get_emulated_cpuid(machine.vm, 0, entries, &again), -E2BIG);
    check_equal(again, count);
}

static void
get_msr_index_list_lists_msrs(void)
{
    struct machine machine;
    uint32_t indices[2048], count = 0, again = 0;
    bool found = false;

    machine_open(&machine);
    check_equal(crosvm_get_msr_index_list(machine.vm, 2048, indices, &count), 0);
    for (uint32_t i = 0; i < count; i++)
        found |= indices[i] == 0x174;
    check(found);
    check_equal(crosvm_get_msr_index_list(machine.vm, count - 1, indices, &again), -E2BIG);
    check_equal(again, count);
}

static void
net_get_config_without_a_network(void)
{
    struct crosvm_net_config config;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_net_get_config(machine.vm, &config), -ENODATA);
}

/* Run with --host-ip 10.118.0.1 --netmask 255.255.255.252 --mac de:21:e8:47:6b:6a. */
static void
net_get_config_gives_the_tap(void)
{
    static const uint8_t mac[] = { 0xde, 0x21, 0xe8, 0x47, 0x6b, 0x6a }, ip[] = { 10, 118, 0, 1 }, netmask[] = { 255, 255, 255, 252 };
    struct crosvm_net_config config;
    struct machine machine;
    struct ifreq request = { 0 };

    machine_open(&machine);
    check_equal(crosvm_net_get_config(machine.vm, &config), 0);
    check(memcmp(config.host_mac_address, mac, sizeof mac) == 0);
    check(memcmp(&config.host_ip, ip, sizeof ip) == 0);
    check(memcmp(&config.netmask, netmask, sizeof netmask) == 0);
    check_equal(ioctl(config.tap_fd, TUNGETIFF, &request), 0);
    check((request.ifr_flags & IFF_TAP) != 0);
    check_equal(fcntl(config.tap_fd, F_GETFD), FD_CLOEXEC);
}

const struct conformance_case cases_facts[] = {
    { "check_extension_is_true_only_for_1", check_extension_is_true_only_for_1 },
    { "enable_capability_permits_none", enable_capability_permits_none },
    { "get_supported_cpuid_lists_leaves", get_supported_cpuid_lists_leaves },
    { "get_emulated_cpuid_lists_leaves", get_emulated_cpuid_lists_leaves },
    { "get_msr_index_list_lists_msrs", get_msr_index_list_lists_msrs },
    { "net_get_config_without_a_network", net_get_config_without_a_network },
    { "net_get_config_gives_the_tap@net", net_get_config_gives_the_tap },
    { 0 },
};
