/*
 * The entropy device (virtio 1.2, 5.4): the kernel's random bytes for the guest. Who creates one owns it and destroys it after its
 * transport; the guest memory outlives it.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_RNG_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_RNG_H

#include "plugin/microvm/virtio.h"

/* One request gets at most so much; a driver that wants more asks again. */
#define VIRTIO_RNG_REQUEST_MAX 4096

struct virtio_rng;

/* -ENOMEM. */
int virtio_rng_create(const struct guest_memory *memory, struct virtio_rng **out);

/* NULL is nothing. */
void virtio_rng_destroy(struct virtio_rng *rng);

/* What a transport carries; the rng's own. */
struct virtio_device *virtio_rng_device(struct virtio_rng *rng);

#endif
