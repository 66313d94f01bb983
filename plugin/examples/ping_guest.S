/* Sleeps: the plugin does the work. Real mode, entered at 0x1000; no interrupt is let through. */
        .code16
        .text
        cli
1:      hlt
        jmp     1b
