#include "plugin/microvm/cpuid_mask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXTENDED 0x80000001

static const struct {
    const char *name;
    uint32_t leaf;
    enum cpuid_register from;
    unsigned bit;
} features[] = {
    { "pclmulqdq", 1, CPUID_ECX, 1 }, { "ssse3", 1, CPUID_ECX, 9 }, { "fma", 1, CPUID_ECX, 12 },
    { "cx16", 1, CPUID_ECX, 13 }, { "pcid", 1, CPUID_ECX, 17 }, { "sse4_1", 1, CPUID_ECX, 19 },
    { "sse4_2", 1, CPUID_ECX, 20 }, { "x2apic", 1, CPUID_ECX, 21 }, { "movbe", 1, CPUID_ECX, 22 },
    { "popcnt", 1, CPUID_ECX, 23 }, { "tsc_deadline_timer", 1, CPUID_ECX, 24 }, { "aes", 1, CPUID_ECX, 25 },
    { "xsave", 1, CPUID_ECX, 26 }, { "avx", 1, CPUID_ECX, 28 }, { "f16c", 1, CPUID_ECX, 29 },
    { "rdrand", 1, CPUID_ECX, 30 }, { "hypervisor", 1, CPUID_ECX, 31 }, { "fsgsbase", 7, CPUID_EBX, 0 },
    { "sgx", 7, CPUID_EBX, 2 }, { "bmi1", 7, CPUID_EBX, 3 }, { "hle", 7, CPUID_EBX, 4 }, { "avx2", 7, CPUID_EBX, 5 },
    { "smep", 7, CPUID_EBX, 7 }, { "bmi2", 7, CPUID_EBX, 8 }, { "erms", 7, CPUID_EBX, 9 },
    { "invpcid", 7, CPUID_EBX, 10 }, { "rtm", 7, CPUID_EBX, 11 }, { "avx512f", 7, CPUID_EBX, 16 },
    { "rdseed", 7, CPUID_EBX, 18 }, { "adx", 7, CPUID_EBX, 19 }, { "smap", 7, CPUID_EBX, 20 },
    { "clflushopt", 7, CPUID_EBX, 23 }, { "clwb", 7, CPUID_EBX, 24 }, { "sha_ni", 7, CPUID_EBX, 29 },
    { "umip", 7, CPUID_ECX, 2 }, { "pku", 7, CPUID_ECX, 3 }, { "waitpkg", 7, CPUID_ECX, 5 },
    { "gfni", 7, CPUID_ECX, 8 }, { "vaes", 7, CPUID_ECX, 9 }, { "la57", 7, CPUID_ECX, 16 },
    { "rdpid", 7, CPUID_ECX, 22 }, { "fsrm", 7, CPUID_EDX, 4 }, { "amx_tile", 7, CPUID_EDX, 24 },
    { "nx", EXTENDED, CPUID_EDX, 20 }, { "pdpe1gb", EXTENDED, CPUID_EDX, 26 }, { "rdtscp", EXTENDED, CPUID_EDX, 27 },
    { "sse4a", EXTENDED, CPUID_ECX, 6 }, { "topoext", EXTENDED, CPUID_ECX, 22 },
};

/* Decimal, or hexadecimal behind 0x, of 32 bits; *text moves behind it. */
static int
take_number(const char **text, uint32_t *value)
{
    const int base = (*text)[0] == '0' && (*text)[1] == 'x' ? 16 : 10;
    static const char digits[] = "0123456789abcdef";
    const char *digit, *begin;

    begin = *text += base == 16 ? 2 : 0;
    for (*value = 0; **text != '\0' && (digit = strchr(digits, **text)) != NULL && digit - digits < base; ++*text)
        if (__builtin_mul_overflow(*value, (uint32_t)base, value) || __builtin_add_overflow(*value, (uint32_t)(digit - digits), value))
            return -EINVAL;
    return *text == begin ? -EINVAL : 0;
}

static int
take_register(const char **text, enum cpuid_register *from)
{
    static const char *const names[] = { [CPUID_EAX] = "eax", [CPUID_EBX] = "ebx", [CPUID_ECX] = "ecx", [CPUID_EDX] = "edx" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(*text, names[i], 3) == 0) {
            *text += 3;
            *from = (enum cpuid_register)i;
            return 0;
        }
    return -EINVAL;
}

static int
take_character(const char **text, char expected)
{
    if (**text != expected)
        return -EINVAL;
    ++*text;
    return 0;
}

static int
parse_bits(const char *text, struct cpuid_mask *mask)
{
    *mask = (struct cpuid_mask){ .all_subleaves = true };
    if (take_number(&text, &mask->leaf) < 0)
        return -EINVAL;
    if (take_character(&text, '.') == 0) {
        mask->all_subleaves = false;
        if (take_number(&text, &mask->subleaf) < 0)
            return -EINVAL;
    }
    if (take_character(&text, ':') < 0 || take_register(&text, &mask->from) < 0 || take_character(&text, '=') < 0 ||
        take_number(&text, &mask->bits) < 0)
        return -EINVAL;
    return *text == '\0' ? 0 : -EINVAL;
}

/* All of the features that have a name are in subleaf 0 where there are any. */
int
cpuid_mask_parse(const char *text, struct cpuid_mask *mask)
{
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
        if (strcmp(text, features[i].name) == 0) {
            *mask = (struct cpuid_mask){ .leaf = features[i].leaf, .from = features[i].from, .bits = 1U << features[i].bit };
            return 0;
        }
    return parse_bits(text, mask);
}

static uint32_t *
register_of(struct kvm_cpuid_entry2 *entry, enum cpuid_register from)
{
    switch (from) {
    case CPUID_EAX:
        return &entry->eax;
    case CPUID_EBX:
        return &entry->ebx;
    case CPUID_ECX:
        return &entry->ecx;
    default:
        return &entry->edx;
    }
}

void
cpuid_mask_apply(const struct cpuid_mask *masks, size_t count, struct cpuid_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        for (size_t j = 0; j < count; j++)
            if (list->entry[i].function == masks[j].leaf &&
                (masks[j].all_subleaves || list->entry[i].index == masks[j].subleaf))
                *register_of(&list->entry[i], masks[j].from) &= ~masks[j].bits;
}
