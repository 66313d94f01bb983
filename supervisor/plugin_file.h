/*
 * The plugin's executable: checked, then opened once, so that what was checked is what runs. Its libraries are found by jail/elf.h. Fails
 * with one line for each thing that a path can be instead of a program of this machine.
 */
#ifndef VMSUP_SUPERVISOR_PLUGIN_FILE_H
#define VMSUP_SUPERVISOR_PLUGIN_FILE_H

#include "jail/elf.h"
#include "jail/jail.h"
#include "supervisor/options.h"

struct plugin_file {
    char *path; /* absolute, links followed; owned */
    int fd;     /* readable, close-on-exec; owned */
};

/* What the plugin sees of the host's files: its executable, its libraries, and the mounts of the options. */
struct plugin_mounts {
    struct jail_mount mount[JAIL_MOUNTS_MAX]; /* points into `files`, the plugin_file and the options */
    size_t count;
    struct elf_files files;                   /* owned */
};

/* 0 or a negative errno with `failure` filled: EX_NOINPUT where there is no such file, EX_NOPERM, EX_CONFIG for what is no executable file. */
int plugin_file_open(const char *path, struct plugin_file *file, struct failure *failure);
void plugin_file_close(struct plugin_file *file);

/*
 * Lists what must be seen inside. `file` and `options` must outlive `mounts`. -ENOEXEC: a script, another architecture, no program at all;
 * -ENOENT: a library is missing; -E2BIG. EX_CONFIG for all of them.
 */
int plugin_file_mounts(const struct plugin_file *file, const struct options *options, struct plugin_mounts *mounts,
                       struct failure *failure);
void plugin_mounts_free(struct plugin_mounts *mounts);

#endif
