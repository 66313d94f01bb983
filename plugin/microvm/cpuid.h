/*
 * The processor that the guest sees: what KVM supports, made to fit one vCPU of several. Every vCPU is a core of one package, without
 * siblings; its APIC id is its number. Nested virtualization and performance counters are not there, whatever KVM says: the VM process
 * turns both off.
 */
#ifndef VMSUP_PLUGIN_MICROVM_CPUID_H
#define VMSUP_PLUGIN_MICROVM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUID_ENTRIES_MAX 256

struct cpuid_list {
    uint32_t count;
    struct kvm_cpuid_entry2 entry[CPUID_ENTRIES_MAX];
};

/*
 * Makes KVM's list that of one vCPU. `deadline`: KVM emulates the APIC's TSC deadline timer, which its list does not tell. -E2BIG: there is
 * no room for the topology's leaves.
 */
int cpuid_fit(struct cpuid_list *list, uint32_t vcpu, uint32_t vcpu_count, bool deadline);

#endif
