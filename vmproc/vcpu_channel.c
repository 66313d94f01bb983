/*
 * A vCPU's channel as vmproc uses it. All of it is the plugin's to scribble on: each of its fields is loaded once into memory of this
 * process, and bytes are copied once to where they are used. What this side writes it never reads back.
 */
#include "vmproc/vcpu.h"

#include "common/clock.h"

#include <errno.h>
#include <string.h>

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

/* Waits for what only the plugin can do. -ESHUTDOWN: the VM ends. */
static int
wait_for_plugin(struct vcpu *vcpu, vcpu_channel_ready *ready, const void *context)
{
    struct vcpu_channel *channel = vcpu->channel;
    const uint32_t cpu = atomic_load_explicit(&channel->request.cpu, memory_order_relaxed);

    if (!vcpu_channel_spin(&vcpu->wait, cpu, ready, context)) {
        const uint64_t began = clock_nanoseconds();

        /* A kick's signal ends a sleep. */
        while (!ready(context))
            vcpu_channel_sleep(&channel->vmproc_sleeps, 0, ready, context);
        vcpu_channel_learn(&vcpu->wait, began);
    }
    return atomic_load(&vcpu->vm->ending) ? -ESHUTDOWN : 0;
}

/* --- What is said. */

static int
publish(struct vcpu *vcpu, uint32_t kind, uint32_t size, uint32_t states)
{
    struct vcpu_channel_response *response = &vcpu->channel->response;

    STORE(response->kind, kind);
    STORE(response->size, size);
    STORE(response->states, states);
    atomic_store_explicit(&response->cpu, vcpu_channel_cpu(), memory_order_relaxed);
    atomic_store_explicit(&response->sequence, ++vcpu->response_sequence, memory_order_release);
    vcpu_channel_wake(&vcpu->wait, &vcpu->channel->plugin_sleeps, vcpu->response_write);
    return atomic_load(&vcpu->vm->ending) ? -ESHUTDOWN : 0;
}

static int
end_for_size(struct vcpu *vcpu)
{
    vm_end(vcpu->vm, CONTROL_ENDED__KIND__UNKNOWN, vcpu->id, 0, "vCPU %u: a response is larger than its channel",
           vcpu->id);
    return -ESHUTDOWN;
}

int
vcpu_channel_send(struct vcpu *vcpu, bool event)
{
    struct vcpu_channel *channel = vcpu->channel;
    ssize_t size = message_pack(&vcpu->answer.message.base, channel->response_payload, sizeof channel->response_payload);

    if (size < 0)
        return end_for_size(vcpu);
    return publish(vcpu, VCPU_CHANNEL_MESSAGE, (uint32_t)size,
                   event ? vcpu_state_share(vcpu, &channel->response_states) : 0);
}

/* How much of the ring must be free, counted from `tail` on. */
struct room {
    const struct vcpu *vcpu;
    uint32_t needed;
};

static uint32_t
count_used(const struct vcpu *vcpu)
{
    return vcpu->ring_tail - atomic_load_explicit(&vcpu->channel->ring_head, memory_order_acquire);
}

/* A plugin that says it has taken more than there was is told of it later. */
static bool
has_room(const void *context)
{
    const struct room *room = context;
    const uint32_t used = count_used(room->vcpu);

    return used > VCPU_CHANNEL_RING_SIZE || VCPU_CHANNEL_RING_SIZE - used >= room->needed ||
           atomic_load(&room->vcpu->vm->ending);
}

/* What there is room for is looked at once: a head that has gone back since, or the VM's end, makes no entry go over another. */
static int
wait_for_room(struct vcpu *vcpu, uint32_t needed)
{
    const struct room room = { vcpu, needed };
    int result = has_room(&room) ? 0 : wait_for_plugin(vcpu, has_room, &room);

    if (result < 0)
        return result;
    if (count_used(vcpu) <= VCPU_CHANNEL_RING_SIZE - needed)
        return 0;
    vm_end(vcpu->vm, CONTROL_ENDED__KIND__PLUGIN_PROTOCOL, vcpu->id, 0,
           "the plugin took more from the ring of vCPU %u's channel than there was", vcpu->id);
    return -ESHUTDOWN;
}

static void
put_entry(struct vcpu *vcpu, const VcpuResponse__Wait__Io *io, uint32_t size)
{
    const struct vcpu_channel_entry entry = { .size = size, .space = (uint32_t)io->space, .address = io->address };
    uint8_t *place = vcpu->channel->ring + vcpu->ring_tail % VCPU_CHANNEL_RING_SIZE;

    memcpy(place, &entry, sizeof entry);
    memcpy(place + sizeof entry, io->data.data, size);
    vcpu->ring_tail += vcpu_channel_entry_space(size);
}

/* An entry is never in two pieces: what is left at the ring's end is passed over where it is too short. */
static int
send_unawaited(struct vcpu *vcpu, const VcpuResponse__Wait__Io *io)
{
    const uint32_t size = (uint32_t)io->data.len, space = vcpu_channel_entry_space(size);
    const uint32_t place = vcpu->ring_tail % VCPU_CHANNEL_RING_SIZE, left = VCPU_CHANNEL_RING_SIZE - place;
    const uint32_t passed = left < space ? left : 0, skip = VCPU_CHANNEL_RING_SKIP;
    int result = wait_for_room(vcpu, passed + space);

    if (result < 0)
        return result;
    if (passed > 0) {
        memcpy(vcpu->channel->ring + place, &skip, sizeof skip);
        vcpu->ring_tail += passed;
    }
    put_entry(vcpu, io, size);
    atomic_store_explicit(&vcpu->channel->ring_tail, vcpu->ring_tail, memory_order_release);
    vcpu_channel_wake(&vcpu->wait, &vcpu->channel->plugin_sleeps, vcpu->response_write);
    return 0;
}

int
vcpu_channel_send_access(struct vcpu *vcpu, const VcpuResponse__Wait__Io *io)
{
    struct vcpu_channel *channel = vcpu->channel;
    struct vcpu_channel_response *response = &channel->response;
    uint32_t states;

    if (io->data.len > VCPU_CHANNEL_DATA_MAX)
        return end_for_size(vcpu);
    if (io->no_resume)
        return send_unawaited(vcpu, io);
    STORE(response->space, (uint8_t)io->space);
    STORE(response->is_write, (uint8_t)(io->is_write != 0));
    STORE(response->address, io->address);
    if (io->is_write)
        memcpy(io->data.len <= VCPU_CHANNEL_INLINE ? response->data : channel->response_payload, io->data.data, io->data.len);
    states = vcpu_state_share(vcpu, &channel->response_states);
    if (io->debugregs.len == sizeof channel->response_states.debugregs) {
        memcpy(&channel->response_states.debugregs, io->debugregs.data, io->debugregs.len);
        states |= VCPU_CHANNEL_DEBUGREGS;
    }
    return publish(vcpu, VCPU_CHANNEL_ACCESS, (uint32_t)io->data.len, states);
}

void
vcpu_channel_end(struct vcpu *vcpu)
{
    atomic_store_explicit(&vcpu->channel->response.ended, 1, memory_order_release);
    vcpu_channel_wake(&vcpu->wait, &vcpu->channel->plugin_sleeps, vcpu->response_write);
}

/* --- What is asked. */

static bool
request_came(const void *context)
{
    const struct vcpu *vcpu = context;

    return atomic_load_explicit(&vcpu->channel->request.sequence, memory_order_acquire) != vcpu->request_seen ||
           atomic_load(&vcpu->vm->ending);
}

static enum vcpu_verdict
take_message(struct vcpu *vcpu, struct vcpu_resume *resume)
{
    const uint32_t size = LOAD(vcpu->channel->request.size);

    if (size > WIRE_VCPU_MESSAGE_MAX)
        return VCPU_UNDECODABLE;
    memcpy(vcpu->request, vcpu->channel->request_payload, size);
    return vcpu_request_handle(vcpu, vcpu->request, size, resume);
}

static ProtobufCBinaryData
given_if(uint32_t states, uint32_t state, void *place, size_t size)
{
    return (ProtobufCBinaryData){ .data = place, .len = (states & state) != 0 ? size : 0 };
}

/* What it brings stays where it is: KVM, or the page that KVM shares, gets the one copy of it that is made. */
static enum vcpu_verdict
take_resume(struct vcpu *vcpu, struct vcpu_resume *resume)
{
    struct vcpu_channel *channel = vcpu->channel;
    struct vcpu_channel_states *states = &channel->request_states;
    const uint32_t size = LOAD(channel->request.size), set = LOAD(channel->request.states);
    VcpuRequest__Resume wanted = VCPU_REQUEST__RESUME__INIT;
    const ProtobufCBinaryData events = given_if(set, VCPU_CHANNEL_EVENTS, &states->events, sizeof states->events);

    if (size > VCPU_CHANNEL_DATA_MAX || (set & ~(uint32_t)VCPU_CHANNEL_STATES) != 0)
        return VCPU_UNDECODABLE;
    vcpu_state_note_looked(vcpu, LOAD(channel->request.looked));
    wanted.data.data = size <= VCPU_CHANNEL_INLINE ? channel->request.data : channel->request_payload;
    wanted.data.len = size;
    wanted.regs = given_if(set, VCPU_CHANNEL_REGS, &states->regs, sizeof states->regs);
    wanted.sregs = given_if(set, VCPU_CHANNEL_SREGS, &states->sregs, sizeof states->sregs);
    wanted.debugregs = given_if(set, VCPU_CHANNEL_DEBUGREGS, &states->debugregs, sizeof states->debugregs);
    return vcpu_request_resume(vcpu, &wanted, &events, resume);
}

enum vcpu_verdict
vcpu_channel_next(struct vcpu *vcpu, struct vcpu_resume *resume)
{
    if (wait_for_plugin(vcpu, request_came, vcpu) < 0)
        return VCPU_SHUT_DOWN;
    vcpu->request_seen = atomic_load_explicit(&vcpu->channel->request.sequence, memory_order_acquire);
    switch (LOAD(vcpu->channel->request.kind)) {
    case VCPU_CHANNEL_MESSAGE:
        return take_message(vcpu, resume);
    case VCPU_CHANNEL_RESUME:
        return take_resume(vcpu, resume);
    default:
        return VCPU_UNDECODABLE;
    }
}
