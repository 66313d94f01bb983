/*
 * The tables by which the guest finds what it has (ACPI 6.5): RSDP, XSDT, FADT, MADT, and a DSDT that is generated. The machine is
 * "hardware-reduced" (4.1): no SCI, no PM registers, no legacy interrupt controller to probe. The tables go to one block of guest memory.
 */
#ifndef VMSUP_PLUGIN_MICROVM_ACPI_H
#define VMSUP_PLUGIN_MICROVM_ACPI_H

#include <stddef.h>
#include <stdint.h>

/* What S5 is called in SLP_TYP, and what resets when written to the reset register. */
#define ACPI_SLEEP_TYPE_OFF 5
#define ACPI_RESET_VALUE 1

struct acpi_machine {
    uint32_t vcpu_count;
    uint32_t virtio_count; /* in the first slots */
};

/* Writes the tables, to be seen by the guest at `address`, where the RSDP comes to lie. 0 or -ENOSPC. */
int acpi_write(const struct acpi_machine *machine, uint64_t address, uint8_t *tables, size_t capacity);

#endif
