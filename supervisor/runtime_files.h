/*
 * The files of a runtime folder: opened without following links, believed only where they belong to who runs this and nobody else can write
 * them, replaced atomically. Internal to supervisor/runtime*.c. Functions give 0 or a negative errno.
 */
#ifndef VMSUP_SUPERVISOR_RUNTIME_FILES_H
#define VMSUP_SUPERVISOR_RUNTIME_FILES_H

#include "supervisor/failure.h"
#include "supervisor/runtime.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define RUNTIME_PID_NAME "pid"
/* A byte of a reason is shown as four at most; before it stand a time and a code. */
#define RUNTIME_REASON_FILE_MAX (RUNTIME_REASON_MAX + 64)

/* BASE; made 0755 where it is missing if `make`, -ENOENT otherwise. */
int runtime_open_base(const char *path, bool make, int *base, struct failure *failure);

/* A folder in `base`. -EPERM: not to be believed. */
int runtime_open_folder(int base, const char *name, int *folder);

/* Removes files, sockets and empty folders in it. Gives how many there were. */
int runtime_empty_folder(int folder);

/* Writes beside `name`, as ".name", then renames: a reader sees the old text or the new one. */
int runtime_replace_file(int folder, const char *name, const char *text);

/* 0 where there is none yet. */
pid_t runtime_read_pid(int folder);

/* The text of BASE/.last/NAME: "TIME EXIT-CODE TEXT\n", without control bytes. Reading it distrusts it: -EBADMSG. */
void runtime_reason_format(time_t now, int exit_code, const char *text, char file[RUNTIME_REASON_FILE_MAX]);
int runtime_reason_parse(const char *file, struct runtime_reason *reason);
int runtime_read_reason(int last, const char *name, struct runtime_reason *reason);

#endif
