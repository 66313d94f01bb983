# A kernel for microvm with a PVH entry that waits for the power button and turns the machine off: interrupt 5 goes by the IOAPIC to the
# local APIC, edge-triggered, where it is looked for rather than taken. It says "w" once it waits, and "b" when the button was pressed.

#define SERIAL 0x3f8
#define POWER 0x600
#define POWER_OFF 0x34
#define BUTTON 5
#define VECTOR 0x30
#define IOAPIC 0xfec00000
#define LOCAL_APIC 0xfee00000
#define SPURIOUS 0xf0
# The vectors from 0x20 to 0x3f that are requested.
#define REQUESTED 0x210

    .section .note.pvh, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long _start

    .globl _start
    .text
    .code32
_start:
    cli
    movl $0x1ff, LOCAL_APIC + SPURIOUS
    movl $(0x10 + 2 * BUTTON + 1), IOAPIC
    movl $0, IOAPIC + 0x10
    movl $(0x10 + 2 * BUTTON), IOAPIC
    movl $VECTOR, IOAPIC + 0x10
    mov $'w', %al
    mov $SERIAL, %dx
    out %al, %dx
1:  mov LOCAL_APIC + REQUESTED, %eax
    test $(1 << (VECTOR - 0x20)), %eax
    jz 1b
    mov $'b', %al
    mov $SERIAL, %dx
    out %al, %dx
    mov $POWER_OFF, %al
    mov $POWER, %dx
    out %al, %dx
2:  hlt
    jmp 2b

    .section .note.GNU-stack, "", @progbits
