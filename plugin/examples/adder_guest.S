/* Reads two numbers, adds them, says the sum. Real mode, loaded and entered at 0x1000. */
        .code16
        .text
        movw    $0x500, %dx
        inl     %dx, %eax
        movl    %eax, %ebx
        inl     %dx, %eax
        addl    %ebx, %eax
        movw    $0x504, %dx
        outl    %eax, %dx
1:      hlt
        jmp     1b
