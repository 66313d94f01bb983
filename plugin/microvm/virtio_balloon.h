/*
 * The memory balloon (virtio 1.2, 5.5): the guest gives memory back to the host, as much as it is asked for, and tells of memory that it
 * does not use for the moment. What is given back really leaves: the guest takes it anew by touching it. Who creates one owns it and
 * destroys it after its transport; the guest memory outlives it.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VIRTIO_BALLOON_H
#define VMSUP_PLUGIN_MICROVM_VIRTIO_BALLOON_H

#include "plugin/microvm/virtio.h"

#include <linux/virtio_balloon.h>

#define VIRTIO_BALLOON_PAGE (UINT64_C(1) << VIRTIO_BALLOON_PFN_SHIFT)
/* A request names at most so many pages: a GiB. */
#define VIRTIO_BALLOON_PAGES_MAX (1U << 18)
/* Of the statistics of one request, at most so many are looked at. */
#define VIRTIO_BALLOON_STATISTICS_MAX 64

/* What the guest says of its memory, by VIRTIO_BALLOON_S_*; it may lie. Bits of `present` say which of them it told. */
struct virtio_balloon_statistics {
    uint64_t value[VIRTIO_BALLOON_S_NR];
    uint32_t present;
};

struct virtio_balloon_settings {
    /* Optional, in the device's thread: the guest told its statistics, by itself at first, and each time that it was asked. */
    void (*told)(void *context, const struct virtio_balloon_statistics *statistics);
    void *context;
};

struct virtio_balloon;

/* -ENOMEM. */
int virtio_balloon_create(const struct guest_memory *memory, const struct virtio_balloon_settings *settings, struct virtio_balloon **out);

/* NULL is nothing. */
void virtio_balloon_destroy(struct virtio_balloon *balloon);

/* --- From any thread. */

/* So many bytes, cut to whole pages and to what memory there is, are asked of the guest. It takes its time, and may not obey. */
void virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t size);

/* How many bytes the guest says to have given. */
uint64_t virtio_balloon_size(struct virtio_balloon *balloon);

/* The guest is asked for its statistics. false: no driver listens, or it has not answered the last time; nothing will come for this. */
bool virtio_balloon_ask(struct virtio_balloon *balloon);

/* What a transport carries; the balloon's own. */
struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon);

#endif
