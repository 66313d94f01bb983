/*
 * A guest that tries the serial port of the hello example as a driver would: its registers, output by interrupts, `rep outsb`, and input
 * of which one byte is taken an interrupt. It is entered as hello's own guest is, in real mode at 0x100:0, and ends the plugin with 0,
 * or with the number of the step that failed.
 */
        .code16
        .text

        .set    DATA, 0x3f8
        .set    INTERRUPT_ENABLE, 0x3f9
        .set    INTERRUPT_ID, 0x3fa     /* read */
        .set    FIFO_CONTROL, 0x3fa     /* written */
        .set    LINE_CONTROL, 0x3fb
        .set    LINE_STATUS, 0x3fd
        .set    MODEM_STATUS, 0x3fe
        .set    SCRATCH, 0x3ff
        .set    POWER, 0xf4

.macro  write port, value
        movw    $\port, %dx
        movb    $\value, %al
        outb    %al, %dx
.endm

/* The port has the value, or this step has failed. */
.macro  expect step, port, value
        movb    $\step, step
        movw    $\port, %dx
        inb     %dx, %al
        cmpb    $\value, %al
        jne     end
.endm

start:
        cli
        movw    %cs, %ax
        movw    %ax, %ds
        xorw    %ax, %ax
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0xf000, %sp
        call    set_up_interrupts

        write   SCRATCH, 0x5a
        expect  1, SCRATCH, 0x5a
        write   LINE_CONTROL, 0x80
        write   DATA, 0x0c
        write   INTERRUPT_ENABLE, 0x01
        expect  2, DATA, 0x0c
        expect  3, INTERRUPT_ENABLE, 0x01
        write   LINE_CONTROL, 0x03
        expect  4, INTERRUPT_ENABLE, 0x00
        expect  5, INTERRUPT_ID, 0x01
        write   FIFO_CONTROL, 0x01
        expect  6, INTERRUPT_ID, 0xc1
        expect  7, MODEM_STATUS, 0xb0

/* An interrupt says that there is room for the next byte; the first one comes as soon as it is wanted. */
        movb    $8, step
        movw    $by_interrupts, %si
        write   INTERRUPT_ENABLE, 0x02
        call    wait_for_end
        write   INTERRUPT_ENABLE, 0x00
        expect  9, INTERRUPT_ID, 0xc1

        movw    $at_once, %si
        movw    $at_once_end - at_once, %cx
        movw    $DATA, %dx
        rep     outsb

/* Input that is there before its interrupt is wanted: the status says so, the interrupt does not. */
        movb    $10, step
        movw    $LINE_STATUS, %dx
1:      inb     %dx, %al
        testb   $1, %al
        jz      1b
        expect  11, LINE_STATUS, 0x61
        expect  12, INTERRUPT_ID, 0xc1
        movw    $line, %di
        movb    $0, ended
        write   INTERRUPT_ENABLE, 0x01
        call    wait_for_end

        movb    $13, step
        movw    $line, %si
        movw    %di, %cx
        subw    %si, %cx
        movw    $DATA, %dx
        rep     outsb
        movb    $0, step
end:
        movw    $POWER, %dx
        movb    step, %al
        outb    %al, %dx
1:      cli
        hlt
        jmp     1b

wait_for_end:
        cli
        cmpb    $0, ended
        jne     1f
        sti
sleep:  hlt
        jmp     wait_for_end
1:      ret

/*
 * One byte an interrupt, either way. Emulated processors have let one in between sti and hlt: who was about to sleep then looks
 * again first.
 */
on_serial:
        pushw   %bp
        pushw   %dx
        pushw   %ax
        movw    %sp, %bp
        cmpw    $sleep, 6(%bp)
        jne     1f
        movw    $wait_for_end, 6(%bp)
1:
        movw    $INTERRUPT_ID, %dx
        inb     %dx, %al
        movw    $DATA, %dx
        cmpb    $0xc2, %al
        je      send
        cmpb    $0xc4, %al
        jne     acknowledge
        inb     %dx, %al
        movb    %al, (%di)
        incw    %di
        cmpb    $'\n', %al
        jne     acknowledge
        movb    $1, ended
        /* What comes after the line is not taken. */
        write   INTERRUPT_ENABLE, 0x00
        jmp     acknowledge
send:
        lodsb
        testb   %al, %al
        jz      all_sent
        outb    %al, %dx
        jmp     acknowledge
all_sent:
        movb    $1, ended
acknowledge:
        movb    $0x20, %al
        outb    %al, $0x20
        popw    %ax
        popw    %dx
        popw    %bp
        iret

/* The two interrupt controllers, vectors from 0x20 and 0x28 on; only line 4 is let through. */
set_up_interrupts:
        movb    $0x11, %al
        outb    %al, $0x20
        outb    %al, $0xa0
        movb    $0x20, %al
        outb    %al, $0x21
        movb    $0x28, %al
        outb    %al, $0xa1
        movb    $4, %al
        outb    %al, $0x21
        movb    $2, %al
        outb    %al, $0xa1
        movb    $1, %al
        outb    %al, $0x21
        outb    %al, $0xa1
        movb    $0xef, %al
        outb    %al, $0x21
        movb    $0xff, %al
        outb    %al, $0xa1
        movw    $on_serial, %es:0x24*4
        movw    %cs, %es:0x24*4+2
        ret

by_interrupts:  .asciz "sent by interrupts\n"
at_once:        .ascii "sent at once\n"
at_once_end:
step:           .byte 0
ended:          .byte 0
line:           .fill 256
