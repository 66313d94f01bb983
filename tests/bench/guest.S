/*
 * The guest of the bench, real mode at 0x1000. A round: asks which work (port 0x500, a word) and how many times (port 0x502, a
 * word; not zero), does it, and says so (a byte to port 0x504). It never ends by itself.
 */
        .code16
        .text
start:
        movw    $0xa000, %ax
        movw    %ax, %es
round:
        movw    $0x500, %dx
        inw     %dx, %ax
        movw    %ax, %bx
        movw    $0x502, %dx
        inw     %dx, %ax
        movw    %ax, %cx
        movw    $0x510, %dx
        cmpw    $1, %bx
        je      port_write
        cmpw    $2, %bx
        je      mmio_read
        cmpw    $3, %bx
        je      async_write
        cmpw    $4, %bx
        je      coalesced_write
port_read:
        inb     %dx, %al
        loop    port_read
        jmp     done
port_write:
        outb    %al, %dx
        loop    port_write
        jmp     done
mmio_read:
        movb    %es:0, %al
        loop    mmio_read
        jmp     done
async_write:
        movw    $0x600, %dx
1:      outb    %al, %dx
        loop    1b
        jmp     done
coalesced_write:
        movw    $0x610, %dx
2:      outb    %al, %dx
        loop    2b
done:
        movw    $0x504, %dx
        outb    %al, %dx
        jmp     round
