/*
 * A vCPU's state. Registers, segment registers and events come with an exit for nothing (KVM_CAP_SYNC_REGS) and are
 * then looked up in the page that KVM shares; the page also takes registers back. The rest are ioctls.
 */
#include "vmproc/kvm.h"
#include "vmproc/vcpu.h"

#include <errno.h>
#include <string.h>

/* What nobody looked at in so many exits KVM need not copy any more. */
#define SYNC_AGE_MAX 64

_Static_assert(VCPU_CHANNEL_REGS == KVM_SYNC_X86_REGS && VCPU_CHANNEL_SREGS == KVM_SYNC_X86_SREGS &&
                   VCPU_CHANNEL_EVENTS == KVM_SYNC_X86_EVENTS,
               "a channel's states are named as KVM names them");

#define ADAPT(set, type)                                                                                               \
    static int get_##set(int fd, void *state)                                                                          \
    {                                                                                                                  \
        return kvm_get_##set(fd, (struct type *)state);                                                                \
    }                                                                                                                  \
    static int set_##set(int fd, const void *state)                                                                    \
    {                                                                                                                  \
        return kvm_set_##set(fd, (const struct type *)state);                                                          \
    }

ADAPT(regs, kvm_regs)
ADAPT(sregs, kvm_sregs)
ADAPT(fpu, kvm_fpu)
ADAPT(debugregs, kvm_debugregs)
ADAPT(lapic, kvm_lapic_state)
ADAPT(mp_state, kvm_mp_state)
ADAPT(xcrs, kvm_xcrs)
ADAPT(vcpu_events, kvm_vcpu_events)

struct kind {
    size_t size;
    uint64_t sync; /* KVM_SYNC_X86_… of those that are in the shared page */
    int (*get)(int fd, void *state);
    int (*set)(int fd, const void *state);
};

static const struct kind kinds[] = {
    [VCPU_REQUEST__STATE_SET__REGS] = { sizeof(struct kvm_regs), KVM_SYNC_X86_REGS, get_regs, set_regs },
    [VCPU_REQUEST__STATE_SET__SREGS] = { sizeof(struct kvm_sregs), KVM_SYNC_X86_SREGS, get_sregs, set_sregs },
    [VCPU_REQUEST__STATE_SET__FPU] = { sizeof(struct kvm_fpu), 0, get_fpu, set_fpu },
    [VCPU_REQUEST__STATE_SET__DEBUGREGS] = { sizeof(struct kvm_debugregs), 0, get_debugregs, set_debugregs },
    [VCPU_REQUEST__STATE_SET__LAPIC] = { sizeof(struct kvm_lapic_state), 0, get_lapic, set_lapic },
    [VCPU_REQUEST__STATE_SET__MP] = { sizeof(struct kvm_mp_state), 0, get_mp_state, set_mp_state },
    [VCPU_REQUEST__STATE_SET__XCREGS] = { sizeof(struct kvm_xcrs), 0, get_xcrs, set_xcrs },
    [VCPU_REQUEST__STATE_SET__EVENTS] = { sizeof(struct kvm_vcpu_events), KVM_SYNC_X86_EVENTS, get_vcpu_events,
                                          set_vcpu_events },
};

static const struct kind *
find_kind(VcpuRequest__StateSet set)
{
    return (size_t)set < sizeof kinds / sizeof kinds[0] ? &kinds[set] : NULL;
}

static void *
shared_state(struct vcpu *vcpu, uint64_t sync)
{
    struct kvm_sync_regs *shared = &vcpu->run->s.regs;

    switch (sync) {
    case KVM_SYNC_X86_REGS:
        return &shared->regs;
    case KVM_SYNC_X86_SREGS:
        return &shared->sregs;
    default:
        return &shared->events;
    }
}

int
vcpu_state_get(struct vcpu *vcpu, VcpuRequest__StateSet set, const void **state, size_t *size)
{
    const struct kind *kind = find_kind(set);
    void *place;
    int result;

    if (kind == NULL)
        return -EINVAL;
    place = kind->sync != 0 ? shared_state(vcpu, kind->sync) : (void *)&vcpu->scratch;
    *state = place;
    *size = kind->size;
    vcpu->sync_looked |= kind->sync;
    if ((vcpu->sync_valid & kind->sync) != 0)
        return 0;
    result = kind->get(vcpu->fd, place);
    if (result < 0)
        return result;
    vcpu->sync_valid |= kind->sync;
    /* Every plugin looks at them once, to set the vCPU up: that says nothing of later. */
    if (!vcpu->at_init)
        vcpu->sync_wanted |= kind->sync & vcpu->vm->sync_fields;
    return 0;
}

void
vcpu_state_before_entry(struct vcpu *vcpu)
{
    if (vcpu->sync_wanted != 0 && ++vcpu->sync_age > SYNC_AGE_MAX) {
        vcpu->sync_wanted &= vcpu->sync_looked;
        vcpu->sync_looked = 0;
        vcpu->sync_age = 0;
    }
    vcpu->run->kvm_valid_regs = vcpu->sync_wanted;
}

int
vcpu_state_set(struct vcpu *vcpu, VcpuRequest__StateSet set, const void *state, size_t size)
{
    const struct kind *kind = find_kind(set);

    if (kind == NULL || size != kind->size)
        return -EINVAL;
    /* One state has traces in another: nothing that was read before holds. */
    vcpu->sync_valid = 0;
    /* A vCPU that is made to wait may come back from KVM_RUN without having taken its registers. */
    if (set == VCPU_REQUEST__STATE_SET__MP || set == VCPU_REQUEST__STATE_SET__LAPIC ||
        set == VCPU_REQUEST__STATE_SET__EVENTS)
        vcpu->sync_can_apply = false;
    return kind->set(vcpu->fd, state);
}

/* Leaves them in the shared page for the KVM_RUN that follows. */
static void
mark_dirty(struct vcpu *vcpu, const ProtobufCBinaryData *given, uint64_t sync)
{
    if (given->len == 0)
        return;
    memcpy(shared_state(vcpu, sync), given->data, given->len);
    vcpu->run->kvm_dirty_regs |= sync;
}

/* Whether KVM takes with its next entry all that was given. */
static bool
fits_shared_page(const struct vcpu *vcpu, const VcpuRequest__Resume *resume, const ProtobufCBinaryData *events)
{
    const uint64_t all = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;

    return vcpu->sync_can_apply && (vcpu->vm->sync_fields & all) == all && resume->debugregs.len == 0 &&
           (resume->regs.len == 0 || resume->regs.len == sizeof(struct kvm_regs)) &&
           (resume->sregs.len == 0 || resume->sregs.len == sizeof(struct kvm_sregs)) &&
           (events->len == 0 || events->len == sizeof(struct kvm_vcpu_events));
}

int
vcpu_state_apply(struct vcpu *vcpu, const VcpuRequest__Resume *resume, const ProtobufCBinaryData *events,
                 const char **what)
{
    const struct {
        VcpuRequest__StateSet set;
        const ProtobufCBinaryData *given;
        const char *name;
    } parts[] = {
        { VCPU_REQUEST__STATE_SET__REGS, &resume->regs, "registers" },
        { VCPU_REQUEST__STATE_SET__SREGS, &resume->sregs, "segment registers" },
        { VCPU_REQUEST__STATE_SET__EVENTS, events, "events" },
        { VCPU_REQUEST__STATE_SET__DEBUGREGS, &resume->debugregs, "debug registers" },
    };

    if (fits_shared_page(vcpu, resume, events)) {
        mark_dirty(vcpu, &resume->regs, KVM_SYNC_X86_REGS);
        mark_dirty(vcpu, &resume->sregs, KVM_SYNC_X86_SREGS);
        mark_dirty(vcpu, events, KVM_SYNC_X86_EVENTS);
        return 0;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int result = 0;

        *what = parts[i].name;
        if (parts[i].given->len > 0)
            result = vcpu_state_set(vcpu, parts[i].set, parts[i].given->data, parts[i].given->len);
        if (result < 0)
            return result;
    }
    return 0;
}

uint32_t
vcpu_state_share(struct vcpu *vcpu, struct vcpu_channel_states *states)
{
    const struct kvm_sync_regs *shared = &vcpu->run->s.regs;

    if ((vcpu->sync_valid & KVM_SYNC_X86_REGS) != 0)
        memcpy(&states->regs, &shared->regs, sizeof states->regs);
    if ((vcpu->sync_valid & KVM_SYNC_X86_SREGS) != 0)
        memcpy(&states->sregs, &shared->sregs, sizeof states->sregs);
    if ((vcpu->sync_valid & KVM_SYNC_X86_EVENTS) != 0)
        memcpy(&states->events, &shared->events, sizeof states->events);
    return (uint32_t)vcpu->sync_valid;
}

void
vcpu_state_note_looked(struct vcpu *vcpu, uint32_t states)
{
    vcpu->sync_looked |= states;
}

bool
vcpu_state_drop_refused(struct vcpu *vcpu)
{
    bool refused = vcpu->run->kvm_dirty_regs != 0;

    vcpu->run->kvm_dirty_regs = 0;
    return refused;
}
