/*
 * A vCPU as the library holds it: a pair of pipes, or a channel in their place, the event that the program is looking at, and the registers that came with it or are
 * to go with its resume. Used by one thread. All memory is had when it is made; waiting and resuming allocate nothing.
 */
#ifndef VMSUP_PLUGIN_LIB_VCPU_H
#define VMSUP_PLUGIN_LIB_VCPU_H

#include "plugin/vmsup-plugin.h"
#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "proto/vcpu_channel.h"
#include "proto/wire.h"

/* What one response may unpack to. */
#define VCPU_ARENA_SIZE (2 * 1024 * 1024)

enum vcpu_phase {
    VCPU_BEGINS,  /* INIT has not been asked for */
    VCPU_RUNS,    /* the next event will come */
    VCPU_HOLDS,   /* the program looks at an event that wants a resume */
};

/* One of the states that come with events and go with resumes. */
struct vcpu_carried {
    VcpuRequest__StateSet set;
    size_t size;
    void *state;
    bool known; /* it came with the event */
    bool dirty; /* it was set: the resume carries it */
};

/* A pipe does not carry the last. */
enum { VCPU_REGS, VCPU_SREGS, VCPU_DEBUGREGS, VCPU_EVENTS, VCPU_CARRIED };

struct vmsup_vcpu {
    int write_end;
    int read_end;
    enum vcpu_phase phase;
    uint8_t *incoming; /* WIRE_VCPU_PIPE_SIZE bytes: what was read, of which `taken` are done with */
    size_t incoming_size;
    size_t taken;
    uint8_t *outgoing; /* WIRE_VCPU_MESSAGE_MAX bytes */
    struct arena event_arena; /* the event lives here until the next one is waited for */
    struct arena call_arena;
    uint8_t *data; /* what the resume hands back: in event_arena, or `result` */
    size_t data_size;
    uint64_t result; /* of a hypercall */
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    struct vcpu_carried carried[VCPU_CARRIED];
    struct vcpu_channel *channel; /* NULL: the pipes serve */
    struct vcpu_channel_wait wait;
    uint32_t request_sequence;
    uint32_t response_seen;
    uint32_t ring_head;
    uint32_t looked; /* VCPU_CHANNEL_…: what was asked for since the last resume */
    uint8_t *access_data; /* VCPU_CHANNEL_DATA_MAX bytes: those of the event */
};

/* Takes over both descriptors, also where it fails. */
int vcpu_create(int write_end, int read_end, struct vmsup_vcpu **out);
void vcpu_destroy(struct vmsup_vcpu *self);

/* Nothing that was read before holds any more: one state has traces in another. */
void vcpu_forget_states(struct vmsup_vcpu *self);

/* Writes a request; -E2BIG where it does not fit. */
int vcpu_send(struct vmsup_vcpu *self, const VcpuRequest *request);

/*
 * Sends a request and reads its response, which is good until the next call. Between an event and its resume; -EPROTO, and nothing is
 * sent, at any other time. 0 where the response says success and has `expected` in it. -EPIPE: the VM is ending.
 */
int vcpu_call(struct vmsup_vcpu *self, const VcpuRequest *request, VcpuResponse__MessageCase expected,
              const VcpuResponse **response);

#define VCPU_REQUEST_OF(name, CASE, body)                                                                                          \
    {                                                                                                                              \
        PROTOBUF_C_MESSAGE_INIT(&vcpu_request__descriptor), .message_case = VCPU_REQUEST__MESSAGE_##CASE, { .name = body }         \
    }

#endif
