/*
 * The options that may be given many times, and the files that hold them, one a line: --plugin-mount and --plugin-gid-map. `where` names the
 * place in errors: "--plugin-mount" or "FILE:LINE". Internal to supervisor/options*.c.
 */
#ifndef VMSUP_SUPERVISOR_OPTIONS_LIST_H
#define VMSUP_SUPERVISOR_OPTIONS_LIST_H

#include "supervisor/options.h"

/* Adds one to `options`. `exit_code` is what a mistake is: EX_USAGE on the command line, EX_DATAERR in a file. */
typedef int options_add(struct options *options, const char *text, const char *where, int exit_code, struct failure *failure);

/* SRC[:[DST][:true|false]] */
options_add options_add_mount;
/* INNER[:[OUTER][:COUNT]] */
options_add options_add_gid_map;

/* Every line of the text that has something before its '#', without the blanks around it. `name` is the file's, for errors. */
int options_add_text(struct options *options, options_add *add, const char *name, char *text, struct failure *failure);
int options_add_file(struct options *options, options_add *add, const char *path, struct failure *failure);

#endif
