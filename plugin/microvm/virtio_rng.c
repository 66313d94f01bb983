#include "plugin/microvm/virtio_rng.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/param.h>
#include <sys/random.h>

struct virtio_rng {
    struct virtio_device device;
};

/* 5.4.6.1: buffers that the device would read are not allowed. The bytes go through memory of ours: what the guest writes is no input. */
static int
do_request(void *device, const struct chain *chain, uint32_t *written)
{
    uint8_t bytes[VIRTIO_RNG_REQUEST_MAX];
    size_t wanted = MIN(chain->writable_size, sizeof bytes);
    ssize_t got;

    (void)device;
    if (chain->readable_count > 0)
        return -EPROTO;
    /* Signals do not come to this thread, so what comes short is a failure: the driver then sees that it got less. */
    got = getrandom(bytes, wanted, 0);
    if (got > 0 && chain_write(chain, 0, bytes, (size_t)got))
        *written = (uint32_t)got;
    return 0;
}

static int
serve(void *device, unsigned queue)
{
    struct virtio_rng *rng = device;

    return virtio_each_request(&rng->device, queue, do_request);
}

static const struct virtio_operations operations = { .name = "rng", .id = VIRTIO_ID_RNG, .serve = serve };

int
virtio_rng_create(const struct guest_memory *memory, struct virtio_rng **out)
{
    struct virtio_rng *rng = calloc(1, sizeof *rng);

    if (rng == NULL)
        return -ENOMEM;
    virtio_init(&rng->device, &(struct virtio_setup){
                                  .operations = &operations,
                                  .context = rng,
                                  .memory = memory,
                                  .queue_count = 1,
                              });
    *out = rng;
    return 0;
}

void
virtio_rng_destroy(struct virtio_rng *rng)
{
    free(rng);
}

struct virtio_device *
virtio_rng_device(struct virtio_rng *rng)
{
    return &rng->device;
}
