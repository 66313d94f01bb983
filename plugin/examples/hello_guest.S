/*
 * The guest of hello, in real mode. It is loaded at 0x1000 and entered there with CS and DS 0x100, so that its addresses count from
 * its own begin. It talks through a 16550 at port 0x3f8 and sleeps in `hlt` until interrupt 4 brings a byte of input.
 */
        .code16
        .text

        .set    DATA, 0x3f8
        .set    INTERRUPT_ENABLE, 0x3f9
        .set    INTERRUPT_ID, 0x3fa
        .set    LINE_STATUS, 0x3fd
        .set    POWER, 0xf4             /* a byte written here ends the plugin with that exit code */
        .set    LINE_MAX, 80
        .set    INTERRUPT, 3            /* control-C and control-D, as they are typed */
        .set    END_OF_INPUT, 4

start:
        cli
        movw    %cs, %ax
        movw    %ax, %ds
        xorw    %ax, %ax
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0xf000, %sp
        call    set_up_interrupts
        movw    $greeting, %si
        call    print
        call    print_processor
        movw    $hint, %si
        call    print

next_line:
        movw    $prompt, %si
        call    print
        call    read_line
        cmpb    $0, line
        je      next_line
        movw    $commands, %bx
find_command:
        movw    (%bx), %si
        testw   %si, %si
        jz      echo
        call    compare
        je      run_command
        addw    $4, %bx
        jmp     find_command
run_command:
        call    *2(%bx)
        jmp     next_line
echo:
        movw    $you_said, %si
        call    print
        movw    $line, %si
        call    print
        movw    $end_of_line, %si
        call    print
        jmp     next_line

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
        movw    $on_input, %es:0x24*4
        movw    %cs, %es:0x24*4+2
        movw    $INTERRUPT_ENABLE, %dx
        movb    $1, %al
        outb    %al, %dx
        ret

/* Takes one byte, and goes back with interrupts off, so that the next comes when this one was used. */
on_input:
        pushw   %bp
        pushw   %dx
        pushw   %ax
        movw    $INTERRUPT_ID, %dx
        inb     %dx, %al
        andb    $0x0f, %al
        cmpb    $4, %al
        jne     1f
        movw    $DATA, %dx
        inb     %dx, %al
        movb    %al, received
        movb    $1, has_received
        movw    %sp, %bp
        andb    $0xfd, 11(%bp)          /* the upper half of the flags: the interrupt flag */
        /* Emulated processors have let an interrupt in between sti and hlt: the guest would now sleep for ever. */
        cmpw    $sleep, 6(%bp)
        jne     1f
        movw    $get, 6(%bp)
1:      movb    $0x20, %al
        outb    %al, $0x20
        popw    %ax
        popw    %dx
        popw    %bp
        iret

/* The byte in AL. */
put:
        pushw   %dx
        pushw   %ax
        movw    $LINE_STATUS, %dx
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        popw    %ax
        movw    $DATA, %dx
        outb    %al, %dx
        popw    %dx
        ret

/* The text at SI, up to its NUL. */
print:
        lodsb
        testb   %al, %al
        jz      1f
        call    put
        jmp     print
1:      ret

/* A byte, in AL; sleeps until there is one. */
get:
        cli
        cmpb    $0, has_received
        jne     1f
        sti                             /* takes effect after hlt: no interrupt falls in between */
sleep:  hlt
        jmp     get
1:      movb    $0, has_received
        movb    received, %al
        ret

/* A line into `line`, echoed; without its end, and cut at LINE_MAX. */
read_line:
        movw    $line, %di
read_byte:
        call    get
        cmpb    $END_OF_INPUT, %al
        je      end_of_input
        cmpb    $INTERRUPT, %al
        je      interrupted
        cmpb    $'\r', %al
        je      read_done
        cmpb    $'\n', %al
        je      read_done
        cmpb    $0x7f, %al
        je      erase
        cmpb    $8, %al
        je      erase
        cmpb    $' ', %al
        jb      read_byte
        cmpw    $line + LINE_MAX, %di
        jae     read_byte
        movb    %al, (%di)
        incw    %di
        call    put
        jmp     read_byte
erase:
        cmpw    $line, %di
        je      read_byte
        decw    %di
        movw    $erased, %si
        call    print
        jmp     read_byte
read_done:
        movb    $0, (%di)
        movw    $end_of_line, %si
        jmp     print
interrupted:
        movw    $interrupt_typed, %si
        call    print
        jmp     quit
end_of_input:
        movw    $no_terminal, %si
        call    print
        jmp     leave

/* Whether the text at SI is the line: the zero flag says so. */
compare:
        pushw   %si
        movw    $line, %di
1:      movb    (%si), %al
        cmpb    (%di), %al
        jne     2f
        incw    %si
        incw    %di
        testb   %al, %al
        jnz     1b
2:      popw    %si
        ret

/* The maker's name of the processor that the guest sees: CPUID leaf 0. */
print_processor:
        movw    $processor, %si
        call    print
        xorl    %eax, %eax
        cpuid
        movl    %ebx, name
        movl    %edx, name + 4
        movl    %ecx, name + 8
        movw    $name, %si
        call    print
        movw    $end_of_line, %si
        jmp     print

help:
        movw    $help_text, %si
        jmp     print
who:
        movw    $who_text, %si
        jmp     print
quit:
        movw    $bye, %si
        call    print
leave:
        movw    $POWER, %dx
        xorb    %al, %al
        outb    %al, %dx
1:      cli
        hlt
        jmp     1b

commands:
        .word   word_help, help
        .word   word_who, who
        .word   word_quit, quit
        .word   0
word_help:      .asciz "help"
word_who:       .asciz "who"
word_quit:      .asciz "quit"

greeting:
        .ascii  "\r\nHello from a guest of vmsup.\r\n"
        .ascii  "I am a few hundred bytes of code in a virtual machine of my own, and every letter of this\r\n"
        .asciz  "went through a 16550 that a jailed program emulates: the plugin in the table above.\r\n"
processor:      .asciz "The processor I see calls itself "
hint:           .asciz "Type help, or anything else; quit or control-C ends it all.\r\n"
prompt:         .asciz "guest> "
you_said:       .asciz "you said: "
end_of_line:    .asciz "\r\n"
erased:         .asciz "\b \b"
interrupt_typed: .asciz "^C\r\n"
no_terminal:    .asciz "\r\nThere is no more input, so I end here.\r\n"
bye:            .asciz "Goodbye.\r\n"
help_text:
        .ascii  "  who   which process does what\r\n"
        .ascii  "  quit  end this guest, and with it all three processes; control-C does it, too\r\n"
        .ascii  "  help  this\r\n"
        .asciz  "Where a guest no longer listens, control-] has the supervisor end it.\r\n"
who_text:
        .ascii  "  supervisor  made the other two, watches them, and kept one capability: to kill them\r\n"
        .ascii  "  vmproc      holds /dev/kvm and runs me; it emulates nothing and can open nothing\r\n"
        .ascii  "  plugin      emulates all the hardware I have, in an empty room\r\n"
        .asciz  "Whatever I break in the plugin, I find myself in that room.\r\n"

received:       .byte 0
has_received:   .byte 0
name:   .asciz "............"
line:   .fill LINE_MAX + 1
