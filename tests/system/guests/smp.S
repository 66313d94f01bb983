# A kernel for microvm that wakes all other processors by INIT and SIPI. Each sets the bit of its APIC id and counts itself; once all are
# there that the topology tells of, the first prints its command line, their number and their bits, and turns the machine off. It never ends
# where one does not come.

#define SERIAL 0x3f8
#define POWER 0x600
#define LOCAL_APIC 0xfee00000
#define SPURIOUS 0xf0
#define COMMAND 0x300
#define ALL_BUT_SELF 0xc4000
#define INIT 0x500
#define STARTUP 0x600
#define TRAMPOLINE 0x8000
#define COMMAND_LINE 0x228

    .globl _start
    .text
    .code64
_start:
    mov $stack_end, %rsp
    mov %rsi, %rbp

    lea trampoline, %rsi
    mov $TRAMPOLINE, %edi
    mov $(trampoline_end - trampoline), %ecx
    cld
    rep movsb

    mov $LOCAL_APIC, %ebx
    movl $0x1ff, SPURIOUS(%rbx)
    movl $(ALL_BUT_SELF | INIT), COMMAND(%rbx)
    mov $100000, %ecx
1:  pause
    loop 1b
    movl $(ALL_BUT_SELF | STARTUP | TRAMPOLINE >> 12), COMMAND(%rbx)

    mov $0xb, %eax              # as many as leaf 0xb counts on the level of cores
    mov $1, %ecx
    cpuid
    movzwl %bx, %r12d
2:  pause
    movzwl TRAMPOLINE + count - trampoline, %eax
    inc %eax
    cmp %r12d, %eax
    jne 2b

    mov COMMAND_LINE(%rbp), %esi
3:  mov (%rsi), %al
    inc %rsi
    test %al, %al
    jz 4f
    call put
    jmp 3b
4:  mov $' ', %al
    call put
    lea '0'(%r12), %eax
    call put
    mov $' ', %al
    call put
    movzwl TRAMPOLINE + bits - trampoline, %eax
    add $'0', %eax
    call put
    mov $'\n', %al
    call put
    mov $(0x20 | 5 << 2), %al
    mov $POWER, %dx
    out %al, %dx
5:  hlt
    jmp 5b

put:
    mov $SERIAL, %dx
    out %al, %dx
    ret

# Where the others begin, in real mode, with cs at the trampoline.
    .code16
trampoline:
    cli
    mov %cs, %ax
    mov %ax, %ds
    mov $1, %eax
    cpuid
    shr $24, %ebx
    mov %bx, %cx
    mov $1, %ax
    shl %cl, %ax
    lock or %ax, bits - trampoline
    lock incw count - trampoline
6:  hlt
    jmp 6b
    .balign 2
count:
    .word 0
bits:
    .word 0
trampoline_end:

    .bss
    .balign 16
    .skip 256
stack_end:

    .section .note.GNU-stack, "", @progbits
