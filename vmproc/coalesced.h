/*
 * Coalesced writes (KVM API 4.116, KVM_CAP_COALESCED_MMIO and _PIO): the kernel keeps the guest's writes to a range in a ring of the VM's,
 * with no exit, until the ring is full or somebody takes them. Here that is whichever vCPU comes out of the guest first, before it does
 * anything about its own exit: so what was written earlier is told earlier. Where none comes out, the server looks at the ring from time to
 * time and lets one come. The writes go to the plugin as asynchronous ones of the vCPU that takes them; the ring does not say who wrote.
 *
 * The ring belongs to KVM and to this process, and is in each vCPU's mapping; the server's thread registers ranges, any vCPU's thread
 * takes. A kernel without such rings, or without them for ports, has every write exit.
 */
#ifndef VMSUP_VMPROC_COALESCED_H
#define VMSUP_VMPROC_COALESCED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct vm;

struct coalesced {
    pthread_mutex_t lock; /* of who takes, until the plugin has been told */
    uint32_t page;        /* where the ring is in a vCPU's mapping, in pages; 0: this kernel has none */
    bool has_ports;
    atomic_uint ranges;   /* how many are registered */
    unsigned next;        /* the server's: the vCPU that is to come out next … */
    int64_t interval;     /* … and after how many milliseconds the ring is looked at again */
};

void coalesced_init(struct coalesced *coalesced);
void coalesced_destroy(struct coalesced *coalesced);

/* What this kernel can: once the VM exists and `run_size` is known. */
void coalesced_look(struct vm *vm);

/*
 * The server's thread. 0 also where the kernel does not coalesce such writes; -EINVAL: `length` has more than 32 bits; or what KVM says:
 * -ENOSPC, it has no room on its buses. The range that is given up must be one that was taken.
 */
int coalesced_add(struct vm *vm, uint32_t space, uint64_t start, uint64_t length);
void coalesced_remove(struct vm *vm, uint32_t space, uint64_t start, uint64_t length);

/* The vCPU's own thread, outside of the guest: tells the plugin what is in the ring. 0; -ESHUTDOWN: the VM ends. */
int coalesced_take(struct vcpu *vcpu);

/*
 * The server's thread: where something has been left in the ring a vCPU is made to come out, another each time. How many milliseconds from
 * now to ask again; -1: there is no range.
 */
int64_t coalesced_attend(struct vm *vm);

#endif
