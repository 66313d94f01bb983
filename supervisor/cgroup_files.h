/*
 * What is read from and written to a cgroup's files (cgroups(7), the kernel's cgroup-v2.rst). The parsers are pure. Internal to supervisor/cgroup.c.
 */
#ifndef VMSUP_SUPERVISOR_CGROUP_FILES_H
#define VMSUP_SUPERVISOR_CGROUP_FILES_H

#include <stdbool.h>
#include <stdint.h>

/* A whole small file by a descriptor that stays open, from its beginning. */
#define CGROUP_FILE_MAX 1024

/* The number after `key` in a file of lines "key number"; -ENOENT. */
int cgroup_parse_key(const char *text, const char *key, uint64_t *number);
int cgroup_read_key(int fd, const char *key, uint64_t *number);

/* Whether `word` is one of the words of the text. */
bool cgroup_has_word(const char *text, const char *word);

/* Makes `controller` available to the children of `directory`: 0, also where it is already; -ENOENT where the cgroup itself has it not. */
int cgroup_enable(int directory, const char *controller);

/* Opens the place where cgroup v2 is mounted, told in `path`. The descriptor, or -ENOENT, or another negative errno. */
int cgroup_open_mount(char *path);

#endif
