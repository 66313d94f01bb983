/*
 * The processor that the guest sees: what KVM supports, made to fit one vCPU of several. Every vCPU is a core of one package, without
 * siblings; its APIC id is its number.
 */
#ifndef VMSUP_PLUGIN_MICROVM_CPUID_H
#define VMSUP_PLUGIN_MICROVM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUID_ENTRIES_MAX 256

/* `deadline`: KVM emulates the APIC's TSC deadline timer, which its list of what it supports does not tell. */
void cpuid_fit(struct kvm_cpuid_entry2 *entries, size_t count, uint32_t vcpu, uint32_t vcpu_count, bool deadline);

#endif
