#include "plugin/microvm/cpuid.h"

/* Leaf 1. */
#define LEAF_1_ECX_X2APIC (1U << 21)
#define LEAF_1_ECX_TSC_DEADLINE (1U << 24)
#define LEAF_1_ECX_HYPERVISOR (1U << 31)
#define LEAF_1_EDX_HTT (1U << 28)

/* Leaf 0xb: kinds of levels. */
#define LEVEL_THREAD 1
#define LEVEL_CORE 2

/* How many bits hold the numbers of all vCPUs. */
static uint32_t
id_bits(uint32_t vcpu_count)
{
    uint32_t bits = 0;

    while (1U << bits < vcpu_count)
        bits++;
    return bits;
}

static void
fit_features(struct kvm_cpuid_entry2 *entry, uint32_t vcpu, uint32_t vcpu_count, bool deadline)
{
    const uint32_t ids = 1U << id_bits(vcpu_count);

    entry->ebx = (entry->ebx & 0xffff) | (ids < 0xff ? ids : 0xff) << 16 | (vcpu & 0xff) << 24;
    entry->ecx |= LEAF_1_ECX_X2APIC | LEAF_1_ECX_HYPERVISOR;
    entry->ecx = deadline ? entry->ecx | LEAF_1_ECX_TSC_DEADLINE : entry->ecx & ~LEAF_1_ECX_TSC_DEADLINE;
    entry->edx = vcpu_count > 1 ? entry->edx | LEAF_1_EDX_HTT : entry->edx & ~LEAF_1_EDX_HTT;
}

/* Intel's caches: the first two levels are a core's own, the others the package's; and how many cores there may be. */
static void
fit_caches(struct kvm_cpuid_entry2 *entry, uint32_t vcpu_count)
{
    const uint32_t ids = 1U << id_bits(vcpu_count), level = entry->eax >> 5 & 7;
    const uint32_t sharing = level >= 3 ? ids : 1;

    if ((entry->eax & 0x1f) == 0)
        return;
    entry->eax = (entry->eax & 0x3fff) | ((sharing - 1) & 0xfff) << 14 | ((ids - 1) & 0x3f) << 26;
}

static void
fit_topology(struct kvm_cpuid_entry2 *entry, uint32_t vcpu, uint32_t vcpu_count)
{
    entry->eax = entry->ebx = 0;
    entry->ecx = entry->index & 0xff;
    entry->edx = vcpu;
    if (entry->index == 0) {
        entry->ebx = 1;
        entry->ecx |= LEVEL_THREAD << 8;
    } else if (entry->index == 1) {
        entry->eax = id_bits(vcpu_count);
        entry->ebx = vcpu_count;
        entry->ecx |= LEVEL_CORE << 8;
    }
}

void
cpuid_fit(struct kvm_cpuid_entry2 *entries, size_t count, uint32_t vcpu, uint32_t vcpu_count, bool deadline)
{
    for (size_t i = 0; i < count; i++) {
        struct kvm_cpuid_entry2 *entry = &entries[i];

        switch (entry->function) {
        case 0x1:
            fit_features(entry, vcpu, vcpu_count, deadline);
            break;
        case 0x4:
            fit_caches(entry, vcpu_count);
            break;
        case 0xb:
        case 0x1f:
            fit_topology(entry, vcpu, vcpu_count);
            break;
        case 0x80000008: /* AMD: the number of cores less one, and the bits of an id that name one */
            entry->ecx = (entry->ecx & ~0xf0ffU) | id_bits(vcpu_count) << 12 | ((vcpu_count - 1) & 0xff);
            break;
        case 0x8000001e: /* AMD: the APIC id again, and one thread a core */
            entry->eax = vcpu;
            entry->ebx = vcpu & 0xff;
            entry->ecx = 0;
            break;
        default:
            break;
        }
    }
}
