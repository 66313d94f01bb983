#include "vmproc/cpuid_table.h"

#include <errno.h>
#include <string.h>

#define CPUID_FEATURES 1u
#define CPUID_FEATURES_ECX_VMX (1u << 5)
#define CPUID_EXTENDED_FEATURES 0x80000001u
#define CPUID_EXTENDED_FEATURES_ECX_SVM (1u << 2)

void
cpuid_table_init(struct cpuid_table *table)
{
    memset(table, 0, sizeof *table);
    table->nent = LIMIT_CPUID_ENTRIES;
}

void
cpuid_table_hide_virtualization(struct cpuid_table *table)
{
    for (uint32_t i = 0; i < table->nent; i++) {
        if (table->entries[i].function == CPUID_FEATURES)
            table->entries[i].ecx &= ~CPUID_FEATURES_ECX_VMX;
        if (table->entries[i].function == CPUID_EXTENDED_FEATURES)
            table->entries[i].ecx &= ~CPUID_EXTENDED_FEATURES_ECX_SVM;
    }
}

int
cpuid_table_to_wire(const struct cpuid_table *table, struct arena *arena, CpuidEntry ***out)
{
    uint32_t count = table->nent;
    void *memory = arena->allocator.alloc(arena, count * (sizeof(CpuidEntry) + sizeof(CpuidEntry *)));
    CpuidEntry *all = memory, **entries;

    if (memory == NULL)
        return -ENOMEM;
    entries = (CpuidEntry **)(void *)(all + count);
    for (uint32_t i = 0; i < count; i++) {
        const struct kvm_cpuid_entry2 *from = &table->entries[i];

        cpuid_entry__init(&all[i]);
        all[i].function = from->function;
        all[i].has_index = (from->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
        all[i].index = from->index;
        all[i].eax = from->eax;
        all[i].ebx = from->ebx;
        all[i].ecx = from->ecx;
        all[i].edx = from->edx;
        entries[i] = &all[i];
    }
    *out = entries;
    return (int)count;
}

int
cpuid_table_from_wire(CpuidEntry *const *entries, size_t count, struct cpuid_table *table)
{
    if (count > LIMIT_CPUID_ENTRIES)
        return -E2BIG;
    cpuid_table_init(table);
    table->nent = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        table->entries[i] = (struct kvm_cpuid_entry2){
            .function = entries[i]->function,
            .index = entries[i]->has_index ? entries[i]->index : 0,
            .flags = entries[i]->has_index ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = entries[i]->eax,
            .ebx = entries[i]->ebx,
            .ecx = entries[i]->ecx,
            .edx = entries[i]->edx,
        };
    }
    cpuid_table_hide_virtualization(table);
    return 0;
}
