/* CPUID entries between the wire and the structure of KVM. Pure. */
#ifndef VMSUP_PLUGIN_LIB_CPUID_H
#define VMSUP_PLUGIN_LIB_CPUID_H

#include "proto/plugin.pb-c.h"

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

/* *out_count is always `wire_count`; -E2BIG where `count` entries do not hold them. */
int cpuid_from_wire(CpuidEntry *const *wire, size_t wire_count, uint32_t count, struct kvm_cpuid_entry2 *entries,
                    uint32_t *out_count);

/* Fills `wire` from one entry: the index counts only where the entry's flags say so (KVM_CPUID_FLAG_SIGNIFCANT_INDEX). */
void cpuid_to_wire(const struct kvm_cpuid_entry2 *entry, CpuidEntry *wire);

#endif
