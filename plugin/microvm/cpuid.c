#include "plugin/microvm/cpuid.h"

#include <errno.h>
#include <string.h>

/* Leaf 1. */
#define LEAF_1_ECX_VMX (1U << 5)
#define LEAF_1_ECX_PDCM (1U << 15)
#define LEAF_1_ECX_X2APIC (1U << 21)
#define LEAF_1_ECX_TSC_DEADLINE (1U << 24)
#define LEAF_1_ECX_HYPERVISOR (1U << 31)
#define LEAF_1_EDX_HTT (1U << 28)

/* Leaf 0x80000001, AMD's. */
#define EXTENDED_ECX_CMP_LEGACY (1U << 1)
#define EXTENDED_ECX_SVM (1U << 2)
#define EXTENDED_ECX_COUNTERS_CORE (1U << 23)
#define EXTENDED_ECX_COUNTERS_NORTHBRIDGE (1U << 24)
#define EXTENDED_ECX_COUNTERS_LAST_LEVEL (1U << 28)

/* Leaves 0xb and 0x1f: kinds of levels. */
#define LEVEL_THREAD 1
#define LEVEL_CORE 2

/* Leaves 4 and 0x8000001d. */
#define CACHE_TYPE 0x1f
#define CACHE_LEVEL(eax) ((eax) >> 5 & 7)
#define CACHE_SHARED_FROM_LEVEL 3
#define CACHE_SHARING_MAX 0xfffU
#define CACHE_CORES_MAX 0x3fU

struct fit {
    uint32_t vcpu, vcpu_count;
    uint32_t id_bits; /* that hold the numbers of all vCPUs */
    bool deadline, amd;
};

static uint32_t
smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static struct kvm_cpuid_entry2 *
find(struct cpuid_list *list, uint32_t leaf)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->entry[i].function == leaf)
            return &list->entry[i];
    return NULL;
}

static bool
is_amd(struct cpuid_list *list)
{
    const struct kvm_cpuid_entry2 *vendor = find(list, 0);
    char name[12];

    if (vendor == NULL)
        return false;
    memcpy(name, &vendor->ebx, 4);
    memcpy(name + 4, &vendor->edx, 4);
    memcpy(name + 8, &vendor->ecx, 4);
    return memcmp(name, "AuthenticAMD", sizeof name) == 0 || memcmp(name, "HygonGenuine", sizeof name) == 0;
}

/* How many ids there are to a package: Intel counts those that its bits make, AMD those that are used. */
static void
fit_features(struct kvm_cpuid_entry2 *entry, const struct fit *fit)
{
    const uint32_t ids = fit->amd ? fit->vcpu_count : 1U << fit->id_bits;

    entry->ebx = (entry->ebx & 0xffff) | smaller(ids, 0xff) << 16 | (fit->vcpu & 0xff) << 24;
    entry->ecx &= ~(LEAF_1_ECX_VMX | LEAF_1_ECX_PDCM | LEAF_1_ECX_TSC_DEADLINE);
    entry->ecx |= LEAF_1_ECX_X2APIC | LEAF_1_ECX_HYPERVISOR | (fit->deadline ? LEAF_1_ECX_TSC_DEADLINE : 0);
    entry->edx = fit->vcpu_count > 1 ? entry->edx | LEAF_1_EDX_HTT : entry->edx & ~LEAF_1_EDX_HTT;
}

static void
fit_extended_features(struct kvm_cpuid_entry2 *entry, const struct fit *fit)
{
    if (!fit->amd)
        return;
    entry->ecx &= ~(EXTENDED_ECX_CMP_LEGACY | EXTENDED_ECX_SVM | EXTENDED_ECX_COUNTERS_CORE | EXTENDED_ECX_COUNTERS_NORTHBRIDGE |
                    EXTENDED_ECX_COUNTERS_LAST_LEVEL);
    entry->ecx |= fit->vcpu_count > 1 ? EXTENDED_ECX_CMP_LEGACY : 0;
}

/* The first two levels are a core's own, the others the package's. */
static void
fit_sharing(struct kvm_cpuid_entry2 *entry, const struct fit *fit)
{
    const uint32_t others = CACHE_LEVEL(entry->eax) >= CACHE_SHARED_FROM_LEVEL ? (1U << fit->id_bits) - 1 : 0;

    if ((entry->eax & CACHE_TYPE) != 0)
        entry->eax = (entry->eax & ~(CACHE_SHARING_MAX << 14)) | smaller(others, CACHE_SHARING_MAX) << 14;
}

/* Intel says here, too, how many cores a package may have. */
static void
fit_caches(struct kvm_cpuid_entry2 *entry, const struct fit *fit)
{
    fit_sharing(entry, fit);
    if ((entry->eax & CACHE_TYPE) != 0)
        entry->eax = (entry->eax & ~(CACHE_CORES_MAX << 26)) | smaller((1U << fit->id_bits) - 1, CACHE_CORES_MAX) << 26;
}

/* AMD: the number of cores less one, and the bits of an id that name one. */
static void
fit_sizes(struct kvm_cpuid_entry2 *entry, const struct fit *fit)
{
    if (fit->amd)
        entry->ecx = (entry->ecx & ~0xf0ffU) | fit->id_bits << 12 | smaller(fit->vcpu_count - 1, 0xff);
}

/* AMD: the APIC id again, the core, with one thread, and the node, of which there is one. */
static void
fit_extended_topology(struct kvm_cpuid_entry2 *entry, const struct fit *fit)
{
    if (!fit->amd)
        return;
    entry->eax = fit->vcpu;
    entry->ebx = fit->vcpu & 0xff;
    entry->ecx = 0;
}

/* Counters of either maker, and AMD's nested virtualization. */
static void
clear(struct kvm_cpuid_entry2 *entry, const struct fit *fit)
{
    (void)fit;
    entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
}

static const struct {
    uint32_t leaf;
    void (*fit)(struct kvm_cpuid_entry2 *entry, const struct fit *fit);
} leaves[] = {
    { 0x1, fit_features },
    { 0x4, fit_caches },
    { 0xa, clear },
    { 0x80000001, fit_extended_features },
    { 0x80000008, fit_sizes },
    { 0x8000000a, clear },
    { 0x8000001d, fit_sharing },
    { 0x8000001e, fit_extended_topology },
    { 0x80000022, clear },
};

static void
remove_leaf(struct cpuid_list *list, uint32_t leaf)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < list->count; i++)
        if (list->entry[i].function != leaf)
            list->entry[kept++] = list->entry[i];
    list->count = kept;
}

/* The levels of the topology, in place of what KVM says of them, which is nothing or the host's: threads, cores, and the end. */
static int
add_topology(struct cpuid_list *list, uint32_t leaf, const struct fit *fit)
{
    const struct kvm_cpuid_entry2 levels[] = {
        { .ebx = 1, .ecx = LEVEL_THREAD << 8 },
        { .eax = fit->id_bits, .ebx = fit->vcpu_count, .ecx = LEVEL_CORE << 8 },
        { .ecx = 0 },
    };
    const uint32_t level_count = sizeof levels / sizeof levels[0];

    remove_leaf(list, leaf);
    if (CPUID_ENTRIES_MAX - list->count < level_count)
        return -E2BIG;
    for (uint32_t i = 0; i < level_count; i++) {
        struct kvm_cpuid_entry2 *entry = &list->entry[list->count++];

        *entry = levels[i];
        entry->function = leaf;
        entry->index = i;
        entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        entry->ecx |= i;
        entry->edx = fit->vcpu;
    }
    return 0;
}

int
cpuid_fit(struct cpuid_list *list, uint32_t vcpu, uint32_t vcpu_count, bool deadline)
{
    struct fit fit = { .vcpu = vcpu, .vcpu_count = vcpu_count, .deadline = deadline, .amd = is_amd(list) };
    const struct kvm_cpuid_entry2 *basic = find(list, 0);
    const uint32_t last = basic == NULL ? 0 : basic->eax;
    int result = 0;

    while (1U << fit.id_bits < vcpu_count)
        fit.id_bits++;
    for (uint32_t i = 0; i < list->count; i++)
        for (size_t j = 0; j < sizeof leaves / sizeof leaves[0]; j++)
            if (list->entry[i].function == leaves[j].leaf)
                leaves[j].fit(&list->entry[i], &fit);
    if (last >= 0xb)
        result = add_topology(list, 0xb, &fit);
    if (result == 0 && last >= 0x1f)
        result = add_topology(list, 0x1f, &fit);
    return result;
}
