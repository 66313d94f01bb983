/* What microvm is told on its command line. All strings are those of main()'s arguments. */
#ifndef VMSUP_PLUGIN_MICROVM_OPTIONS_H
#define VMSUP_PLUGIN_MICROVM_OPTIONS_H

#include "plugin/microvm/cpuid_mask.h"
#include "plugin/microvm/layout.h"
#include "plugin/microvm/options_devices.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MEMORY_MIN (32ULL << 20)
#define OPTIONS_MEMORY_MAX (1ULL << 40)
#define OPTIONS_MEMORY_DEFAULT (256ULL << 20)
/* A card and the entropy device have slots, too; with other devices, there may be fewer. */
#define OPTIONS_DISKS_MAX (LAYOUT_VIRTIO_SLOTS - 2)

struct options {
    uint64_t memory;
    bool huge_pages; /* then `memory` is whole ones */
    const char *command_line;
    struct options_disk disk[OPTIONS_DISKS_MAX];
    size_t disk_count;
    struct options_net net;
    uint32_t vsock_cid; /* 0: no socket device */
    bool console;
    bool balloon; /* then there are no huge pages */
    struct cpuid_mask cpu_mask[CPUID_MASKS_MAX];
    size_t cpu_mask_count;
};

/* 0, or -EINVAL after a line about the mistake to the log. A disk's argument is cut at its commas. */
int options_parse(int argc, char **argv, struct options *options);

/* Bytes, or with K, M or G behind: 0, or -EINVAL. */
int options_parse_size(const char *text, uint64_t *size);

#endif
