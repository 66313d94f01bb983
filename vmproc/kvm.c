#include "vmproc/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static int
call(int fd, unsigned long request, const void *argument)
{
    int result = ioctl(fd, request, argument);

    return result < 0 ? -errno : result;
}

static int
call_number(int fd, unsigned long request, unsigned long argument)
{
    int result = ioctl(fd, request, argument);

    return result < 0 ? -errno : result;
}

int
kvm_get_api_version(int kvm)
{
    return call_number(kvm, KVM_GET_API_VERSION, 0);
}

int
kvm_check_extension(int fd, uint32_t extension)
{
    return call_number(fd, KVM_CHECK_EXTENSION, extension);
}

int
kvm_get_vcpu_mmap_size(int kvm)
{
    return call_number(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
}

int
kvm_create_vm(int kvm)
{
    return call_number(kvm, KVM_CREATE_VM, 0);
}

int
kvm_create_vcpu(int vm, unsigned id)
{
    return call_number(vm, KVM_CREATE_VCPU, id);
}

int
kvm_create_irqchip(int vm)
{
    return call_number(vm, KVM_CREATE_IRQCHIP, 0);
}

int
kvm_set_tss_address(int vm, uint64_t address)
{
    return call_number(vm, KVM_SET_TSS_ADDR, address);
}

int
kvm_set_identity_map_address(int vm, uint64_t address)
{
    return call(vm, KVM_SET_IDENTITY_MAP_ADDR, &address);
}

int
kvm_irq_line(int vm, uint32_t irq, uint32_t level)
{
    struct kvm_irq_level line = { .irq = irq, .level = level };

    return call(vm, KVM_IRQ_LINE, &line);
}

int
kvm_get_dirty_log(int vm, uint32_t slot, void *bitmap)
{
    struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

    return call(vm, KVM_GET_DIRTY_LOG, &log);
}

int
kvm_enter(int vcpu)
{
    return call_number(vcpu, KVM_RUN, 0);
}

struct kvm_run *
kvm_map_run(int vcpu, size_t size)
{
    void *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

    return run == MAP_FAILED ? NULL : run;
}

void
kvm_unmap_run(struct kvm_run *run, size_t size)
{
    munmap(run, size);
}

/* The calls that take a pointer to their structure, and nothing else. */
#define FILLS(name, request, type)                                                                                     \
    int name(int fd, struct type *state)                                                                               \
    {                                                                                                                  \
        return call(fd, request, state);                                                                               \
    }
#define TAKES(name, request, type)                                                                                     \
    int name(int fd, const struct type *state)                                                                         \
    {                                                                                                                  \
        return call(fd, request, state);                                                                               \
    }

FILLS(kvm_get_supported_cpuid, KVM_GET_SUPPORTED_CPUID, kvm_cpuid2)
FILLS(kvm_get_emulated_cpuid, KVM_GET_EMULATED_CPUID, kvm_cpuid2)
FILLS(kvm_get_msr_index_list, KVM_GET_MSR_INDEX_LIST, kvm_msr_list)

TAKES(kvm_set_memory, KVM_SET_USER_MEMORY_REGION, kvm_userspace_memory_region)
TAKES(kvm_create_pit2, KVM_CREATE_PIT2, kvm_pit_config)
TAKES(kvm_set_gsi_routing, KVM_SET_GSI_ROUTING, kvm_irq_routing)
TAKES(kvm_irqfd, KVM_IRQFD, kvm_irqfd)
TAKES(kvm_ioeventfd, KVM_IOEVENTFD, kvm_ioeventfd)
TAKES(kvm_register_coalesced, KVM_REGISTER_COALESCED_MMIO, kvm_coalesced_mmio_zone)
TAKES(kvm_unregister_coalesced, KVM_UNREGISTER_COALESCED_MMIO, kvm_coalesced_mmio_zone)
FILLS(kvm_get_irqchip, KVM_GET_IRQCHIP, kvm_irqchip)
TAKES(kvm_set_irqchip, KVM_SET_IRQCHIP, kvm_irqchip)
FILLS(kvm_get_pit2, KVM_GET_PIT2, kvm_pit_state2)
TAKES(kvm_set_pit2, KVM_SET_PIT2, kvm_pit_state2)
FILLS(kvm_get_clock, KVM_GET_CLOCK, kvm_clock_data)
TAKES(kvm_set_clock, KVM_SET_CLOCK, kvm_clock_data)

TAKES(kvm_enable_capability, KVM_ENABLE_CAP, kvm_enable_cap)

FILLS(kvm_get_regs, KVM_GET_REGS, kvm_regs)
TAKES(kvm_set_regs, KVM_SET_REGS, kvm_regs)
FILLS(kvm_get_sregs, KVM_GET_SREGS, kvm_sregs)
TAKES(kvm_set_sregs, KVM_SET_SREGS, kvm_sregs)
FILLS(kvm_get_fpu, KVM_GET_FPU, kvm_fpu)
TAKES(kvm_set_fpu, KVM_SET_FPU, kvm_fpu)
FILLS(kvm_get_debugregs, KVM_GET_DEBUGREGS, kvm_debugregs)
TAKES(kvm_set_debugregs, KVM_SET_DEBUGREGS, kvm_debugregs)
FILLS(kvm_get_xcrs, KVM_GET_XCRS, kvm_xcrs)
TAKES(kvm_set_xcrs, KVM_SET_XCRS, kvm_xcrs)
FILLS(kvm_get_lapic, KVM_GET_LAPIC, kvm_lapic_state)
TAKES(kvm_set_lapic, KVM_SET_LAPIC, kvm_lapic_state)
FILLS(kvm_get_mp_state, KVM_GET_MP_STATE, kvm_mp_state)
TAKES(kvm_set_mp_state, KVM_SET_MP_STATE, kvm_mp_state)
FILLS(kvm_get_vcpu_events, KVM_GET_VCPU_EVENTS, kvm_vcpu_events)
TAKES(kvm_set_vcpu_events, KVM_SET_VCPU_EVENTS, kvm_vcpu_events)
FILLS(kvm_get_msrs, KVM_GET_MSRS, kvm_msrs)
TAKES(kvm_set_msrs, KVM_SET_MSRS, kvm_msrs)
TAKES(kvm_set_cpuid2, KVM_SET_CPUID2, kvm_cpuid2)
FILLS(kvm_get_supported_hyperv_cpuid, KVM_GET_SUPPORTED_HV_CPUID, kvm_cpuid2)
