/*
 * The objects that plugins make in a VM: io events, memory slots, irq events. They are found by the id that the client
 * chose, belong to the VM and outlive the connection that made them. This module finds and counts them; what they are
 * to KVM is made and unmade by memory.c, io_event.c and irq.c. One thread, the server's.
 */
#ifndef VMSUP_VMPROC_OBJECTS_H
#define VMSUP_VMPROC_OBJECTS_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/tree.h>

enum object_kind {
    OBJECT_IO_EVENT,
    OBJECT_MEMORY,
    OBJECT_IRQ_EVENT,
    OBJECT_KINDS,
};

struct object {
    RB_ENTRY(object) link;
    uint32_t id;
    enum object_kind kind;
    union {
        /* Its `fd` is the eventfd, the object's own. */
        struct kvm_ioeventfd io_event;
        struct {
            uint32_t slot;
            bool dirty_log;
            void *mapping;
            uint64_t length;
        } memory;
        struct {
            uint32_t gsi;
            int trigger;
            int resample;
        } irq_event;
    };
};

RB_HEAD(object_tree, object);

struct objects {
    struct object_tree tree;
    size_t count[OBJECT_KINDS];
};

void objects_init(struct objects *objects);

/* NULL: no object has this id. */
struct object *objects_find(struct objects *objects, uint32_t id);

/*
 * A new object that is not in the tree yet, in *object: 0; -EEXIST: the id is in use; -ENOSPC: the kind's limit is
 * reached; -ENOMEM. The caller then calls objects_insert() or objects_discard().
 */
int objects_prepare(struct objects *objects, uint32_t id, enum object_kind kind, struct object **object);
void objects_insert(struct objects *objects, struct object *object);
void objects_discard(struct object *object);

/* Takes it out of the tree and frees it. */
void objects_remove(struct objects *objects, struct object *object);

/* Any object, or NULL where there is none left. */
struct object *objects_any(struct objects *objects);

#endif
