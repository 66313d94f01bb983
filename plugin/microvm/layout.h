/* Where everything is that the guest can see: memory, ports, interrupts. vmsup-microvm(7) shows the same to people. */
#ifndef VMSUP_PLUGIN_MICROVM_LAYOUT_H
#define VMSUP_PLUGIN_MICROVM_LAYOUT_H

#define LAYOUT_PAGE 0x1000ULL

/* Memory ends here at the latest, and goes on above 4 GiB: what lies between belongs to devices, IOAPIC and local APICs. */
#define LAYOUT_HOLE_START 0xc0000000ULL
#define LAYOUT_HOLE_END 0x100000000ULL

/* What the kernel finds when it begins. All below the first 640 KiB, which are memory of the guest's to reuse. */
#define LAYOUT_GDT 0x500ULL
#define LAYOUT_BOOT_PARAMS 0x7000ULL
#define LAYOUT_PAGE_TABLES 0x9000ULL /* 6 pages */
#define LAYOUT_COMMAND_LINE 0x20000ULL
#define LAYOUT_LOW_MEMORY_END 0x9f000ULL
/* Where a PC's firmware has its tables. */
#define LAYOUT_ACPI 0xe0000ULL
#define LAYOUT_ACPI_SIZE 0x20000ULL
/* Where a processor begins after a reset; so code that resets by hand jumps there. The last 16 bytes of what holds the tables. */
#define LAYOUT_RESET_VECTOR 0xffff0ULL
#define LAYOUT_HIGH_MEMORY 0x100000ULL

/* Each slot has one virtio device at most: a page of registers and an interrupt of its own. */
#define LAYOUT_VIRTIO_START 0xfeb00000ULL
#define LAYOUT_VIRTIO_LENGTH 0x1000ULL
#define LAYOUT_VIRTIO_SLOTS 16
/* First those that no ISA device has had on any PC, then 8 to 15: this machine has none of the devices that used to have them. */
#define LAYOUT_VIRTIO_GSI(slot) (8 + ((slot) + 8) % 16)

#define LAYOUT_IOAPIC 0xfec00000U
#define LAYOUT_IOAPIC_ID 0
#define LAYOUT_LOCAL_APIC 0xfee00000U

#define LAYOUT_I8042_COMMAND 0x64
#define LAYOUT_RTC 0x70
#define LAYOUT_RTC_LENGTH 2
#define LAYOUT_SERIAL 0x3f8
#define LAYOUT_SERIAL_LENGTH 8
#define LAYOUT_SERIAL_GSI 4
/* Of the generic event device: the power button. */
#define LAYOUT_BUTTON_GSI 5
/* The registers that the FADT names: sleep control, sleep status, reset. */
#define LAYOUT_POWER 0x600
#define LAYOUT_POWER_SLEEP_CONTROL 0x600
#define LAYOUT_POWER_SLEEP_STATUS 0x601
#define LAYOUT_POWER_RESET 0x602
#define LAYOUT_POWER_LENGTH 3

#endif
