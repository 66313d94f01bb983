/*
 * How the guest ends: the sleep and reset registers that the FADT names (ACPI 6.5, 4.8.3.7 and 4.8.3.6). Whoever asks first decides; the
 * event descriptor, the module's, then becomes readable and stays so. Any thread may ask. And how the guest is asked to end: the power
 * button, an interrupt of which the generic event device makes a notification (5.6.9). Any thread may press it.
 */
#ifndef VMSUP_PLUGIN_MICROVM_POWER_H
#define VMSUP_PLUGIN_MICROVM_POWER_H

#include "plugin/microvm/bus.h"

enum power_request {
    POWER_NONE,
    POWER_OFF,
    POWER_RESET,
};

struct power {
    int event;
    int request; /* enum power_request, atomic */
    int button;  /* an eventfd that raises the button's interrupt, not the module's; -1: there is none */
};

/* 0 or a negative errno; whoever made it closes `event`. */
int power_init(struct power *power);
void power_ask(struct power *power, enum power_request request);
enum power_request power_asked(const struct power *power);

/* `power` is a struct power, as for host.h. Pressed again before the guest looks, it was pressed once. */
void power_press_button(void *power);

/* A PC's firmware begins at the reset vector, and so "resets" who jumps there in real mode, as Linux does on a hardware-reduced machine
 * without EFI. Here it is a few instructions, at most POWER_RESET_CODE_MAX bytes, that ask for the reset. */
#define POWER_RESET_CODE_MAX 16
void power_write_reset_code(uint8_t *code);

/* For a bus; `device` is the struct power. */
extern const struct device_operations power_operations;

#endif
