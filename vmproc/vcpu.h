/*
 * One vCPU: a thread that enters the guest, tells the plugin over pipes or a channel what the guest did, and waits for its
 * resume. The server's thread makes, starts, pauses and ends it; everything under "the thread's own" belongs to the
 * vCPU's thread once vcpu_start() has been called. Nothing is allocated after vcpu_new(): the buffers are of fixed
 * size, and their pages come as they are used.
 *
 *   vcpu.c          creation, the thread, kicks
 *   vcpu_link.c     what the plugin is told and asks: over the pipes, or where it has asked for it over the channel
 *   vcpu_pipe.c     framing: requests in, responses out
 *   vcpu_channel.c  the same in shared memory
 *   vcpu_exit.c     why KVM_RUN came back, and the events that the plugin gets of it
 *   vcpu_request.c  what the plugin may ask while an event is held
 *   vcpu_state.c    registers, with as few ioctls as can be
 */
#ifndef VMSUP_VMPROC_VCPU_H
#define VMSUP_VMPROC_VCPU_H

#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "proto/vcpu_channel.h"
#include "vmproc/cpuid_table.h"
#include "vmproc/limits.h"
#include "vmproc/vm.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* It interrupts KVM_RUN, read(2) and write(2) of the thread that it is sent to, and does nothing by itself. */
#define VCPU_KICK_SIGNAL SIGRTMIN

/* struct kvm_msrs with room for all the entries there can be. */
struct vcpu_msrs {
    uint32_t nmsrs;
    uint32_t padding;
    struct kvm_msr_entry entries[LIMIT_MSRS];
};

_Static_assert(offsetof(struct vcpu_msrs, nmsrs) == offsetof(struct kvm_msrs, nmsrs),
               "the count is where KVM looks for it");
_Static_assert(offsetof(struct vcpu_msrs, entries) == offsetof(struct kvm_msrs, entries), "and so are the entries");

/* The answer to a request, or an event. `message` points into `body`, and `body` to state of the vCPU's own. */
struct vcpu_response {
    VcpuResponse message;
    union {
        ProtobufCMessage base;
        VcpuResponse__Empty empty;
        VcpuResponse__Wait wait;
        VcpuResponse__GetState state;
        VcpuResponse__GetMsrs msrs;
        VcpuResponse__Cpuid cpuid;
    } body;
    union {
        VcpuResponse__Wait__Init init;
        VcpuResponse__Wait__User user;
        VcpuResponse__Wait__HypervCall hyperv_call;
        VcpuResponse__Wait__HypervSynic hyperv_synic;
    } event;
};

/* What the thread has counted; the server's looks at it. */
struct vcpu_counts {
    _Atomic uint64_t channel, pipes; /* events that the plugin answered */
    _Atomic uint64_t unawaited;      /* accesses that no answer was waited for */
};

struct vcpu {
    struct vm *vm;
    unsigned id;
    int fd;              /* KVM's; -1 before vcpu_open() */
    struct kvm_run *run; /* NULL before vcpu_open() */
    int request_read;    /* the request pipe: plugin to vmproc */
    int plugin_write;
    int response_write; /* the response pipe: vmproc to plugin; the thread closes it */
    int plugin_read;
    pthread_t thread;
    bool started;
    atomic_bool done; /* the thread (or, without one, the server) has closed the response pipe */

    pthread_mutex_t pause_lock;
    bool pause_pending;
    uint64_t pause_user;

    /* The thread's own. */
    bool init_unread;     /* INIT has not been asked for yet */
    bool at_init;         /* the resume that comes is INIT's */
    uint64_t sync_wanted; /* KVM_SYNC_X86_… that came to be needed: asked for with every exit, until it is no more */
    uint64_t sync_looked; /* what of it was looked at, these last sync_age exits */
    unsigned sync_age;
    uint64_t sync_valid;  /* which of run->s.regs are the vCPU's present state */
    bool sync_can_apply;  /* the next KVM_RUN is sure to take run->s.regs where marked dirty */
    struct vcpu_channel *channel; /* NULL: the pipes serve. Shared with the plugin, who may write to it at any time */
    struct vcpu_channel_wait wait;
    struct vcpu_counts counts;
    uint32_t request_seen; /* the last sequence number of a request */
    uint32_t response_sequence;
    uint32_t ring_tail;
    uint8_t *request;     /* WIRE_VCPU_MESSAGE_MAX bytes, of which so many are there, and so many are done with */
    size_t request_size;
    size_t request_done;
    uint8_t *response;  /* WIRE_VCPU_PIPE_SIZE bytes */
    struct arena arena; /* what a request unpacks into; reset by the next one */
    struct vcpu_response answer;
    union {
        struct kvm_fpu fpu;
        struct kvm_debugregs debugregs;
        struct kvm_lapic_state lapic;
        struct kvm_mp_state mp;
        struct kvm_xcrs xcrs;
        struct vcpu_msrs msrs;
        struct cpuid_table cpuid;
    } scratch;
    uint64_t msr_data[LIMIT_MSRS];
};

/* What a resume brought: `data` lives until the next request is read. */
struct vcpu_resume {
    const uint8_t *data;
    size_t size;
};

/* vcpu.c. Makes pipes and buffers, no vCPU of KVM's yet: 0 or a negative errno. */
int vcpu_new(struct vm *vm, unsigned id, struct vcpu **vcpu);

/* The thread has been joined, or never was. NULL is nothing. */
void vcpu_free(struct vcpu *vcpu);

/* Creates it in KVM; then its thread. 0 or a negative errno. */
int vcpu_open(struct vcpu *vcpu);
int vcpu_start(struct vcpu *vcpu);

/* It is to report a PAUSED event that carries `user`, as soon as it can. The latest `user` wins. */
void vcpu_pause(struct vcpu *vcpu, uint64_t user);

/* Its thread comes out of the guest, or does not go in, once; where it waits for the plugin this comes after. */
void vcpu_bring_out(struct vcpu *vcpu);

/*
 * Once vm->ending is set: makes the thread look at it; to be called again until `done`. Without a thread, closes the
 * response pipe.
 */
void vcpu_kick_to_end(struct vcpu *vcpu);

/* Waits for the thread, which is done. */
void vcpu_join(struct vcpu *vcpu);

/* The handler of the kick's signal: it does nothing but interrupt. To be called once a process. */
int vcpu_prepare_signals(void);

enum vcpu_verdict {
    VCPU_ANSWERED, /* vcpu->answer is to be sent */
    VCPU_RESUMED,
    VCPU_SHUT_DOWN,
    VCPU_UNDECODABLE,
};

/* vcpu_link.c. Sends the event in vcpu->answer, or an access. 0; -ESHUTDOWN: the VM ends. */
int vcpu_send_event(struct vcpu *vcpu);
int vcpu_send_access(struct vcpu *vcpu, const VcpuResponse__Wait__Io *io);

/* Reads requests and answers them until a resume comes. 0 with *resume filled; a negative errno: the thread is to end. */
int vcpu_serve(struct vcpu *vcpu, struct vcpu_resume *resume);

/* Nothing comes any more: the plugin's wait fails. */
void vcpu_hang_up(struct vcpu *vcpu);

/* vcpu_pipe.c. Sends vcpu->answer, length and message in one write. 0; -ESHUTDOWN: the VM ends. */
int vcpu_pipe_send(struct vcpu *vcpu);

/* The same for an access. */
int vcpu_pipe_send_access(struct vcpu *vcpu, const VcpuResponse__Wait__Io *io);

/*
 * The next request as it stands in the pipe: one field of the request message. *data lives until the next call.
 * 0; -ESHUTDOWN: the VM ends; -EBADMSG: these bytes are no request.
 */
int vcpu_pipe_next(struct vcpu *vcpu, const uint8_t **data, size_t *size);

/*
 * The length of the request that begins at `data`: 0 where more bytes are needed to tell, -EBADMSG where it cannot be
 * one.
 */
ssize_t vcpu_pipe_measure(const uint8_t *data, size_t size);

/*
 * vcpu_channel.c. Sends vcpu->answer, which is an event or the answer to a request, or an access; waits where the ring is full. 0;
 * -ESHUTDOWN: the VM ends.
 */
int vcpu_channel_send(struct vcpu *vcpu, bool event);
int vcpu_channel_send_access(struct vcpu *vcpu, const VcpuResponse__Wait__Io *io);

/* The next request, handled. VCPU_SHUT_DOWN also where the VM ends. */
enum vcpu_verdict vcpu_channel_next(struct vcpu *vcpu, struct vcpu_resume *resume);

/* Says that nothing comes any more. */
void vcpu_channel_end(struct vcpu *vcpu);

/* vcpu_exit.c. What to do after KVM_RUN came back with `result`. 0: enter the guest again. */
int vcpu_handle_exit(struct vcpu *vcpu, int result);

/* vcpu_request.c. A request as bytes; and a resume, which may bring along what the message cannot: events. */
enum vcpu_verdict vcpu_request_handle(struct vcpu *vcpu, const uint8_t *data, size_t size, struct vcpu_resume *resume);
enum vcpu_verdict vcpu_request_resume(struct vcpu *vcpu, const VcpuRequest__Resume *wanted, const ProtobufCBinaryData *events,
                                      struct vcpu_resume *resume);

/* Begins an event in vcpu->answer: its `wait` member is ready to be filled. */
void vcpu_begin_event(struct vcpu *vcpu, VcpuResponse__Wait__ExitCase kind);

/*
 * vcpu_state.c. The state named, in *state: memory of the vCPU's, valid until anything else is asked of it. -EINVAL: no
 * such set.
 */
int vcpu_state_get(struct vcpu *vcpu, VcpuRequest__StateSet set, const void **state, size_t *size);

/* To be called before each KVM_RUN: asks for what is likely to be looked at. */
void vcpu_state_before_entry(struct vcpu *vcpu);

/* -EINVAL: no such set, or another size than its structure's. */
int vcpu_state_set(struct vcpu *vcpu, VcpuRequest__StateSet set, const void *state, size_t size);

/*
 * What a resume carries: regs, sregs, events, debugregs in this order, each where its length is not 0. *what is named where it
 * fails. The bytes may change meanwhile: each is copied once.
 */
int vcpu_state_apply(struct vcpu *vcpu, const VcpuRequest__Resume *resume, const ProtobufCBinaryData *events,
                     const char **what);

/* Copies those that are at hand without asking KVM, and gives which they are: VCPU_CHANNEL_…. */
uint32_t vcpu_state_share(struct vcpu *vcpu, struct vcpu_channel_states *states);

/* The plugin looked at those of them: they are worth having at hand. Other bits mean nothing. */
void vcpu_state_note_looked(struct vcpu *vcpu, uint32_t states);

/*
 * After KVM_RUN has failed: whether it was for registers given with a resume. They are dropped: KVM_RUN may be tried
 * again.
 */
bool vcpu_state_drop_refused(struct vcpu *vcpu);

#endif
