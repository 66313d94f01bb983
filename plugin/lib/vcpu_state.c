/* A vCPU's state, between an event and its resume. */
#include "plugin/lib/cpuid.h"
#include "plugin/lib/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* More entries than a request holds. */
#define ENTRIES_MAX 16384

static int
get_state(struct vmsup_vcpu *self, VcpuRequest__StateSet set, void *state, size_t size)
{
    VcpuRequest__GetState body = VCPU_REQUEST__GET_STATE__INIT;
    const VcpuRequest request = VCPU_REQUEST_OF(get_state, GET_STATE, &body);
    const VcpuResponse *response;
    int result;

    body.set = set;
    result = vcpu_call(self, &request, VCPU_RESPONSE__MESSAGE_GET_STATE, &response);
    if (result < 0)
        return result;
    if (response->get_state->state.len != size)
        return -EPROTO;
    memcpy(state, response->get_state->state.data, size);
    return 0;
}

static int
set_state(struct vmsup_vcpu *self, VcpuRequest__StateSet set, const void *state, size_t size)
{
    VcpuRequest__SetState body = VCPU_REQUEST__SET_STATE__INIT;
    const VcpuRequest request = VCPU_REQUEST_OF(set_state, SET_STATE, &body);

    body.set = set;
    /* Packing only reads it. */
    body.state.data = (uint8_t *)(uintptr_t)state;
    body.state.len = size;
    vcpu_forget_states(self);
    return vcpu_call(self, &request, VCPU_RESPONSE__MESSAGE_SET_STATE, NULL);
}

static const uint32_t looked_at[VCPU_CARRIED] = {
    [VCPU_REGS] = VCPU_CHANNEL_REGS,
    [VCPU_SREGS] = VCPU_CHANNEL_SREGS,
    [VCPU_DEBUGREGS] = VCPU_CHANNEL_DEBUGREGS,
    [VCPU_EVENTS] = VCPU_CHANNEL_EVENTS,
};

/* What was set is applied before it is read: KVM may see it otherwise than it was given. */
static int
get_carried(struct vmsup_vcpu *self, int which, void *state)
{
    struct vcpu_carried *carried = &self->carried[which];
    int result = 0;

    if (carried->dirty) {
        result = set_state(self, carried->set, carried->state, carried->size);
        if (result < 0)
            return result;
        carried->dirty = false;
    }
    self->looked |= looked_at[which];
    if (!carried->known)
        result = get_state(self, carried->set, carried->state, carried->size);
    if (result < 0)
        return result;
    carried->known = true;
    memcpy(state, carried->state, carried->size);
    return 0;
}

static int
set_carried(struct vmsup_vcpu *self, int which, const void *state)
{
    struct vcpu_carried *carried = &self->carried[which];

    memcpy(carried->state, state, carried->size);
    carried->dirty = true;
    return 0;
}

int
vmsup_vcpu_get_regs(struct vmsup_vcpu *self, struct kvm_regs *regs)
{
    return get_carried(self, VCPU_REGS, regs);
}

int
vmsup_vcpu_set_regs(struct vmsup_vcpu *self, const struct kvm_regs *regs)
{
    return set_carried(self, VCPU_REGS, regs);
}

int
vmsup_vcpu_get_sregs(struct vmsup_vcpu *self, struct kvm_sregs *sregs)
{
    return get_carried(self, VCPU_SREGS, sregs);
}

int
vmsup_vcpu_set_sregs(struct vmsup_vcpu *self, const struct kvm_sregs *sregs)
{
    return set_carried(self, VCPU_SREGS, sregs);
}

int
vmsup_vcpu_get_debugregs(struct vmsup_vcpu *self, struct kvm_debugregs *debugregs)
{
    return get_carried(self, VCPU_DEBUGREGS, debugregs);
}

int
vmsup_vcpu_set_debugregs(struct vmsup_vcpu *self, const struct kvm_debugregs *debugregs)
{
    return set_carried(self, VCPU_DEBUGREGS, debugregs);
}

int
vmsup_vcpu_get_fpu(struct vmsup_vcpu *self, struct kvm_fpu *fpu)
{
    return get_state(self, VCPU_REQUEST__STATE_SET__FPU, fpu, sizeof *fpu);
}

int
vmsup_vcpu_set_fpu(struct vmsup_vcpu *self, const struct kvm_fpu *fpu)
{
    return set_state(self, VCPU_REQUEST__STATE_SET__FPU, fpu, sizeof *fpu);
}

int
vmsup_vcpu_get_xcrs(struct vmsup_vcpu *self, struct kvm_xcrs *xcrs)
{
    return get_state(self, VCPU_REQUEST__STATE_SET__XCREGS, xcrs, sizeof *xcrs);
}

int
vmsup_vcpu_set_xcrs(struct vmsup_vcpu *self, const struct kvm_xcrs *xcrs)
{
    return set_state(self, VCPU_REQUEST__STATE_SET__XCREGS, xcrs, sizeof *xcrs);
}

int
vmsup_vcpu_get_lapic_state(struct vmsup_vcpu *self, struct kvm_lapic_state *state)
{
    return get_state(self, VCPU_REQUEST__STATE_SET__LAPIC, state, sizeof *state);
}

int
vmsup_vcpu_set_lapic_state(struct vmsup_vcpu *self, const struct kvm_lapic_state *state)
{
    return set_state(self, VCPU_REQUEST__STATE_SET__LAPIC, state, sizeof *state);
}

int
vmsup_vcpu_get_mp_state(struct vmsup_vcpu *self, struct kvm_mp_state *state)
{
    return get_state(self, VCPU_REQUEST__STATE_SET__MP, state, sizeof *state);
}

int
vmsup_vcpu_set_mp_state(struct vmsup_vcpu *self, const struct kvm_mp_state *state)
{
    return set_state(self, VCPU_REQUEST__STATE_SET__MP, state, sizeof *state);
}

int
vmsup_vcpu_get_vcpu_events(struct vmsup_vcpu *self, struct kvm_vcpu_events *events)
{
    if (self->channel != NULL)
        return get_carried(self, VCPU_EVENTS, events);
    return get_state(self, VCPU_REQUEST__STATE_SET__EVENTS, events, sizeof *events);
}

int
vmsup_vcpu_set_vcpu_events(struct vmsup_vcpu *self, const struct kvm_vcpu_events *events)
{
    if (self->channel != NULL && self->phase == VCPU_HOLDS)
        return set_carried(self, VCPU_EVENTS, events);
    return set_state(self, VCPU_REQUEST__STATE_SET__EVENTS, events, sizeof *events);
}

int
vmsup_vcpu_get_msrs(struct vmsup_vcpu *self, uint32_t msr_count, struct kvm_msr_entry *msr_entries, uint32_t *out_count)
{
    VcpuRequest__GetMsrs body = VCPU_REQUEST__GET_MSRS__INIT;
    const VcpuRequest request = VCPU_REQUEST_OF(get_msrs, GET_MSRS, &body);
    const VcpuResponse *response;
    int result;

    if (msr_count > ENTRIES_MAX)
        return -E2BIG;
    body.entry_indices = calloc((size_t)msr_count + 1, sizeof *body.entry_indices);
    if (body.entry_indices == NULL)
        return -ENOMEM;
    body.n_entry_indices = msr_count;
    for (uint32_t i = 0; i < msr_count; i++)
        body.entry_indices[i] = msr_entries[i].index;
    result = vcpu_call(self, &request, VCPU_RESPONSE__MESSAGE_GET_MSRS, &response);
    if (result == 0 && response->get_msrs->n_entry_data > msr_count)
        result = -EPROTO;
    if (result == 0) {
        *out_count = (uint32_t)response->get_msrs->n_entry_data;
        for (uint32_t i = 0; i < *out_count; i++)
            msr_entries[i].data = response->get_msrs->entry_data[i];
    }
    free(body.entry_indices);
    return result;
}

int
vmsup_vcpu_set_msrs(struct vmsup_vcpu *self, uint32_t msr_count, const struct kvm_msr_entry *msr_entries)
{
    VcpuRequest__SetMsrs body = VCPU_REQUEST__SET_MSRS__INIT;
    const VcpuRequest request = VCPU_REQUEST_OF(set_msrs, SET_MSRS, &body);
    VcpuRequest__MsrEntry *entries;
    int result = -ENOMEM;

    if (msr_count > ENTRIES_MAX)
        return -E2BIG;
    entries = calloc((size_t)msr_count + 1, sizeof *entries);
    body.entries = calloc((size_t)msr_count + 1, sizeof *body.entries);
    if (entries != NULL && body.entries != NULL) {
        body.n_entries = msr_count;
        for (uint32_t i = 0; i < msr_count; i++) {
            vcpu_request__msr_entry__init(&entries[i]);
            entries[i].index = msr_entries[i].index;
            entries[i].data = msr_entries[i].data;
            body.entries[i] = &entries[i];
        }
        vcpu_forget_states(self);
        result = vcpu_call(self, &request, VCPU_RESPONSE__MESSAGE_SET_MSRS, NULL);
    }
    free(entries);
    free(body.entries);
    return result;
}

int
vmsup_vcpu_set_cpuid(struct vmsup_vcpu *self, uint32_t count, const struct kvm_cpuid_entry2 *entries)
{
    VcpuRequest__SetCpuid body = VCPU_REQUEST__SET_CPUID__INIT;
    const VcpuRequest request = VCPU_REQUEST_OF(set_cpuid, SET_CPUID, &body);
    CpuidEntry *wire;
    int result = -ENOMEM;

    if (count > ENTRIES_MAX)
        return -E2BIG;
    wire = calloc((size_t)count + 1, sizeof *wire);
    body.entries = calloc((size_t)count + 1, sizeof *body.entries);
    if (wire != NULL && body.entries != NULL) {
        body.n_entries = count;
        for (uint32_t i = 0; i < count; i++) {
            cpuid_to_wire(&entries[i], &wire[i]);
            body.entries[i] = &wire[i];
        }
        result = vcpu_call(self, &request, VCPU_RESPONSE__MESSAGE_SET_CPUID, NULL);
    }
    free(wire);
    free(body.entries);
    return result;
}

int
vmsup_get_hyperv_cpuid(struct vmsup_vcpu *self, uint32_t count, struct kvm_cpuid_entry2 *entries, uint32_t *out_count)
{
    VcpuRequest__CpuidRequest body = VCPU_REQUEST__CPUID_REQUEST__INIT;
    const VcpuRequest request = VCPU_REQUEST_OF(get_hyperv_cpuid, GET_HYPERV_CPUID, &body);
    const VcpuResponse *response;
    int result = vcpu_call(self, &request, VCPU_RESPONSE__MESSAGE_GET_HYPERV_CPUID, &response);

    if (result < 0)
        return result;
    return cpuid_from_wire(response->get_hyperv_cpuid->entries, response->get_hyperv_cpuid->n_entries, count, entries,
                           out_count);
}

int
vmsup_vcpu_enable_capability(struct vmsup_vcpu *self, uint32_t capability, uint32_t flags, uint64_t args[4])
{
    VcpuRequest__EnableCapability body = VCPU_REQUEST__ENABLE_CAPABILITY__INIT;
    const VcpuRequest request = VCPU_REQUEST_OF(enable_capability, ENABLE_CAPABILITY, &body);

    if (flags != 0 || args[0] != 0 || args[1] != 0 || args[2] != 0 || args[3] != 0)
        return -EINVAL;
    if (capability != KVM_CAP_HYPERV_SYNIC && capability != KVM_CAP_HYPERV_SYNIC2)
        return -EINVAL;
    body.capability = capability;
    return vcpu_call(self, &request, VCPU_RESPONSE__MESSAGE_ENABLE_CAPABILITY, NULL);
}
