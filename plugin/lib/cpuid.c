#include "plugin/lib/cpuid.h"

#include <errno.h>

int
cpuid_from_wire(CpuidEntry *const *wire, size_t wire_count, uint32_t count, struct kvm_cpuid_entry2 *entries,
                uint32_t *out_count)
{
    *out_count = (uint32_t)wire_count;
    if (wire_count > count)
        return -E2BIG;
    for (size_t i = 0; i < wire_count; i++)
        entries[i] = (struct kvm_cpuid_entry2){
            .function = wire[i]->function,
            .index = wire[i]->has_index ? wire[i]->index : 0,
            .flags = wire[i]->has_index ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = wire[i]->eax,
            .ebx = wire[i]->ebx,
            .ecx = wire[i]->ecx,
            .edx = wire[i]->edx,
        };
    return 0;
}

void
cpuid_to_wire(const struct kvm_cpuid_entry2 *entry, CpuidEntry *wire)
{
    cpuid_entry__init(wire);
    wire->function = entry->function;
    wire->has_index = (entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
    wire->index = wire->has_index ? entry->index : 0;
    wire->eax = entry->eax;
    wire->ebx = entry->ebx;
    wire->ecx = entry->ecx;
    wire->edx = entry->edx;
}
