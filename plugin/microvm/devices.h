/*
 * Which devices the machine has: the platform's own, and virtio devices as the options want them, each in the next free slot. They live as
 * long as the process.
 */
#ifndef VMSUP_PLUGIN_MICROVM_DEVICES_H
#define VMSUP_PLUGIN_MICROVM_DEVICES_H

#include "plugin/microvm/host.h"
#include "plugin/microvm/machine.h"
#include "plugin/microvm/options.h"
#include "plugin/microvm/power.h"
#include "plugin/microvm/rtc.h"
#include "plugin/microvm/serial.h"
#include "plugin/microvm/virtio_balloon.h"

struct devices {
    struct host host;
    struct power power;
    struct rtc rtc;
    struct serial serial;
    struct virtio_balloon *balloon; /* NULL: none */
    uint32_t *virtio_pages;
    uint32_t virtio_count;
    bool told; /* why there is one not */
};

/* 0, or a negative errno and what failed; NULL where the log has the whole reason. */
int devices_create(struct devices *devices, struct machine *machine, const struct options *options, const char **what);

#endif
