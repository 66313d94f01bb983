/*
 * The ioctls of KVM that the VM process uses, and nothing else: one function a call, typed, 0 (or what the call gives)
 * or a negative errno. What each does is told by the kernel's Documentation/virt/kvm/api.rst under the name of its
 * request. Nothing here keeps state; descriptors belong to the caller. Tests link a machine made of memory in place of
 * this file.
 */
#ifndef VMSUP_VMPROC_KVM_H
#define VMSUP_VMPROC_KVM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

/* On /dev/kvm. kvm_check_extension() works on a VM too. */
int kvm_get_api_version(int kvm);
int kvm_check_extension(int fd, uint32_t extension);
int kvm_get_vcpu_mmap_size(int kvm);
int kvm_create_vm(int kvm);
int kvm_get_supported_cpuid(int kvm, struct kvm_cpuid2 *cpuid);
int kvm_get_emulated_cpuid(int kvm, struct kvm_cpuid2 *cpuid);
int kvm_get_msr_index_list(int kvm, struct kvm_msr_list *list);

/* On a VM. */
int kvm_create_vcpu(int vm, unsigned id);
int kvm_set_memory(int vm, const struct kvm_userspace_memory_region *region);
int kvm_get_dirty_log(int vm, uint32_t slot, void *bitmap);
int kvm_create_irqchip(int vm);
int kvm_create_pit2(int vm, const struct kvm_pit_config *config);
int kvm_set_tss_address(int vm, uint64_t address);
int kvm_set_identity_map_address(int vm, uint64_t address);
int kvm_irq_line(int vm, uint32_t irq, uint32_t level);
int kvm_set_gsi_routing(int vm, const struct kvm_irq_routing *routing);
int kvm_irqfd(int vm, const struct kvm_irqfd *irqfd);
int kvm_ioeventfd(int vm, const struct kvm_ioeventfd *ioeventfd);
int kvm_register_coalesced(int vm, const struct kvm_coalesced_mmio_zone *zone);
int kvm_unregister_coalesced(int vm, const struct kvm_coalesced_mmio_zone *zone);
int kvm_get_irqchip(int vm, struct kvm_irqchip *irqchip);
int kvm_set_irqchip(int vm, const struct kvm_irqchip *irqchip);
int kvm_get_pit2(int vm, struct kvm_pit_state2 *state);
int kvm_set_pit2(int vm, const struct kvm_pit_state2 *state);
int kvm_get_clock(int vm, struct kvm_clock_data *clock);
int kvm_set_clock(int vm, const struct kvm_clock_data *clock);

/* On a VM or a vCPU. */
int kvm_enable_capability(int fd, const struct kvm_enable_cap *capability);

/* On a vCPU. kvm_map_run() gives the shared page, or NULL with errno set. */
struct kvm_run *kvm_map_run(int vcpu, size_t size);
void kvm_unmap_run(struct kvm_run *run, size_t size);
int kvm_enter(int vcpu);
int kvm_get_regs(int vcpu, struct kvm_regs *state);
int kvm_set_regs(int vcpu, const struct kvm_regs *state);
int kvm_get_sregs(int vcpu, struct kvm_sregs *state);
int kvm_set_sregs(int vcpu, const struct kvm_sregs *state);
int kvm_get_fpu(int vcpu, struct kvm_fpu *state);
int kvm_set_fpu(int vcpu, const struct kvm_fpu *state);
int kvm_get_debugregs(int vcpu, struct kvm_debugregs *state);
int kvm_set_debugregs(int vcpu, const struct kvm_debugregs *state);
int kvm_get_xcrs(int vcpu, struct kvm_xcrs *state);
int kvm_set_xcrs(int vcpu, const struct kvm_xcrs *state);
int kvm_get_lapic(int vcpu, struct kvm_lapic_state *state);
int kvm_set_lapic(int vcpu, const struct kvm_lapic_state *state);
int kvm_get_mp_state(int vcpu, struct kvm_mp_state *state);
int kvm_set_mp_state(int vcpu, const struct kvm_mp_state *state);
int kvm_get_vcpu_events(int vcpu, struct kvm_vcpu_events *state);
int kvm_set_vcpu_events(int vcpu, const struct kvm_vcpu_events *state);
/* How many entries were read or written, which may be fewer than asked. */
int kvm_get_msrs(int vcpu, struct kvm_msrs *msrs);
int kvm_set_msrs(int vcpu, const struct kvm_msrs *msrs);
int kvm_set_cpuid2(int vcpu, const struct kvm_cpuid2 *cpuid);
int kvm_get_supported_hyperv_cpuid(int vcpu, struct kvm_cpuid2 *cpuid);

#endif
