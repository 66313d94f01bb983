/*
 * A KVM made of memory: it defines every function of vmproc/kvm.h, so that a fuzz target which includes this file
 * drives vmproc's code without a VM. It says yes to most things, fills what is asked for with bytes, and now and then
 * says no.
 */
#ifndef VMSUP_TESTS_FUZZ_FAKE_KVM_H
#define VMSUP_TESTS_FUZZ_FAKE_KVM_H

#include "vmproc/kvm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

/* struct kvm_run, two pages of an access's data, the ring of coalesced writes. */
#define FAKE_RUN_SIZE (4 * 4096)
#define FAKE_COALESCED_PAGE 3

/* Whether vCPUs can be made. */
static bool fake_has_vcpus;
/* What happens in KVM_RUN; NULL: it is interrupted. */
static int (*fake_enter)(void);
/* Counts calls that may fail: every 16th does. */
static unsigned fake_calls;

static int
fake_result(void)
{
    return ++fake_calls % 16 == 0 ? -EINVAL : 0;
}

static int
fake_fill(void *state, size_t size)
{
    memset(state, 0x5a, size);
    return fake_result();
}

/* Reads all of it, so that a sanitizer sees what is not there. */
static int
fake_take(const void *state, size_t size)
{
    static volatile unsigned char sum;
    const unsigned char *bytes = state;

    for (size_t i = 0; i < size; i++)
        sum = (unsigned char)(sum + bytes[i]);
    return fake_result();
}

static int
fake_fill_cpuid(struct kvm_cpuid2 *cpuid)
{
    memset(cpuid->entries, 0x5a, cpuid->nent * sizeof cpuid->entries[0]);
    return fake_result();
}

int
kvm_get_api_version(int kvm)
{
    (void)kvm;
    return 12;
}

int
kvm_check_extension(int fd, uint32_t extension)
{
    (void)fd;
    switch (extension) {
    case KVM_CAP_SYNC_REGS:
        return KVM_SYNC_X86_VALID_FIELDS;
    case KVM_CAP_COALESCED_MMIO:
        return FAKE_COALESCED_PAGE;
    default:
        return 1;
    }
}

int
kvm_get_vcpu_mmap_size(int kvm)
{
    (void)kvm;
    return FAKE_RUN_SIZE;
}

int
kvm_create_vm(int kvm)
{
    (void)kvm;
    return eventfd(0, EFD_CLOEXEC);
}

int
kvm_create_vcpu(int vm, unsigned id)
{
    (void)vm;
    (void)id;
    return fake_has_vcpus ? eventfd(0, EFD_CLOEXEC) : -EIO;
}

struct kvm_run *
kvm_map_run(int vcpu, size_t size)
{
    (void)vcpu;
    return calloc(1, size);
}

void
kvm_unmap_run(struct kvm_run *run, size_t size)
{
    (void)size;
    free(run);
}

int
kvm_enter(int vcpu)
{
    (void)vcpu;
    return fake_enter != NULL ? fake_enter() : -EINTR;
}

int
kvm_create_irqchip(int vm)
{
    (void)vm;
    return 0;
}

int
kvm_create_pit2(int vm, const struct kvm_pit_config *config)
{
    (void)vm;
    (void)config;
    return 0;
}

int
kvm_set_tss_address(int vm, uint64_t address)
{
    (void)vm;
    (void)address;
    return 0;
}

int
kvm_set_identity_map_address(int vm, uint64_t address)
{
    (void)vm;
    (void)address;
    return fake_result();
}

int
kvm_irq_line(int vm, uint32_t irq, uint32_t level)
{
    (void)vm;
    (void)irq;
    (void)level;
    return fake_result();
}

int
kvm_get_dirty_log(int vm, uint32_t slot, void *bitmap)
{
    (void)vm;
    (void)slot;
    memset(bitmap, 0xff, 8);
    return fake_result();
}

int
kvm_set_gsi_routing(int vm, const struct kvm_irq_routing *routing)
{
    (void)vm;
    return fake_take(routing->entries, routing->nr * sizeof routing->entries[0]);
}

int
kvm_get_supported_cpuid(int kvm, struct kvm_cpuid2 *cpuid)
{
    (void)kvm;
    return fake_fill_cpuid(cpuid);
}

int
kvm_get_emulated_cpuid(int kvm, struct kvm_cpuid2 *cpuid)
{
    (void)kvm;
    cpuid->nent = 1;
    return fake_fill_cpuid(cpuid);
}

int
kvm_get_supported_hyperv_cpuid(int vcpu, struct kvm_cpuid2 *cpuid)
{
    (void)vcpu;
    return fake_fill_cpuid(cpuid);
}

int
kvm_set_cpuid2(int vcpu, const struct kvm_cpuid2 *cpuid)
{
    (void)vcpu;
    return fake_take(cpuid->entries, cpuid->nent * sizeof cpuid->entries[0]);
}

int
kvm_get_msr_index_list(int kvm, struct kvm_msr_list *list)
{
    (void)kvm;
    memset(list->indices, 0x5a, list->nmsrs * sizeof list->indices[0]);
    return fake_result();
}

int
kvm_get_msrs(int vcpu, struct kvm_msrs *msrs)
{
    (void)vcpu;
    memset(msrs->entries, 0x5a, msrs->nmsrs * sizeof msrs->entries[0]);
    return (int)msrs->nmsrs;
}

int
kvm_set_msrs(int vcpu, const struct kvm_msrs *msrs)
{
    (void)vcpu;
    return fake_take(msrs->entries, msrs->nmsrs * sizeof msrs->entries[0]);
}

#define FAKE_FILLS(name, type)                                                                                         \
    int name(int fd, struct type *state)                                                                               \
    {                                                                                                                  \
        (void)fd;                                                                                                      \
        return fake_fill(state, sizeof *state);                                                                        \
    }
#define FAKE_TAKES(name, type)                                                                                         \
    int name(int fd, const struct type *state)                                                                         \
    {                                                                                                                  \
        (void)fd;                                                                                                      \
        return fake_take(state, sizeof *state);                                                                        \
    }

FAKE_TAKES(kvm_set_memory, kvm_userspace_memory_region)
FAKE_TAKES(kvm_irqfd, kvm_irqfd)
FAKE_TAKES(kvm_ioeventfd, kvm_ioeventfd)
FAKE_TAKES(kvm_register_coalesced, kvm_coalesced_mmio_zone)
FAKE_TAKES(kvm_unregister_coalesced, kvm_coalesced_mmio_zone)
FAKE_FILLS(kvm_get_irqchip, kvm_irqchip)
FAKE_TAKES(kvm_set_irqchip, kvm_irqchip)
FAKE_FILLS(kvm_get_pit2, kvm_pit_state2)
FAKE_TAKES(kvm_set_pit2, kvm_pit_state2)
FAKE_FILLS(kvm_get_clock, kvm_clock_data)
FAKE_TAKES(kvm_set_clock, kvm_clock_data)
FAKE_TAKES(kvm_enable_capability, kvm_enable_cap)
FAKE_FILLS(kvm_get_regs, kvm_regs)
FAKE_TAKES(kvm_set_regs, kvm_regs)
FAKE_FILLS(kvm_get_sregs, kvm_sregs)
FAKE_TAKES(kvm_set_sregs, kvm_sregs)
FAKE_FILLS(kvm_get_fpu, kvm_fpu)
FAKE_TAKES(kvm_set_fpu, kvm_fpu)
FAKE_FILLS(kvm_get_debugregs, kvm_debugregs)
FAKE_TAKES(kvm_set_debugregs, kvm_debugregs)
FAKE_FILLS(kvm_get_xcrs, kvm_xcrs)
FAKE_TAKES(kvm_set_xcrs, kvm_xcrs)
FAKE_FILLS(kvm_get_lapic, kvm_lapic_state)
FAKE_TAKES(kvm_set_lapic, kvm_lapic_state)
FAKE_FILLS(kvm_get_mp_state, kvm_mp_state)
FAKE_TAKES(kvm_set_mp_state, kvm_mp_state)
FAKE_FILLS(kvm_get_vcpu_events, kvm_vcpu_events)
FAKE_TAKES(kvm_set_vcpu_events, kvm_vcpu_events)

#endif
