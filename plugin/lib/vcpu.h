/*
 * A vCPU as the library holds it: a pair of pipes, the event that the program is looking at, and the registers that came with it or are
 * to go with its resume. Used by one thread. All memory is had when it is made; waiting and resuming allocate nothing.
 */
#ifndef VMSUP_PLUGIN_LIB_VCPU_H
#define VMSUP_PLUGIN_LIB_VCPU_H

#include "plugin/vmsup-plugin.h"
#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "proto/wire.h"

/* What one response may unpack to. */
#define VCPU_ARENA_SIZE (2 * 1024 * 1024)

enum vcpu_phase {
    VCPU_BEGINS,  /* INIT has not been asked for */
    VCPU_RUNS,    /* the next event will come */
    VCPU_HOLDS,   /* the program looks at an event that wants a resume */
};

/* One of the three states that come with events and go with resumes. */
struct vcpu_carried {
    VcpuRequest__StateSet set;
    size_t size;
    void *state;
    bool known; /* it came with the event */
    bool dirty; /* it was set: the resume carries it */
};

enum { VCPU_REGS, VCPU_SREGS, VCPU_DEBUGREGS, VCPU_CARRIED };

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
    struct vcpu_carried carried[VCPU_CARRIED];
};

/* Takes over both descriptors, also where it fails. */
int vcpu_create(int write_end, int read_end, struct vmsup_vcpu **out);
void vcpu_destroy(struct vmsup_vcpu *self);

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
