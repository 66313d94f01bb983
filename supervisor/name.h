/* The name of a VM: a lower-case letter or digit, then at most 31 of a-z, 0-9, '_', '.' and '-'. It is a file's name too. */
#ifndef VMSUP_SUPERVISOR_NAME_H
#define VMSUP_SUPERVISOR_NAME_H

#include <stdbool.h>

#define NAME_LENGTH_MAX 32

bool name_is_valid(const char *name);

/* Room for what name_qualify() gives. */
#define NAME_QUALIFIED_MAX 128

/*
 * What tells NAME below one runtime folder from NAME below another: NAME itself below `usual`, "NAME@run-other" below /run/other.
 * It is a file name.
 */
void name_qualify(const char *name, const char *base, const char *usual, char qualified[NAME_QUALIFIED_MAX]);

#endif
