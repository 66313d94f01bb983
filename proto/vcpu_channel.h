/*
 * A vCPU's channel: shared memory between vmproc and the plugin, in which an exit costs no system call while both sides are awake. It
 * stands in place of the vCPU's pipes and carries the same two turns: vmproc says something (a response), the plugin says something (a
 * request), and so on; besides, a ring takes the accesses that nobody waits for. The layout is here, and in vmsup-protocol(7) for other
 * languages; both sides use the functions below to wait for each other and to wake each other.
 *
 * The memory is a memfd of vmproc's, sealed, with VCPU_CHANNEL_SIZE bytes for each vCPU. Either side may write anything anywhere at any
 * time. So whoever reads a field of the other side's copies it once, then checks it, then uses it. What only one side writes has cache
 * lines of its own.
 *
 * Order. A side fills its line and payload and then stores `sequence` with release; the other loads `sequence` with acquire, finds it
 * changed, and then reads the rest. Nothing of a line changes before the other side has answered. The ring's `tail` is stored by vmproc
 * and loaded by the plugin in the same way, its `head` the other way round. An entry that was put before a response is seen by who has
 * seen the response: so the ring is looked at after `sequence`, and emptied first.
 *
 * Sleep. Who is about to sleep writes how into its word, looks once more after a full fence, and sleeps; who has said something looks
 * at the other's word after a full fence, and only where it finds a sleeper there, exchanges the word for VCPU_CHANNEL_AWAKE and wakes.
 * One of the two sees what the other did, whatever the order, and a side that is awake costs the other no system call.
 */
#ifndef VMSUP_PROTO_VCPU_CHANNEL_H
#define VMSUP_PROTO_VCPU_CHANNEL_H

#include "proto/wire.h"

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The plugin's environment has it where the host gives channels: the version of this layout. */
#define VCPU_CHANNEL_VARIABLE "VMSUP_CHANNEL"
#define VCPU_CHANNEL_VERSION_TEXT "1"

/* `sleeps`: how a side is to be woken. */
#define VCPU_CHANNEL_AWAKE 0
#define VCPU_CHANNEL_ON_FUTEX 1 /* FUTEX_WAKE (not private) on the word */
#define VCPU_CHANNEL_ON_PIPE 2  /* a byte into its pipe, whose hang-up it notices too: the plugin only */

/* `kind`: a message of proto/plugin.proto, bare, in the payload; or the one of each side that there is most of. */
#define VCPU_CHANNEL_MESSAGE 0
#define VCPU_CHANNEL_ACCESS 1 /* of vmproc: an event, a VcpuResponse.Wait.Io */
#define VCPU_CHANNEL_RESUME 1 /* of the plugin: a VcpuRequest.Resume */

/* `states`: which of them a line brings along; in a request also which the plugin has looked at. KVM_SYNC_X86_… are the first three. */
#define VCPU_CHANNEL_REGS 1
#define VCPU_CHANNEL_SREGS 2
#define VCPU_CHANNEL_EVENTS 4
#define VCPU_CHANNEL_DEBUGREGS 8
#define VCPU_CHANNEL_STATES 15

/* What fits into the line itself. */
#define VCPU_CHANNEL_INLINE 8

struct vcpu_channel_response {
    _Atomic uint32_t sequence;
    uint32_t kind;
    uint32_t size; /* of the data, in `data` where it fits and else in the payload; or of the message, always there */
    uint8_t space; /* of an access: AddressSpace */
    uint8_t is_write;
    uint8_t reserved[2];
    uint64_t address;
    uint8_t data[VCPU_CHANNEL_INLINE];
    uint32_t states;
    _Atomic uint32_t cpu;   /* where vmproc's side ran when it said this */
    _Atomic uint32_t ended; /* not 0: nothing comes any more */
    uint32_t spin_max;      /* how long a side may spin, in nanoseconds: the administrator's word, there from the beginning */
};

struct vcpu_channel_request {
    _Atomic uint32_t sequence;
    uint32_t kind;
    uint32_t size;
    uint32_t states; /* set, and to be applied: regs, sregs, events, debugregs in this order */
    uint32_t looked; /* states of the last response that were of use */
    _Atomic uint32_t cpu;
    uint8_t data[VCPU_CHANNEL_INLINE];
};

struct vcpu_channel_states {
    _Alignas(64) struct kvm_regs regs;
    _Alignas(64) struct kvm_sregs sregs;
    _Alignas(64) struct kvm_vcpu_events events;
    _Alignas(64) struct kvm_debugregs debugregs;
};

/* An access that is not waited for: this, `size` bytes of data, and nothing up to the next multiple of VCPU_CHANNEL_RING_UNIT. */
struct vcpu_channel_entry {
    uint32_t size; /* VCPU_CHANNEL_RING_SKIP: the rest of the ring up to its end is unused */
    uint32_t space;
    uint64_t address;
};

#define VCPU_CHANNEL_RING_UNIT 32
#define VCPU_CHANNEL_RING_SKIP UINT32_MAX
#define VCPU_CHANNEL_RING_SIZE 0x10000
/* KVM's buffer of an access is a page. */
#define VCPU_CHANNEL_DATA_MAX 4096

struct vcpu_channel {
    _Alignas(64) struct vcpu_channel_response response; /* vmproc writes it */
    _Alignas(64) _Atomic uint32_t vmproc_sleeps;        /* both do */
    _Alignas(64) struct vcpu_channel_request request;   /* the plugin writes it */
    _Alignas(64) _Atomic uint32_t plugin_sleeps;
    _Alignas(64) _Atomic uint32_t ring_tail; /* vmproc: how many bytes were ever put, wrapping */
    _Alignas(64) _Atomic uint32_t ring_head; /* the plugin: how many were ever taken */
    _Alignas(512) struct vcpu_channel_states response_states;
    _Alignas(1024) struct vcpu_channel_states request_states;
    _Alignas(4096) uint8_t response_payload[WIRE_VCPU_MESSAGE_MAX];
    uint8_t request_payload[WIRE_VCPU_MESSAGE_MAX];
    uint8_t ring[VCPU_CHANNEL_RING_SIZE];
};

#define VCPU_CHANNEL_SIZE sizeof(struct vcpu_channel)

#define VCPU_CHANNEL_ASSERT(member, offset) \
    _Static_assert(offsetof(struct vcpu_channel, member) == (offset), "the layout of a channel: " #member)
VCPU_CHANNEL_ASSERT(response.sequence, 0x000);
VCPU_CHANNEL_ASSERT(response.kind, 0x004);
VCPU_CHANNEL_ASSERT(response.size, 0x008);
VCPU_CHANNEL_ASSERT(response.space, 0x00c);
VCPU_CHANNEL_ASSERT(response.is_write, 0x00d);
VCPU_CHANNEL_ASSERT(response.address, 0x010);
VCPU_CHANNEL_ASSERT(response.data, 0x018);
VCPU_CHANNEL_ASSERT(response.states, 0x020);
VCPU_CHANNEL_ASSERT(response.cpu, 0x024);
VCPU_CHANNEL_ASSERT(response.ended, 0x028);
VCPU_CHANNEL_ASSERT(response.spin_max, 0x02c);
VCPU_CHANNEL_ASSERT(vmproc_sleeps, 0x040);
VCPU_CHANNEL_ASSERT(request.sequence, 0x080);
VCPU_CHANNEL_ASSERT(request.kind, 0x084);
VCPU_CHANNEL_ASSERT(request.size, 0x088);
VCPU_CHANNEL_ASSERT(request.states, 0x08c);
VCPU_CHANNEL_ASSERT(request.looked, 0x090);
VCPU_CHANNEL_ASSERT(request.cpu, 0x094);
VCPU_CHANNEL_ASSERT(request.data, 0x098);
VCPU_CHANNEL_ASSERT(plugin_sleeps, 0x0c0);
VCPU_CHANNEL_ASSERT(ring_tail, 0x100);
VCPU_CHANNEL_ASSERT(ring_head, 0x140);
VCPU_CHANNEL_ASSERT(response_states.regs, 0x200);
VCPU_CHANNEL_ASSERT(response_states.sregs, 0x2c0);
VCPU_CHANNEL_ASSERT(response_states.events, 0x400);
VCPU_CHANNEL_ASSERT(response_states.debugregs, 0x440);
VCPU_CHANNEL_ASSERT(request_states.regs, 0x800);
VCPU_CHANNEL_ASSERT(request_states.sregs, 0x8c0);
VCPU_CHANNEL_ASSERT(request_states.events, 0xa00);
VCPU_CHANNEL_ASSERT(request_states.debugregs, 0xa40);
VCPU_CHANNEL_ASSERT(response_payload, 0x1000);
VCPU_CHANNEL_ASSERT(request_payload, 0x41000);
VCPU_CHANNEL_ASSERT(ring, 0x81000);
_Static_assert(sizeof(struct vcpu_channel) == 0x91000, "the layout of a channel: its size");
_Static_assert(sizeof(struct vcpu_channel_entry) == 16, "the layout of a channel: an entry of the ring");

/*
 * How one side waits; its own, and nobody else's memory. Only the thread that waits writes to it, while others of its process may look.
 * `ready` says whether what is waited for has come, and is called with `context` over and over.
 */
struct vcpu_channel_wait {
    _Atomic uint32_t spin;      /* how long to spin at present, in nanoseconds */
    uint32_t spin_max;          /* 0: never */
    _Atomic uint64_t ready;     /* waits for what was there already, */
    _Atomic uint64_t spun;      /* those that ended within the spin, */
    _Atomic uint64_t slept;     /* and those that did not */
    _Atomic uint64_t spin_time; /* nanoseconds, as far as the clock was looked at: a spin of some hundred counts as none */
    _Atomic uint64_t woken;     /* how often the other side had to be woken */
};

typedef bool vcpu_channel_ready(const void *context);

/*
 * Spins, if that is worth it: not where the other side last ran on this processor (`peer_cpu`), and no longer than such waits have
 * lately taken. True: it is ready.
 */
bool vcpu_channel_spin(struct vcpu_channel_wait *wait, uint32_t peer_cpu, vcpu_channel_ready *ready, const void *context);

/*
 * Sleeps on the word, `nanoseconds` at most (0: without an end), unless it is ready. 0, after which all is to be looked at again; -EINTR: a
 * signal came; -ETIMEDOUT.
 */
int vcpu_channel_sleep(_Atomic uint32_t *sleeps, uint64_t nanoseconds, vcpu_channel_ready *ready, const void *context);

/* After a sleep that began at `began` (clock_nanoseconds()): where spinning would have done, it is worth twice as long next time. */
void vcpu_channel_learn(struct vcpu_channel_wait *wait, uint64_t began);

/* Wakes the other side where it sleeps; `pipe`, which does not block, is the one to write to where it waits for that (-1: it never does). */
void vcpu_channel_wake(struct vcpu_channel_wait *wait, _Atomic uint32_t *sleeps, int pipe);

/* The processor that this thread runs on. */
uint32_t vcpu_channel_cpu(void);

/* How many bytes of the ring an entry with so much data takes. */
uint32_t vcpu_channel_entry_space(uint32_t size);

#endif
