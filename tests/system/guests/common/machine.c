#include "tests/system/guests/common/machine.h"

#include "plugin/microvm/layout.h"
#include "tests/system/guests/common/processor.h"

#include <linux/serial_reg.h>
#include <stdarg.h>

/* Linux's boot parameters: where the address of the command line stands. */
#define COMMAND_LINE 0x228

#define POWER_OFF 0x34

static const char *command_line;

/* --- Ports and power. */

uint8_t
port_read(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

void
port_write(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

/* An instruction that any emulator of processors knows. */
void
machine_fence(void)
{
    __asm__ volatile("lock; addl $0, (%%rsp)" : : : "memory", "cc");
}

void
machine_off(void)
{
    port_write(LAYOUT_POWER_SLEEP_CONTROL, POWER_OFF);
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* --- What it says. */

static void
put(char byte)
{
    port_write(LAYOUT_SERIAL, (uint8_t)byte);
}

static void
put_number(uint64_t number, unsigned base)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    while (count > 0)
        put(digits[--count]);
}

static void
put_text(const char *text)
{
    while (*text != '\0')
        put(*text++);
}

void
say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        switch (*++format) {
        case 's':
            put_text(va_arg(arguments, const char *));
            break;
        case 'u':
            put_number(va_arg(arguments, unsigned), 10);
            break;
        case 'x':
            put_number(va_arg(arguments, unsigned), 16);
            break;
        case 'l':
            format++;
            put_number(va_arg(arguments, uint64_t), 10);
            break;
        }
    }
    va_end(arguments);
}

/* --- What it hears. */

static struct {
    volatile bool came;
    volatile char byte;
} heard;

/* Only as many as are waited for: the next one stays where it is meanwhile, and so does its interrupt. */
static void
hear(void *context)
{
    (void)context;
    if ((port_read(LAYOUT_SERIAL + UART_LSR) & UART_LSR_DR) == 0)
        return;
    port_write(LAYOUT_SERIAL + UART_IER, 0);
    heard.byte = (char)port_read(LAYOUT_SERIAL + UART_RX);
    heard.came = true;
}

char
machine_hear(void)
{
    heard.came = false;
    processor_route(LAYOUT_SERIAL_GSI, PROCESSOR_LEVEL, 0, hear, NULL);
    port_write(LAYOUT_SERIAL + UART_IER, UART_IER_RDI);
    processor_close();
    while (!heard.came)
        processor_sleep();
    processor_open();
    return heard.byte;
}

/* --- What it was told. */

bool
machine_was_told(const char *word)
{
    const char *at = command_line;

    while (*at != '\0') {
        const char *rest = word;

        while (*rest != '\0' && *at == *rest) {
            at++;
            rest++;
        }
        if (*rest == '\0' && (*at == '\0' || *at == ' '))
            return true;
        while (*at != '\0' && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return false;
}

static volatile bool second_is_done;

static void
run_second(void)
{
    guest_main();
    second_is_done = true;
    processor_call(0);
}

static void
only_take_interrupts(void)
{
}

/* The first instruction in C; see entry.S. */
void machine_begin(const uint8_t *parameters);
void
machine_begin(const uint8_t *parameters)
{
    command_line = (const char *)(uintptr_t)*(const uint32_t *)(const void *)(parameters + COMMAND_LINE);
    processor_begin();
    if (machine_was_told("second")) {
        processor_wake_second(run_second);
        processor_close();
        while (!second_is_done)
            processor_sleep();
    } else {
        if (machine_was_told("elsewhere"))
            processor_wake_second(only_take_interrupts);
        guest_main();
    }
    machine_off();
}

/* --- What the compiler calls. */

void *
memcpy(void *to, const void *from, size_t size)
{
    void *at = to;

    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
    return to;
}

void *
memset(void *to, int value, size_t size)
{
    void *at = to;

    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
    return to;
}

/* By words while there are any and they are equal: an emulated processor does it for all. */
int
memcmp(const void *one, const void *other, size_t size)
{
    const uint8_t *left = one, *right = other;
    uint64_t words[2];

    for (; size >= sizeof words[0]; size -= sizeof words[0], left += sizeof words[0], right += sizeof words[0]) {
        __builtin_memcpy(&words[0], left, sizeof words[0]);
        __builtin_memcpy(&words[1], right, sizeof words[1]);
        if (words[0] != words[1])
            break;
    }
    for (; size > 0; size--, left++, right++) {
        if (*left != *right)
            return *left < *right ? -1 : 1;
    }
    return 0;
}
