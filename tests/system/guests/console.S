# A kernel for microvm that drives its virtio console and balloon by their registers. It says E by the console's emergency write, before
# any driver is ready; gives 64 pages that it has written to the balloon, says G where all of them are zero afterwards, and K where they
# are kept; and then says what it hears, until it hears a byte 4, upon which it turns the machine off.

#define POWER 0x600
#define DEVICES 0xfeb00000
#define DEVICE_LENGTH 0x1000
#define DEVICES_END 0xfeb10000
#define CONSOLE 3
#define BALLOON 5

#define DEVICE_ID 0x008
#define DRIVER_FEATURES 0x020
#define DRIVER_FEATURES_SEL 0x024
#define QUEUE_SEL 0x030
#define QUEUE_NUM 0x038
#define QUEUE_READY 0x044
#define QUEUE_NOTIFY 0x050
#define STATUS 0x070
#define QUEUE_DESC 0x080
#define QUEUE_DRIVER 0x090
#define QUEUE_DEVICE 0x0a0
#define ACTUAL 0x104
#define EMERGENCY 0x108

/* Where queues are: for each a page, the driver's and the device's part 0x400 and 0x800 into it. */
#define QUEUE_LENGTH 0x1000
#define CONSOLE_QUEUES 0x200000
#define BALLOON_QUEUES 0x210000
#define NUMBERS 0x220000
#define BUFFER 0x230000
#define BUFFER_SIZE 64
#define GIVEN 0x1000000
#define PAGES 64
#define WRITABLE 2

    .globl _start
    .text
    .code64
_start:
    mov $stack_end, %rsp
    cld

    mov $CONSOLE, %eax
    call find
    mov %rbx, %r12
    movl $'E', EMERGENCY(%rbx)
    mov $CONSOLE_QUEUES, %edi
    call begin

    mov $BALLOON, %eax
    call find
    mov $BALLOON_QUEUES, %edi
    call begin
    call give
    mov %r12, %rbx

    mov %al, BUFFER
    movb $'\n', BUFFER + 1
    mov $2, %ecx
    call say
1:  xor %esi, %esi
    mov $CONSOLE_QUEUES, %edi
    mov $BUFFER, %eax
    mov $BUFFER_SIZE, %ecx
    mov $WRITABLE, %edx
    call transfer
    mov %eax, %ecx
    mov %eax, %r14d
    call say
    cmpb $4, BUFFER - 1(%r14)
    jne 1b
    mov $(0x20 | 5 << 2), %al
    mov $POWER, %dx
    out %al, %dx
2:  hlt
    jmp 2b

# rbx: the device that has the number in eax. It never ends where there is none.
find:
    mov $DEVICES, %ebx
1:  cmp DEVICE_ID(%rbx), %eax
    je 2f
    add $DEVICE_LENGTH, %ebx
    cmp $DEVICES_END, %ebx
    jne 1b
    jmp find
2:  ret

# Makes the device at rbx ready, with version 1 alone and its first two queues at rdi.
begin:
    movl $0, STATUS(%rbx)
    movl $1, STATUS(%rbx)
    movl $3, STATUS(%rbx)
    movl $1, DRIVER_FEATURES_SEL(%rbx)
    movl $1, DRIVER_FEATURES(%rbx)
    movl $11, STATUS(%rbx)
    xor %ecx, %ecx
1:  mov %ecx, QUEUE_SEL(%rbx)
    movl $8, QUEUE_NUM(%rbx)
    mov %edi, QUEUE_DESC(%rbx)
    lea 0x400(%rdi), %eax
    mov %eax, QUEUE_DRIVER(%rbx)
    lea 0x800(%rdi), %eax
    mov %eax, QUEUE_DEVICE(%rbx)
    movl $1, QUEUE_READY(%rbx)
    add $QUEUE_LENGTH, %edi
    inc %ecx
    cmp $2, %ecx
    jne 1b
    movl $15, STATUS(%rbx)
    ret

# One buffer, eax, of ecx bytes, with flags edx, through the queue esi at rdi of the device at rbx, and eax bytes of it were written.
transfer:
    mov %rax, (%rdi)
    mov %ecx, 8(%rdi)
    mov %edx, 12(%rdi)          # and no next one
    movzwl 0x402(%rdi), %r8d    # all entries of the ring are 0, which is this buffer
    lea 1(%r8), %r9d
    mov %r9w, 0x402(%rdi)
    mov %esi, QUEUE_NOTIFY(%rbx)
1:  pause
    cmp %r9w, 0x802(%rdi)
    jne 1b
    and $7, %r8d
    mov 0x808(%rdi, %r8, 8), %eax
    ret

# ecx bytes of the buffer, to the console at rbx.
say:
    mov $1, %esi
    mov $(CONSOLE_QUEUES + QUEUE_LENGTH), %edi
    mov $BUFFER, %eax
    xor %edx, %edx
    jmp transfer

# al: what became of the pages, in the balloon at rbx.
give:
    mov $GIVEN, %edi
    mov $(PAGES << 12), %ecx
    mov $0x5a, %al
    rep stosb
    xor %ecx, %ecx
1:  lea (GIVEN >> 12)(%rcx), %eax
    mov %eax, NUMBERS(, %rcx, 4)
    inc %ecx
    cmp $PAGES, %ecx
    jne 1b
    xor %esi, %esi
    mov $BALLOON_QUEUES, %edi
    mov $NUMBERS, %eax
    mov $(PAGES * 4), %ecx
    xor %edx, %edx
    call transfer
    movl $PAGES, ACTUAL(%rbx)
    cmpl $PAGES, ACTUAL(%rbx)
    jne 2f
    mov $GIVEN, %edi
    mov $(PAGES << 12), %ecx
    xor %eax, %eax
    repe scasb
    jne 2f
    mov $'G', %al
    ret
2:  mov $'K', %al
    ret

    .bss
    .balign 16
    .skip 256
stack_end:

    .section .note.GNU-stack, "", @progbits
