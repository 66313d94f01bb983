/*
 * Which ids the host knows already: users and groups (through the name service), the subordinate ranges of subuid(5) and subgid(5), and
 * those that a process runs under. Internal to supervisor/uids.c. Functions give 0 or a negative errno unless they say otherwise.
 */
#ifndef VMSUP_SUPERVISOR_UIDS_HOST_H
#define VMSUP_SUPERVISOR_UIDS_HOST_H

#include <stddef.h>
#include <stdint.h>

/* Lines of both files together. */
#define UIDS_RANGES_MAX 65536

struct uids_range {
    uint64_t first;
    uint64_t end;
};

struct uids_ranges {
    struct uids_range *range; /* owned */
    size_t count;
};

/* Reads both files; a missing one is empty. */
int uids_read_ranges(struct uids_ranges *ranges);
/* Adds the ranges of a text, "name:first:count" a line. What is no such line is passed over. */
int uids_parse_ranges(char *text, struct uids_ranges *ranges);
void uids_free_ranges(struct uids_ranges *ranges);

/* `id` where no range holds it, else the first number after a range that does. */
uint64_t uids_past_ranges(const struct uids_ranges *ranges, uint64_t id);

/* 1: a user or group has the number. 0: none has. */
int uids_host_knows(uint32_t id);

/*
 * uids_running.c. Which of `ids` a process runs under, by any of its real, effective, saved and file system ids: bit i for ids[i]. All are looked for at
 * once, since it takes a look at every process of the host. `count` is at most 31.
 */
int uids_host_runs(const uint32_t *ids, size_t count);

#endif
