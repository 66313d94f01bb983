/*
 * microvm, the device model that ships, as the supervisor starts it: which arguments it has, and what its exit codes mean. What the options
 * say comes first, then the admin's own arguments, so that these have the last word; see vmsup-microvm(7).
 */
#ifndef VMSUP_SUPERVISOR_MICROVM_H
#define VMSUP_SUPERVISOR_MICROVM_H

#include "supervisor/options.h"

/* It exits so where the guest wants to be started again. */
#define MICROVM_EXIT_RESET 8

/* Its arguments without argv[0], newly allocated, ended by NULL: microvm_free() is due. NULL where memory is short. */
char **microvm_arguments(const struct options *options);
void microvm_free(char **arguments);

#endif
