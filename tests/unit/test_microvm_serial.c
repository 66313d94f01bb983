/* The serial port of microvm: registers, interrupts, and that no byte is lost either way. */
#include "plugin/microvm/serial.h"

#include <linux/serial_reg.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

/* Its thread lives as long as the process, so ports are made once and never freed. */
struct port {
    struct serial serial;
    int keyboard, screen; /* the other ends */
};

static struct port *
plug(void)
{
    struct port *port = malloc(sizeof *port);
    int in[2], out[2];

    assert_non_null(port);
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    port->keyboard = in[1];
    port->screen = out[0];
    assert_int_equal(serial_init(&port->serial, in[0], out[1], eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)), 0);
    assert_int_equal(serial_start(&port->serial), 0);
    return port;
}

static uint8_t
get(struct port *port, uint64_t offset)
{
    uint8_t byte;

    serial_operations.read(&port->serial, offset, &byte, 1);
    return byte;
}

static void
set(struct port *port, uint64_t offset, uint8_t byte)
{
    serial_operations.write(&port->serial, offset, &byte, 1);
}

/* The interrupt comes within a second. */
static void
expect_interrupt(struct port *port)
{
    struct pollfd polled = { .fd = port->serial.trigger, .events = POLLIN };
    eventfd_t count;

    assert_int_equal(poll(&polled, 1, 1000), 1);
    assert_int_equal(eventfd_read(port->serial.trigger, &count), 0);
}

static void
expect_no_interrupt(struct port *port)
{
    struct pollfd polled = { .fd = port->serial.trigger, .events = POLLIN };

    assert_int_equal(poll(&polled, 1, 50), 0);
}

static void
test_registers(void **state)
{
    struct port *port = plug();

    (void)state;
    set(port, UART_LCR, UART_LCR_DLAB | 3);
    set(port, UART_DLL, 12);
    set(port, UART_DLM, 1);
    assert_int_equal(get(port, UART_DLL), 12);
    assert_int_equal(get(port, UART_DLM), 1);
    set(port, UART_LCR, 3);
    assert_int_equal(get(port, UART_LCR), 3);
    assert_int_equal(get(port, UART_IER), 0);
    set(port, UART_IER, 0xff);
    assert_int_equal(get(port, UART_IER), 0x0f);
    set(port, UART_IER, 0);
    set(port, UART_SCR, 0xa5);
    assert_int_equal(get(port, UART_SCR), 0xa5);
    assert_int_equal(get(port, UART_IIR), UART_IIR_NO_INT);
    set(port, UART_FCR, UART_FCR_ENABLE_FIFO);
    assert_int_equal(get(port, UART_IIR), UART_IIR_NO_INT | 0xc0);
    assert_int_equal(get(port, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    /* Linux looks for a port by this. */
    set(port, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
    assert_int_equal(get(port, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
    set(port, UART_TX, 'l');
    assert_int_equal(get(port, UART_LSR) & UART_LSR_DR, UART_LSR_DR);
    assert_int_equal(get(port, UART_RX), 'l');
}

static void
test_interrupts(void **state)
{
    struct port *port = plug();
    const eventfd_t one = 1;

    (void)state;
    set(port, UART_IER, UART_IER_THRI);
    expect_interrupt(port);
    assert_int_equal(get(port, UART_IIR), UART_IIR_THRI);
    assert_int_equal(get(port, UART_IIR), UART_IIR_NO_INT);
    set(port, UART_TX, 'x');
    expect_interrupt(port);
    /* Still a reason at the end of interrupt: again. Without one: not. */
    assert_int_equal(eventfd_write(port->serial.resample, one), 0);
    expect_interrupt(port);
    assert_int_equal(get(port, UART_IIR), UART_IIR_THRI);
    assert_int_equal(eventfd_write(port->serial.resample, one), 0);
    expect_no_interrupt(port);
    set(port, UART_IER, UART_IER_RDI);
    assert_int_equal(write(port->keyboard, "a", 1), 1);
    expect_interrupt(port);
    assert_int_equal(get(port, UART_IIR), UART_IIR_RDI);
    assert_int_equal(get(port, UART_RX), 'a');
    assert_int_equal(get(port, UART_IIR), UART_IIR_NO_INT);
    assert_int_equal(get(port, UART_RX), 0);
}

/*
 * As Linux tells a 16550A from its relatives: the interrupts' register has four bits; a looped-back modem; the FIFO's two bits; and no
 * register of those that have more of them, which would answer behind other values of the line's.
 */
static void
test_probe(void **state)
{
    struct port *port = plug();

    (void)state;
    set(port, UART_IER, 0);
    assert_int_equal(get(port, UART_IER), 0);
    set(port, UART_IER, 0x0f);
    assert_int_equal(get(port, UART_IER), 0x0f);
    set(port, UART_IER, 0x40);
    assert_int_equal(get(port, UART_IER), 0);
    set(port, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
    assert_int_equal(get(port, UART_MSR) & 0xf0, 0x90);
    set(port, UART_MCR, 0);
    set(port, UART_FCR, UART_FCR_ENABLE_FIFO);
    assert_int_equal(get(port, UART_IIR) >> 6, 3);
    set(port, UART_LCR, UART_LCR_CONF_MODE_A);
    assert_int_not_equal(get(port, UART_EFR), 0);
    set(port, UART_LCR, UART_LCR_CONF_MODE_B);
    assert_int_not_equal(get(port, UART_EFR), 0);
    set(port, UART_LCR, 0xe0);
    assert_int_equal(get(port, 2) & UART_MCR_LOOP, 0);
    set(port, UART_LCR, 0);
    set(port, UART_MCR, UART_MCR_LOOP);
    set(port, UART_LCR, 0xe0);
    assert_int_equal(get(port, 2) & UART_MCR_LOOP, 0);
    set(port, UART_LCR, 0);
    set(port, UART_MCR, 0);
    set(port, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
    assert_int_equal(get(port, UART_IIR) >> 5, 6);
    set(port, UART_LCR, UART_LCR_CONF_MODE_A);
    set(port, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
    assert_int_equal(get(port, UART_IIR) >> 5, 6);
    set(port, UART_LCR, 0);
    /* It asks for an empty transmitter twice; the second must be told of, too, or it believes in a bug of the chip's. */
    set(port, UART_IER, UART_IER_THRI);
    assert_int_equal(get(port, UART_IIR) & 0xf, UART_IIR_THRI);
    set(port, UART_IER, 0);
    set(port, UART_IER, UART_IER_THRI);
    assert_int_equal(get(port, UART_IIR) & 0xf, UART_IIR_THRI);
    set(port, UART_IER, 0);
    /* No error and no break on a line that has none. */
    assert_int_equal(get(port, UART_LSR) & UART_LSR_BRK_ERROR_BITS, 0);
    set(port, UART_LCR, UART_LCR_SBC | UART_LCR_WLEN8);
    assert_int_equal(get(port, UART_LCR), UART_LCR_SBC | UART_LCR_WLEN8);
    assert_int_equal(get(port, UART_LSR) & UART_LSR_BRK_ERROR_BITS, 0);
}

/* Emptying the receiver takes what a FIFO holds, and leaves what is still on the line. */
static void
test_clear(void **state)
{
    struct port *port = plug();

    (void)state;
    set(port, UART_IER, UART_IER_RDI);
    assert_int_equal(write(port->keyboard, "0123456789abcdefgh", 18), 18);
    expect_interrupt(port);
    while (port->serial.received.count != 18)
        usleep(1000);
    set(port, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
    assert_int_equal(get(port, UART_RX), 'g');
    assert_int_equal(get(port, UART_RX), 'h');
    assert_int_equal(get(port, UART_IIR) & 0xf, UART_IIR_NO_INT);
}

#define LINES 1000
#define LINE "this is line %04u of what somebody pastes into a terminal, and the guest has it all\n"

static void *
paste(void *context)
{
    const struct port *port = context;

    for (unsigned i = 0; i < LINES; i++)
        assert_true(dprintf(port->keyboard, LINE, i) > 0);
    return NULL;
}

/* As Linux's driver: it sleeps until the interrupt, looks what it is for, reads while there is something, and ends the interrupt. */
static size_t
read_by_interrupt(struct port *port, char *text, size_t room)
{
    size_t size = 0;

    expect_interrupt(port);
    while ((get(port, UART_IIR) & UART_IIR_NO_INT) == 0)
        for (int left = 256; left > 0 && size < room && (get(port, UART_LSR) & UART_LSR_DR) != 0; left--)
            text[size++] = (char)get(port, UART_RX);
    assert_int_equal(eventfd_write(port->serial.resample, 1), 0);
    return size;
}

static void
test_paste(void **state)
{
    static char text[LINES * sizeof LINE], expected[sizeof LINE];
    struct port *port = plug();
    size_t size = 0, at = 0;
    pthread_t typist;

    (void)state;
    for (unsigned i = 0; i < LINES; i++)
        at += (size_t)snprintf(expected, sizeof expected, LINE, i);
    set(port, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_R_TRIG_10);
    set(port, UART_IER, UART_IER_RDI);
    assert_int_equal(pthread_create(&typist, NULL, paste, port), 0);
    while (size < at)
        size += read_by_interrupt(port, text + size, sizeof text - size);
    pthread_join(typist, NULL);
    assert_int_equal(size, at);
    at = 0;
    for (unsigned i = 0; i < LINES; i++) {
        const size_t length = (size_t)snprintf(expected, sizeof expected, LINE, i);

        assert_memory_equal(text + at, expected, length);
        at += length;
    }
    expect_no_interrupt(port);
}

/* Output by interrupts, 16 bytes at a time, as Linux has it for a FIFO of this size. */
static void
test_print_by_interrupt(void **state)
{
    struct port *port = plug();
    unsigned sent = 0, seen = 0;
    uint8_t bytes[4096];

    (void)state;
    set(port, UART_FCR, UART_FCR_ENABLE_FIFO);
    set(port, UART_IER, UART_IER_THRI);
    while (sent < 40000) {
        expect_interrupt(port);
        while ((get(port, UART_IIR) & 0xf) == UART_IIR_THRI && sent < 40000) {
            assert_int_equal(get(port, UART_LSR) & UART_LSR_THRE, UART_LSR_THRE);
            for (int i = 0; i < 16; i++)
                set(port, UART_TX, (uint8_t)(sent++ % 251));
        }
        assert_int_equal(eventfd_write(port->serial.resample, 1), 0);
    }
    while (seen < sent) {
        ssize_t size = read(port->screen, bytes, sizeof bytes);

        assert_true(size > 0);
        for (ssize_t i = 0; i < size; i++)
            assert_int_equal(bytes[i], seen++ % 251);
    }
}

/* A port that nothing is typed into. */
static void
test_no_input(void **state)
{
    struct port *port = malloc(sizeof *port);
    char byte = 0;
    int out[2];

    (void)state;
    assert_non_null(port);
    assert_int_equal(pipe(out), 0);
    assert_int_equal(serial_init(&port->serial, -1, out[1], eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)), 0);
    assert_int_equal(serial_start(&port->serial), 0);
    set(port, UART_IER, UART_IER_RDI);
    expect_no_interrupt(port);
    set(port, UART_TX, 'o');
    assert_int_equal(read(out[0], &byte, 1), 1);
    assert_int_equal(byte, 'o');
    assert_int_equal(get(port, UART_LSR) & UART_LSR_DR, 0);
}

#define MANY 300000

static void *
type_many(void *context)
{
    const struct port *port = context;

    for (unsigned i = 0; i < MANY; i++) {
        const uint8_t byte = (uint8_t)(i % 251);

        assert_int_equal(write(port->keyboard, &byte, 1), 1);
    }
    close(port->keyboard);
    return NULL;
}

static void
test_input_waits(void **state)
{
    struct port *port = plug();
    pthread_t typist;

    (void)state;
    assert_int_equal(pthread_create(&typist, NULL, type_many, port), 0);
    usleep(50000);
    for (unsigned i = 0; i < MANY;) {
        if ((get(port, UART_LSR) & UART_LSR_DR) == 0) {
            usleep(100);
            continue;
        }
        assert_int_equal(get(port, UART_RX), i % 251);
        i++;
    }
    pthread_join(typist, NULL);
}

/* Without a look at the line's status, as a rude guest would; nobody reads at first. */
static void *
print_many(void *context)
{
    struct port *port = context;

    for (unsigned i = 0; i < MANY; i++)
        set(port, UART_TX, (uint8_t)(i % 251));
    return NULL;
}

static void
test_output_waits(void **state)
{
    struct port *port = plug();
    uint8_t bytes[4096];
    pthread_t printer;
    unsigned seen = 0;

    (void)state;
    assert_int_equal(pthread_create(&printer, NULL, print_many, port), 0);
    for (unsigned i = 0; (get(port, UART_LSR) & UART_LSR_THRE) != 0; i++) {
        assert_true(i < 5000);
        usleep(1000);
    }
    serial_flush(&port->serial, 50);
    while (seen < MANY) {
        ssize_t size = read(port->screen, bytes, sizeof bytes);

        assert_true(size > 0);
        for (ssize_t i = 0; i < size; i++)
            assert_int_equal(bytes[i], seen++ % 251);
    }
    pthread_join(printer, NULL);
    serial_flush(&port->serial, 1000);
    assert_int_equal(port->serial.sent.count, 0);
    assert_int_equal(get(port, UART_LSR) & UART_LSR_THRE, UART_LSR_THRE);
}

/* Who listened is gone: the guest goes on. */
static void
test_output_fails(void **state)
{
    struct port *port = plug();

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    close(port->screen);
    for (unsigned i = 0; i < MANY; i++)
        set(port, UART_TX, 'x');
    assert_int_equal(get(port, UART_LSR) & UART_LSR_THRE, UART_LSR_THRE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),    cmocka_unit_test(test_interrupts),   cmocka_unit_test(test_input_waits),
        cmocka_unit_test(test_output_waits), cmocka_unit_test(test_output_fails), cmocka_unit_test(test_probe),
        cmocka_unit_test(test_clear),        cmocka_unit_test(test_paste),        cmocka_unit_test(test_print_by_interrupt),
        cmocka_unit_test(test_no_input),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
