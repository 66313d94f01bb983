/*
 * What a person hides from the guest of its processor's features: by name, or bit by bit. A mask can only take away. That a guest does
 * without what it was not told of is up to the guest; most of it is not enforced.
 */
#ifndef VMSUP_PLUGIN_MICROVM_CPUID_MASK_H
#define VMSUP_PLUGIN_MICROVM_CPUID_MASK_H

#include "plugin/microvm/cpuid.h"

#define CPUID_MASKS_MAX 64

enum cpuid_register {
    CPUID_EAX,
    CPUID_EBX,
    CPUID_ECX,
    CPUID_EDX,
};

struct cpuid_mask {
    uint32_t leaf;
    uint32_t subleaf;
    bool all_subleaves;
    enum cpuid_register from;
    uint32_t bits; /* to be hidden */
};

/* A feature's name as Linux has it in /proc/cpuinfo, or LEAF[.SUBLEAF]:REGISTER=BITS. -EINVAL: it is neither. */
int cpuid_mask_parse(const char *text, struct cpuid_mask *mask);

/* Clears the bits wherever the list has the leaf. */
void cpuid_mask_apply(const struct cpuid_mask *masks, size_t count, struct cpuid_list *list);

#endif
