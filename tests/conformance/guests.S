/*
 * The guests of the conformance cases, all in one image that is loaded at 0x1000 (so `ORG`); a case enters the one it wants. Real mode, all
 * segments 0. Ports 0x500 to 0x51f are the case's; whatever is written to 0x51f says that the guest has come to its end.
 */
        .code16
        .text
        .set    ORG, 0x1000
        .macro  done
        movw    $0x51f, %dx
        outb    %al, %dx
1:      hlt
        jmp     1b
        .endm

/* Reads and writes of each width. */
        .globl  guest_ports
guest_ports:
        movw    $0x500, %dx
        inb     %dx, %al
        movw    $0x501, %dx
        outb    %al, %dx
        movw    $0x502, %dx
        inw     %dx, %ax
        movw    $0x504, %dx
        outw    %ax, %dx
        movw    $0x508, %dx
        inl     %dx, %eax
        movw    $0x50c, %dx
        outl    %eax, %dx
        done

/* A port that nobody has, read as 0xff before: what came goes to 0x500. */
        .globl  guest_unclaimed
guest_unclaimed:
        movb    $0xff, %al
        movw    $0x600, %dx
        inb     %dx, %al
        outb    %al, %dx
        movw    $0x500, %dx
        outb    %al, %dx
        done

/* A word at 0x4ff begins outside, one at 0x51e begins inside and ends outside. */
        .globl  guest_edges
guest_edges:
        movw    $0x4ff, %dx
        movw    $0x1122, %ax
        outw    %ax, %dx
        movw    $0x51e, %dx
        movw    $0x3344, %ax
        outw    %ax, %dx
        done

/* Strings: 16 bytes in, the same out. */
        .globl  guest_strings
guest_strings:
        cld
        movw    $0x8000, %di
        movw    $0x500, %dx
        movw    $16, %cx
        rep insb
        movw    $0x8000, %si
        movw    $0x501, %dx
        movw    $16, %cx
        rep outsb
        done

/* A byte of the device page at 0xa0000 to and fro. */
        .globl  guest_mmio
guest_mmio:
        movw    $0xa000, %ax
        movw    %ax, %es
        movb    %es:0, %al
        movb    %al, %es:4
        movw    %ax, %es:8
        done

/* Doorbells at port 0x590: three bytes 7, a byte 8, a word 0x1234. */
        .globl  guest_doorbells
guest_doorbells:
        movw    $0x590, %dx
        movb    $7, %al
        outb    %al, %dx
        outb    %al, %dx
        outb    %al, %dx
        movb    $8, %al
        outb    %al, %dx
        movw    $0x1234, %ax
        outw    %ax, %dx
        done

/* Each byte written to 0x500 by the case's answer is stored at 0x8000; then the byte at 0x9000 is told to 0x501. */
        .globl  guest_memory
guest_memory:
        movw    $0x500, %dx
        inb     %dx, %al
        movb    %al, 0x8000
        movb    0x9000, %al
        movw    $0x501, %dx
        outb    %al, %dx
        jmp     guest_memory

/* Interrupt 5 of the first controller: each is told to 0x510. The case is told at 0x500 when it may come. */
        .globl  guest_interrupts
guest_interrupts:
        movb    $0x11, %al
        outb    %al, $0x20
        movb    $0x20, %al
        outb    %al, $0x21
        movb    $4, %al
        outb    %al, $0x21
        movb    $1, %al
        outb    %al, $0x21
        movb    $0xdf, %al
        outb    %al, $0x21
        movw    $(ORG + handler), 0x25*4
        movw    $0, 0x25*4+2
        movw    $0x500, %dx
        outb    %al, %dx
2:      sti
        hlt
        jmp     2b
handler:
        movb    $0x20, %al
        outb    %al, $0x20
        movw    $0x510, %dx
        outb    %al, %dx
        iret

/* Vectors 2 (NMI), 0x40 and 0x51: each that comes is told to 0x510, before its end. The case is told at 0x500 when they may come. */
        .globl  guest_vectors
guest_vectors:
        movl    $(ORG + vector_2), 2*4
        movl    $(ORG + vector_40), 0x40*4
        movl    $(ORG + vector_51), 0x51*4
        movw    $0x500, %dx
        outb    %al, %dx
6:      sti
        hlt
        jmp     6b
vector_2:
        movb    $2, %al
        jmp     7f
vector_40:
        movb    $0x40, %al
        jmp     7f
vector_51:
        movb    $0x51, %al
7:      movw    $0x510, %dx
        outb    %al, %dx
        iret

/* Whenever 0x500 has been read: the byte at 0xa0000 is told to 0x501. */
        .globl  guest_window
guest_window:
        movw    $0xa000, %ax
        movw    %ax, %es
8:      movw    $0x500, %dx
        inb     %dx, %al
        movb    %es:0, %al
        movw    $0x501, %dx
        outb    %al, %dx
        jmp     8b

/* Says that it runs, then spins: 0x1000 in CX at first. */
        .globl  guest_spin
guest_spin:
        movw    $0x500, %dx
        outb    %al, %dx
3:      incw    0x8000
        jmp     3b

/* Reads of 0x500 for ever, EAX to EDX as they come. */
        .globl  guest_reads
guest_reads:
        movw    $0x500, %dx
4:      inb     %dx, %al
        jmp     4b

/* Writes to the asynchronous port 0x580, a count from 1 on, then the end. */
        .globl  guest_async
guest_async:
        movw    $0x580, %dx
        movb    $1, %al
5:      outb    %al, %dx
        incb    %al
        cmpb    $9, %al
        jne     5b
        inb     %dx, %al
        movw    $0x500, %dx
        outb    %al, %dx
        done

/* 400 bytes to 0x580, which is then read; what came goes to 0x500 and to 0x581. After that there is no exit. */
        .globl  guest_coalesced
guest_coalesced:
        movw    $0x580, %dx
        movw    $400, %cx
        movb    $0, %al
6:      outb    %al, %dx
        incb    %al
        loop    6b
        inb     %dx, %al
        movw    $0x500, %dx
        outb    %al, %dx
        movw    $0x581, %dx
        outb    %al, %dx
7:      jmp     7b

/* CPUID leaf 0x12345 or whatever EAX held: EBX goes out. */
        .globl  guest_cpuid
guest_cpuid:
        cpuid
        movl    %ebx, %eax
        movw    $0x500, %dx
        outl    %eax, %dx
        done

/* IA32_SYSENTER_CS as the guest reads it. */
        .globl  guest_msr
guest_msr:
        movl    $0x174, %ecx
        rdmsr
        movw    $0x500, %dx
        outl    %eax, %dx
        done

/* The control word of the FPU. */
        .globl  guest_fpu
guest_fpu:
        fnstcw  0x8000
        movw    0x8000, %ax
        movw    $0x500, %dx
        outw    %ax, %dx
        done

/* Debug register 1. */
        .globl  guest_debug
guest_debug:
        movl    %dr1, %eax
        movw    $0x500, %dx
        outl    %eax, %dx
        done

/* The mask of the first interrupt controller, read and then written. */
        .globl  guest_pic
guest_pic:
        inb     $0x21, %al
        movw    $0x500, %dx
        outb    %al, %dx
        movb    $0x3c, %al
        outb    %al, $0x21
        done

/* Control word of the timer's channel 2 and a count of 0x1234. */
        .globl  guest_pit
guest_pit:
        movb    $0xb6, %al
        outb    %al, $0x43
        movb    $0x34, %al
        outb    %al, $0x42
        movb    $0x12, %al
        outb    %al, $0x42
        done

/* An address where there is nothing: KVM cannot go on. The case is told before, and holds the guest until it wants that. */
        .globl  guest_lost
guest_lost:
        movw    $0x500, %dx
        outb    %al, %dx
        ljmp    $0xb000, $0

/* A triple fault: an interrupt without a table for it. */
        .globl  guest_triple_fault
guest_triple_fault:
        lidtl   ORG + no_table
        int     $3
        done
no_table:
        .word   0
        .long   0

/* Entered in protected mode, flat: switches the SynIC on, posts a message, tells what came of it. */
        .globl  guest_hyperv
guest_hyperv:
        .code32
        movl    $0x40000080, %ecx
        movl    $1, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $0x5c, %eax
        xorl    %edx, %edx
        xorl    %ebx, %ebx
        movl    $0x8000, %ecx
        xorl    %edi, %edi
        movl    $0x9000, %esi
        vmmcall
        movw    $0x500, %dx
        outl    %eax, %dx
        done

/* Entered in protected mode, flat: starts all other processors at 0x1000, where the first guest of this image is. */
        .globl  guest_waker
guest_waker:
        movl    $0x1ff, 0xfee000f0
        movl    $0x000c4500, 0xfee00300
        movl    $0x000c4601, 0xfee00300
        done
        .code16
