/*
 * CPUID entries between the wire and KVM. Pure. On the wire an entry has an index only where KVM says that the index is
 * significant.
 */
#ifndef VMSUP_VMPROC_CPUID_TABLE_H
#define VMSUP_VMPROC_CPUID_TABLE_H

#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "vmproc/limits.h"

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

/* struct kvm_cpuid2 with room for all the entries there can be; cpuid_table_for_kvm() is the way to it. */
struct cpuid_table {
    uint32_t nent;
    uint32_t padding;
    struct kvm_cpuid_entry2 entries[LIMIT_CPUID_ENTRIES];
};

_Static_assert(offsetof(struct cpuid_table, nent) == offsetof(struct kvm_cpuid2, nent),
               "the count is where KVM looks for it");
_Static_assert(offsetof(struct cpuid_table, entries) == offsetof(struct kvm_cpuid2, entries), "and so are the entries");

static inline struct kvm_cpuid2 *
cpuid_table_for_kvm(struct cpuid_table *table)
{
    return (struct kvm_cpuid2 *)(void *)table;
}

/* An empty table of full capacity, for KVM to fill. */
void cpuid_table_init(struct cpuid_table *table);

/* Makes *entries in `arena`, one message an entry: their count, or -ENOMEM. */
int cpuid_table_to_wire(const struct cpuid_table *table, struct arena *arena, CpuidEntry ***entries);

/*
 * 0, or -E2BIG where there are more than LIMIT_CPUID_ENTRIES. The bits by which a guest would find hardware
 * virtualization are cleared: a guest has none here.
 */
int cpuid_table_from_wire(CpuidEntry *const *entries, size_t count, struct cpuid_table *table);

/* Clears those bits in a table that KVM made. */
void cpuid_table_hide_virtualization(struct cpuid_table *table);

#endif
