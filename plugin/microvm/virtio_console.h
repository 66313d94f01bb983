/*
 * A console (virtio 1.2, 5.3) of one port between the guest and two descriptors, which are borrowed and do not block, each with a thread of
 * its own. No byte is lost either way: input is read when the guest has room for it, and output that the descriptor does not take waits in
 * the guest. Only where nobody can take it any more, it is dropped. Who creates one owns it and destroys it after its transport; the
 * guest memory outlives it.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_CONSOLE_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_CONSOLE_H

#include "plugin/microvm/virtio.h"

#define VIRTIO_CONSOLE_RECEIVE 0
#define VIRTIO_CONSOLE_TRANSMIT 1
#define VIRTIO_CONSOLE_QUEUES 2

struct virtio_console;

/* -ENOMEM, or why the descriptors cannot be made not to block. */
int virtio_console_create(const struct guest_memory *memory, int input, int output, struct virtio_console **out);

/* NULL is nothing. */
void virtio_console_destroy(struct virtio_console *console);

/* What a transport carries; the console's own. */
struct virtio_device *virtio_console_device(struct virtio_console *console);

#endif
