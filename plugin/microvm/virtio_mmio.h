/*
 * A virtio device behind a page of registers (virtio 1.2, 4.2, version 2). The guest reads the page itself, as memory that it cannot
 * write; a driver's writes come here, all but those of its data path, which eventfds take: notifications, and acknowledgements of
 * queues' interrupts. What the transport needs of the machine, a page, a place on
 * the bus, doorbells and an interrupt, is handed in, so that it knows no VM. It owns itself and its lock; the device, which it drives
 * under that lock, and the interrupt's eventfd are the caller's and outlive it. vCPU threads call at any time.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_MMIO_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_MMIO_H

#include "plugin/microvm/bus.h"
#include "plugin/microvm/virtio.h"

#define VIRTIO_MMIO_LENGTH 0x1000

struct virtio_mmio;

struct virtio_mmio_config {
    uint64_t address;
    uint32_t *page; /* VIRTIO_MMIO_LENGTH bytes, zero; the guest reads at `address` what stands here. Outlives the transport. */
    int interrupt; /* writing this eventfd raises the edge interrupt */
    void *machine;
    /* The device answers for [address, address + length) of memory space. 0 or a negative errno. */
    int (*add_range)(void *machine, uint64_t address, uint64_t length, const struct device_operations *operations, void *device);
    /* An eventfd, the machine's, that counts 4-byte writes of `value` to `address` in its place. 0 or a negative errno. */
    int (*add_doorbell)(void *machine, uint64_t address, uint32_t value, int *fd);
};

/* -ENOMEM, or what the machine's functions said; then the device is not to be used. */
int virtio_mmio_create(const struct virtio_mmio_config *config, struct virtio_device *device, struct virtio_mmio **out);

/* Stops the device. The machine must not call any more. NULL is nothing. */
void virtio_mmio_destroy(struct virtio_mmio *mmio);

/* For a bus: what the guest reads and writes at an offset in the page; `device` is the struct virtio_mmio. */
extern const struct device_operations virtio_mmio_operations;

#endif
