/*
 * A socket device (virtio 1.2, 5.10): stream connections between programs on the host and in the guest. Programs on the host connect to
 * a unix socket and name a port of the guest's (vsock_host.h); connections that the guest begins are made by somebody outside
 * (vsock_broker.h). All of it works in the device's one thread. A guest that breaks the rules of a connection loses that one; one that
 * breaks the queues must reset the device, and a device that is made ready again knows no connection of before.
 *
 * Who creates a device owns it and destroys it after its transport; listener, guest memory and whoever answers outlive it.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_VSOCK_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_VSOCK_H

#include "plugin/microvm/virtio.h"
#include "plugin/microvm/vsock_broker.h"

/* 5.10.4: the addresses below and the last one are reserved. */
#define VIRTIO_VSOCK_CID_MIN 3U
#define VIRTIO_VSOCK_CID_MAX (UINT32_MAX - 1)
/* So long a client on the host has for its line and the guest for its answer, together. */
#define VIRTIO_VSOCK_PATIENCE_MS 5000

enum virtio_vsock_queue {
    VIRTIO_VSOCK_RECEIVE, /* to the guest */
    VIRTIO_VSOCK_TRANSMIT,
    VIRTIO_VSOCK_EVENT,
    VIRTIO_VSOCK_QUEUES,
};

struct virtio_vsock;

struct virtio_vsock_settings {
    uint32_t cid; /* the guest's */
    int listener; /* a listening unix stream socket, or -1 */
    uint32_t patience_ms;
    vsock_connect connect; /* or NULL */
    void *context;
};

/* 0, -EINVAL for an address that is none, or another negative errno. */
int virtio_vsock_create(const struct guest_memory *memory, const struct virtio_vsock_settings *settings, struct virtio_vsock **out);

/* NULL is nothing. */
void virtio_vsock_destroy(struct virtio_vsock *vsock);

/* What a transport carries; the device's own. */
struct virtio_device *virtio_vsock_device(struct virtio_vsock *vsock);

/*
 * What became of a connection that was asked for: a connected unix stream socket, which is the device's from now on, or a negative errno.
 * From any thread.
 */
void virtio_vsock_answer(struct virtio_vsock *vsock, uint64_t token, int result);

#endif
