/*
 * The options that name what the plugin is granted, and those of microvm, the plugin that ships. Internal to supervisor/options*.c.
 */
#ifndef VMSUP_SUPERVISOR_OPTIONS_MACHINE_H
#define VMSUP_SUPERVISOR_OPTIONS_MACHINE_H

#include "supervisor/options.h"

/* NAME=PATH[,ro|rw][,lock]. A comma in a path is written twice, here and in the next one. */
int options_add_grant(struct options *options, const char *text, struct failure *failure);

/* PATH[,FLAG…]: the next disk. `text` must live as long as the options. */
int options_add_disk(struct options *options, const char *text, struct failure *failure);

/*
 * A path as it stands, read-only and locked: `option` is "--kernel" or "--initrd", a string that lives on, and the name is what follows its
 * dashes.
 */
int options_add_image(struct options *options, const char *option, const char *path, struct failure *failure);

int options_set_memory(struct options *options, const char *text, struct failure *failure);
int options_set_vsock(struct options *options, const char *text, struct failure *failure);

/* What only microvm takes stands without a plugin, and with it a kernel. */
int options_check_machine(const struct options *options, struct failure *failure);

#endif
