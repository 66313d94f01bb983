/*
 * The library's end of a vCPU's channel (see proto/vcpu_channel.h): where the host gives channels, requests and responses go through
 * shared memory, and the pipe only tells that the other side has gone. A channel belongs to its vCPU and is used by the same thread.
 */
#ifndef VMSUP_PLUGIN_LIB_CHANNEL_H
#define VMSUP_PLUGIN_LIB_CHANNEL_H

#include "plugin/vmsup-plugin.h"
#include "proto/vcpu_channel.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vmsup_vcpu;

/* Whether the host gives channels of the layout that is known here. */
bool channel_is_offered(void);

/* The part of the memfd that is vCPU `index`'s. The descriptor stays the caller's. 0 or a negative errno. */
int channel_attach(struct vmsup_vcpu *self, int memfd, uint32_t index);
void channel_detach(struct vmsup_vcpu *self);

/* A request of `size` bytes in self->outgoing. */
void channel_send(struct vmsup_vcpu *self, size_t size);

/* The resume that self->carried, self->data and self->data_size make. */
void channel_resume(struct vmsup_vcpu *self);

/* Waits for a response that is a message: its bytes are copied to self->incoming. 0; -EPIPE: the VM is ending; -EPROTO. */
int channel_receive(struct vmsup_vcpu *self, const uint8_t **data, size_t *size);

/* How an event came. */
enum channel_event {
    CHANNEL_EVENT_ACCESS,  /* *event is filled */
    CHANNEL_EVENT_MESSAGE, /* it is a message, given as channel_receive() gives one */
};

/* Waits for an event, likewise. Registers that came along are known from now on. */
int channel_receive_event(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event, enum channel_event *kind, const uint8_t **data,
                          size_t *size);

#endif
