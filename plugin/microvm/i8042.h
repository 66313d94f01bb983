/*
 * What is left of the PC's keyboard controller: command 0xfe, which resets the processor. Some kernels reset by it. It has no state but the
 * power it asks, which is the caller's.
 */
#ifndef VMSUP_PLUGIN_MICROVM_I8042_H
#define VMSUP_PLUGIN_MICROVM_I8042_H

#include "plugin/microvm/bus.h"

/* For the bus, at the command port alone; `device` is a struct power. */
extern const struct device_operations i8042_operations;

#endif
