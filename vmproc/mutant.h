/*
 * Compiled with -DVMSUP_MUTANT=NAME, the handler NAME is replaced by one that only answers that all went well: tests
 * are tested with it. The tables of handlers (dispatch.c, object.c, vcpu_request.c) ask here; otherwise nothing is a
 * mutant.
 */
#ifndef VMSUP_VMPROC_MUTANT_H
#define VMSUP_VMPROC_MUTANT_H

#include <stdbool.h>
#include <string.h>

#ifdef VMSUP_MUTANT
#define MUTANT_TEXT(name) #name
#define MUTANT_NAME(name) MUTANT_TEXT(name)
#else
#define MUTANT_NAME(name) ""
#endif

static inline bool
mutant_is(const char *name)
{
    return strcmp(name, MUTANT_NAME(VMSUP_MUTANT)) == 0;
}

#endif
