# A kernel for microvm with a PVH entry. It looks whether it was entered as the interface has it, prints its command line, the first byte of
# its initrd, and "h" where its processor says that there is a hypervisor, and turns the machine off; a mark that is wrong is printed as "!"
# and a letter.

#define MAGIC 0x336ec578
#define SERIAL 0x3f8
#define POWER 0x600
#define MTRR_DEFAULT_TYPE 0x2ff

    .section .note.pvh, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long _start

    .globl _start
    .text
    .code32
_start:
    mov $stack_end, %esp
    mov %ebx, %ebp

    mov $'m', %cl
    cmpl $MAGIC, (%ebp)
    jne wrong
    mov $'v', %cl
    cmpl $1, 4(%ebp)
    jne wrong
    mov $'p', %cl               # cr0: protected mode, no paging
    mov %cr0, %eax
    and $0x80000001, %eax
    cmp $1, %eax
    jne wrong
    mov $'4', %cl
    mov %cr4, %eax
    test %eax, %eax
    jnz wrong
    mov $'r', %cl               # an RSDP: "RSD "
    mov 32(%ebp), %eax
    cmpl $0x20445352, (%eax)
    jne wrong
    mov $'e', %cl               # the map begins with memory at 0
    mov 40(%ebp), %eax
    cmpl $0, (%eax)
    jne wrong
    cmpl $1, 16(%eax)
    jne wrong

    mov $MTRR_DEFAULT_TYPE, %ecx
    rdmsr
    mov $'t', %cl               # MTRRs are on, and memory is write-back
    cmp $0x806, %eax
    jne wrong

    mov 24(%ebp), %esi
    call print
    mov $'i', %cl               # one module
    cmpl $1, 12(%ebp)
    jne wrong
    mov 16(%ebp), %eax
    mov (%eax), %esi
    mov (%esi), %al
    call put
    mov $1, %eax
    cpuid
    mov $'h', %al
    test %ecx, %ecx
    js 1f
    mov $'-', %al
1:  call put
    mov $'\n', %al
    call put
off:
    mov $(0x20 | 5 << 2), %al
    mov $POWER, %dx
    out %al, %dx
1:  hlt
    jmp 1b

wrong:
    mov $'!', %al
    call put
    mov %cl, %al
    call put
    jmp off

print:
    mov (%esi), %al
    inc %esi
    test %al, %al
    jz 1f
    call put
    jmp print
1:  ret

put:
    mov $SERIAL, %dx
    out %al, %dx
    ret

    .bss
    .balign 16
    .skip 256
stack_end:

    .section .note.GNU-stack, "", @progbits
