# Where guests in C begin: the first processor in 64 bits, as microvm enters an ELF kernel, and the second in real mode, at the copy of the
# trampoline; and where interrupts and exceptions come in.

#define STACK 0x4000
#define GDT 0x500
#define GDT_LIMIT 31
#define CODE_SEGMENT 0x10
#define DATA_SEGMENT 0x18
#define VECTORS 0x39
#define ENTRY_SIZE 16

    .globl _start
    .text
    .code64
_start:
    mov $first_stack_end, %rsp
    cld
    mov %rsi, %rdi
    call machine_begin

# One entry a vector, all of one size. Those exceptions that bring an error code leave it where others have a zero.
    .globl processor_entries
    .balign ENTRY_SIZE
processor_entries:
    .set vector, 0
    .rept VECTORS
    .balign ENTRY_SIZE
    .if vector != 8 && (vector < 10 || vector > 14) && vector != 17
    push $0
    .endif
    push $vector
    jmp interrupted
    .set vector, vector + 1
    .endr

interrupted:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    mov 72(%rsp), %rdi          # the vector
    mov 88(%rsp), %rsi          # where it was
    cld
    call processor_interrupted
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

# Straight from real mode to 64 bits, with the first processor's page tables and segments.
    .globl trampoline, trampoline_end, trampoline_tables
    .code16
trampoline:
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    lgdtl gdt - trampoline
    mov $0x20, %eax
    mov %eax, %cr4
    mov trampoline_tables - trampoline, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax
    mov %eax, %cr0
    ljmpl $CODE_SEGMENT, $second
    .balign 4
trampoline_tables:
    .long 0
gdt:
    .word GDT_LIMIT
    .long GDT
trampoline_end:

    .code64
second:
    mov $DATA_SEGMENT, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $second_stack_end, %rsp
    call processor_begin_second

    .bss
    .balign 16
    .skip STACK
first_stack_end:
    .skip STACK
second_stack_end:

    .section .note.GNU-stack, "", @progbits
