/*
 * The VM: what KVM knows of it, the objects that plugins made in it, its vCPUs, and how it ends. vm_create() makes it;
 * vm_destroy() undoes everything. The server's thread owns it all, but for
 * what is named here as shared with the vCPU threads: the ranges and the hint under `access_lock`, the fields under
 * `lock`, `ending`, and what never changes once the VM exists.
 */
#ifndef VMSUP_VMPROC_VM_H
#define VMSUP_VMPROC_VM_H

#include "proto/control.pb-c.h"
#include "vmproc/bucket.h"
#include "vmproc/coalesced.h"
#include "vmproc/hint.h"
#include "vmproc/limits.h"
#include "vmproc/objects.h"
#include "vmproc/ranges.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct vcpu_channel;

#define VM_MAC_SIZE 6

struct vm_network {
    int tap; /* -1: there is none */
    uint8_t host_mac_address[VM_MAC_SIZE];
    uint32_t host_ipv4_address; /* both as in struct in_addr */
    uint32_t netmask;
};

struct vm_config {
    int kvm;    /* /dev/kvm; the VM's from now on */
    int keeper; /* a socket: the VM's descriptor is sent to it, then it is closed; -1: there is none */
    unsigned vcpu_count;
    uint64_t memory_limit;     /* bytes in all slots together */
    unsigned exit_spin;        /* how long a side of a vCPU's channel may spin, in nanoseconds */
    struct vm_network network; /* its TAP is the VM's from now on */
};

struct vm_end {
    ControlEnded__Kind kind;
    unsigned vcpu;
    uint64_t code;
    char text[LIMIT_ENDED_TEXT];
};

struct vm {
    int kvm;
    int fd;
    unsigned vcpu_count;
    size_t run_size;
    uint64_t sync_fields; /* KVM_SYNC_X86_… that the kernel can give with an exit */
    struct vm_network network;
    int shutdown_event; /* eventfd: readable once the VM ends */
    unsigned exit_spin;
    int channels;                 /* memfd: a channel for each vCPU, once the plugin asked for them; else -1 */
    struct vcpu_channel *channel; /* the same, mapped; else NULL */
    int notice;                   /* eventfd: a vCPU thread has something to tell the server */

    struct objects objects;
    bool slot_used[LIMIT_MEMORY_SLOTS];
    uint64_t memory_limit;
    uint64_t memory_used;
    struct bucket irq_rate;
    bool has_irqchip, has_timer; /* see vm_make_interrupts() */
    bool started;
    struct vcpu *vcpu[LIMIT_VCPUS];

    /* Read by vCPUs at every access, written by the server. */
    pthread_rwlock_t access_lock;
    struct ranges ranges;
    struct hint hint;

    struct coalesced coalesced;

    atomic_bool ending;
    bool told; /* the supervisor knows why it ends */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a vCPU has passed INIT, or `ending` or `told` is set */
    unsigned initialized;   /* vCPUs that were resumed from INIT */
    bool end_known;
    struct vm_end end;
    struct bucket complaint_rate;
    unsigned long complaints_dropped;

    /*
     * The thread that makes `shutdown_event` readable: the plugin can fill that eventfd, on which a write then blocks,
     * and nothing else of this process may block with it.
     */
    pthread_t herald;
    bool herald_started;
    atomic_bool herald_done;
    atomic_bool herald_released; /* it need not try again */
};

/*
 * Makes the VM and its vCPUs' pipes (not yet the vCPUs). 0 with *vm the caller's, or a negative errno with `text`
 * saying what failed. Takes over the descriptors of `config` in either case.
 */
int vm_create(const struct vm_config *config, struct vm **vm, char *text, size_t text_size);

/* Every vCPU's thread must have been joined (see vcpu_end()). */
void vm_destroy(struct vm *vm);

/*
 * Makes the interrupt controllers and the timer where they are not yet: for whoever needs them, and before the vCPUs.
 * Not before that: while KVM settles what it has put on the guest's buses it lets a new memory slot wait, for some
 * milliseconds each. 0 or what KVM says.
 */
int vm_make_interrupts(struct vm *vm);

/* Creates the vCPUs and their threads. 0; -EINVAL the second time; -ESHUTDOWN once the VM ends; or what KVM says. */
int vm_start(struct vm *vm);

/*
 * The VM ends, for the reason given where none was known before; any thread. Tells the server, which does the rest.
 * `vcpu` is the vCPU that this is about.
 */
void vm_end(struct vm *vm, ControlEnded__Kind kind, unsigned vcpu, uint64_t code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The VM ends without a fault: the supervisor said so. */
void vm_stop(struct vm *vm);

/*
 * Once the supervisor was told of the end: then the plugin may learn of it. A plugin that exits on hearing of it would
 * otherwise be taken for the reason. The wait returns at once where the VM does not end.
 */
void vm_set_told(struct vm *vm);
void vm_wait_until_told(struct vm *vm);

/* The reason, or NULL where none is known (yet). The text stays. */
const struct vm_end *vm_get_end(struct vm *vm);

/*
 * Called by a vCPU's thread after the resume from INIT: returns 0 once every vCPU got there, -ESHUTDOWN once the VM
 * ends.
 */
int vm_wait_for_all(struct vm *vm);
bool vm_all_initialized(struct vm *vm);

/* Sleeps so long, or until the VM ends: for a vCPU that must be slowed down. */
void vm_delay(struct vm *vm, unsigned milliseconds);

/*
 * Once `ending` is set: whether the shutdown eventfd has been written; that it need not be any more, to be called until
 * it is done.
 */
bool vm_herald_is_done(struct vm *vm);
void vm_herald_release(struct vm *vm);

/* Wakes the server. */
void vm_notify(struct vm *vm);

/* A warning about what the plugin or the guest does, at a limited rate; any thread. */
void vm_complain(struct vm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
