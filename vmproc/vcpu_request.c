/*
 * What a plugin may ask of a vCPU while it holds an event. Each request has one handler, which fills the body of
 * vcpu->answer and gives 0 or a negative errno; on an errno nothing but the errno is sent. Wait, resume and shutdown
 * steer the thread and have no handler in the table.
 */
#include "vmproc/kvm.h"
#include "vmproc/mutant.h"
#include "vmproc/vcpu.h"
#include "proto/vcpu_wire.h"

#include <errno.h>
#include <string.h>

typedef int vcpu_handler(struct vcpu *vcpu, const VcpuRequest *request);

static int
vcpu_get_state(struct vcpu *vcpu, const VcpuRequest *request)
{
    ProtobufCBinaryData *out = &vcpu->answer.body.state.state;
    const void *state;
    int result = vcpu_state_get(vcpu, request->get_state->set, &state, &out->len);

    /* Packing only reads it. */
    out->data = (uint8_t *)(uintptr_t)state;
    return result;
}

static int
vcpu_set_state(struct vcpu *vcpu, const VcpuRequest *request)
{
    const VcpuRequest__SetState *wanted = request->set_state;

    return vcpu_state_set(vcpu, wanted->set, wanted->state.data, wanted->state.len);
}

static int
vcpu_get_msrs(struct vcpu *vcpu, const VcpuRequest *request)
{
    const VcpuRequest__GetMsrs *wanted = request->get_msrs;
    struct vcpu_msrs *msrs = &vcpu->scratch.msrs;
    int result;

    if (wanted->n_entry_indices > LIMIT_MSRS)
        return -E2BIG;
    memset(msrs, 0, sizeof *msrs);
    msrs->nmsrs = (uint32_t)wanted->n_entry_indices;
    for (size_t i = 0; i < wanted->n_entry_indices; i++)
        msrs->entries[i].index = wanted->entry_indices[i];
    result = kvm_get_msrs(vcpu->fd, (struct kvm_msrs *)(void *)msrs);
    if (result < 0)
        return result;
    for (int i = 0; i < result; i++)
        vcpu->msr_data[i] = msrs->entries[i].data;
    vcpu->answer.body.msrs.entry_data = vcpu->msr_data;
    vcpu->answer.body.msrs.n_entry_data = (size_t)result;
    return 0;
}

static int
vcpu_set_msrs(struct vcpu *vcpu, const VcpuRequest *request)
{
    const VcpuRequest__SetMsrs *wanted = request->set_msrs;
    struct vcpu_msrs *msrs = &vcpu->scratch.msrs;
    int result;

    if (wanted->n_entries > LIMIT_MSRS)
        return -E2BIG;
    memset(msrs, 0, sizeof *msrs);
    msrs->nmsrs = (uint32_t)wanted->n_entries;
    for (size_t i = 0; i < wanted->n_entries; i++) {
        msrs->entries[i].index = wanted->entries[i]->index;
        msrs->entries[i].data = wanted->entries[i]->data;
    }
    /* Some of them (EFER, the APIC's base) are part of what was read before. */
    vcpu->sync_valid = 0;
    result = kvm_set_msrs(vcpu->fd, (struct kvm_msrs *)(void *)msrs);
    return result < 0 ? result : 0;
}

static int
vcpu_set_cpuid(struct vcpu *vcpu, const VcpuRequest *request)
{
    const VcpuRequest__SetCpuid *wanted = request->set_cpuid;
    int result = cpuid_table_from_wire(wanted->entries, wanted->n_entries, &vcpu->scratch.cpuid);

    if (result < 0)
        return result;
    return kvm_set_cpuid2(vcpu->fd, cpuid_table_for_kvm(&vcpu->scratch.cpuid));
}

static int
vcpu_get_hyperv_cpuid(struct vcpu *vcpu, const VcpuRequest *request)
{
    struct cpuid_table *table = &vcpu->scratch.cpuid;
    int result;

    (void)request;
    cpuid_table_init(table);
    result = kvm_get_supported_hyperv_cpuid(vcpu->fd, cpuid_table_for_kvm(table));
    if (result < 0)
        return result;
    result = cpuid_table_to_wire(table, &vcpu->arena, &vcpu->answer.body.cpuid.entries);
    if (result < 0)
        return result;
    vcpu->answer.body.cpuid.n_entries = (size_t)result;
    return 0;
}

static int
vcpu_enable_capability(struct vcpu *vcpu, const VcpuRequest *request)
{
    struct kvm_enable_cap capability = { .cap = request->enable_capability->capability };

    if (capability.cap != KVM_CAP_HYPERV_SYNIC && capability.cap != KVM_CAP_HYPERV_SYNIC2)
        return -EINVAL;
    return kvm_enable_capability(vcpu->fd, &capability);
}

struct entry {
    VcpuRequest__MessageCase request;
    VcpuResponse__MessageCase response;
    const ProtobufCMessageDescriptor *body;
    vcpu_handler *handler;
    const char *name;
};

#define ENTRY(case_name, body_name, function)                                                                          \
    {                                                                                                                  \
        .request = VCPU_REQUEST__MESSAGE_##case_name, .response = VCPU_RESPONSE__MESSAGE_##case_name,                  \
        .body = &vcpu_response__##body_name##__descriptor, .handler = function, .name = #function,                     \
    }

static const struct entry table[] = {
    ENTRY(GET_STATE, get_state, vcpu_get_state),
    ENTRY(SET_STATE, empty, vcpu_set_state),
    ENTRY(GET_MSRS, get_msrs, vcpu_get_msrs),
    ENTRY(SET_MSRS, empty, vcpu_set_msrs),
    ENTRY(SET_CPUID, empty, vcpu_set_cpuid),
    ENTRY(GET_HYPERV_CPUID, cpuid, vcpu_get_hyperv_cpuid),
    ENTRY(ENABLE_CAPABILITY, empty, vcpu_enable_capability),
};

static enum vcpu_verdict
answer_error(struct vcpu *vcpu, int error)
{
    vcpu_response__init(&vcpu->answer.message);
    vcpu->answer.message.error = error;
    return VCPU_ANSWERED;
}

void
vcpu_begin_event(struct vcpu *vcpu, VcpuResponse__Wait__ExitCase kind)
{
    struct vcpu_response *answer = &vcpu->answer;

    vcpu_response__init(&answer->message);
    answer->message.message_case = VCPU_RESPONSE__MESSAGE_WAIT;
    answer->message.wait = &answer->body.wait;
    vcpu_response__wait__init(&answer->body.wait);
    answer->body.wait.exit_case = kind;
    answer->body.wait.init = &answer->event.init;
}

static enum vcpu_verdict
answer_wait(struct vcpu *vcpu)
{
    if (!vcpu->init_unread)
        return answer_error(vcpu, EPROTO);
    vcpu->init_unread = false;
    vcpu_begin_event(vcpu, VCPU_RESPONSE__WAIT__EXIT_INIT);
    vcpu_response__wait__init__init(&vcpu->answer.event.init);
    return VCPU_ANSWERED;
}

static enum vcpu_verdict
take_resume(struct vcpu *vcpu, const VcpuRequest__Resume *wanted, const ProtobufCBinaryData *events,
            struct vcpu_resume *resume)
{
    const char *what = "registers";
    int result = vcpu_state_apply(vcpu, wanted, events, &what);

    if (result < 0 && vcpu->at_init) {
        vm_end(vcpu->vm, CONTROL_ENDED__KIND__KVM_FAILED, vcpu->id, (uint64_t)-result,
               "vCPU %u: the %s that the plugin gave it to start with are refused: %s", vcpu->id, what,
               strerror(-result));
        return VCPU_SHUT_DOWN;
    }
    if (result < 0)
        vm_complain(vcpu->vm, "vCPU %u: the %s that the plugin gave with a resume are refused: %s", vcpu->id, what,
                    strerror(-result));
    resume->data = wanted->data.data;
    resume->size = wanted->data.len;
    return VCPU_RESUMED;
}

static const ProtobufCBinaryData no_events;

enum vcpu_verdict
vcpu_request_resume(struct vcpu *vcpu, const VcpuRequest__Resume *wanted, const ProtobufCBinaryData *events,
                    struct vcpu_resume *resume)
{
    /* Nothing but a wait is answered before the event has been read. */
    if (vcpu->init_unread)
        return answer_error(vcpu, EPROTO);
    return take_resume(vcpu, wanted, events, resume);
}

static enum vcpu_verdict
answer_request(struct vcpu *vcpu, const VcpuRequest *request)
{
    const struct entry *entry = NULL;
    int result;

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].request == request->message_case)
            entry = &table[i];
    if (entry == NULL)
        return answer_error(vcpu, ENOTTY);
    if (message_has_unknown_fields(&request->base))
        return answer_error(vcpu, EINVAL);
    vcpu_response__init(&vcpu->answer.message);
    vcpu->answer.message.message_case = entry->response;
    vcpu->answer.message.set_state = &vcpu->answer.body.empty;
    protobuf_c_message_init(entry->body, &vcpu->answer.body);
    result = mutant_is(entry->name) ? 0 : entry->handler(vcpu, request);
    return result < 0 ? answer_error(vcpu, -result) : VCPU_ANSWERED;
}

enum vcpu_verdict
vcpu_request_handle(struct vcpu *vcpu, const uint8_t *data, size_t size, struct vcpu_resume *resume)
{
    const VcpuRequest *request;
    VcpuRequest__Resume plain;

    if (!vcpu->init_unread && vcpu_wire_get_resume(data, size, &plain))
        return take_resume(vcpu, &plain, &no_events, resume);
    arena_reset(&vcpu->arena);
    request = message_unpack(&vcpu->arena, &vcpu_request__descriptor, data, size);
    if (request == NULL)
        return VCPU_UNDECODABLE;
    if (request->message_case == VCPU_REQUEST__MESSAGE_WAIT)
        return answer_wait(vcpu);
    /* Nothing but a wait is answered before the event has been read. */
    if (vcpu->init_unread)
        return answer_error(vcpu, EPROTO);
    switch (request->message_case) {
    case VCPU_REQUEST__MESSAGE_RESUME:
        if (message_has_unknown_fields(&request->base))
            return VCPU_UNDECODABLE;
        return take_resume(vcpu, request->resume, &no_events, resume);
    case VCPU_REQUEST__MESSAGE_SHUTDOWN:
        return VCPU_SHUT_DOWN;
    default:
        return answer_request(vcpu, request);
    }
}
