# A kernel for microvm that has nothing to do: it says so and waits for interrupts that never come.

    .globl _start
    .text
    .code64
_start:
    cli
    mov $'i', %al
    mov $0x3f8, %dx
    out %al, %dx
1:  hlt
    jmp 1b

    .section .note.GNU-stack, "", @progbits
