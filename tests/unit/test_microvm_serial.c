/* The serial port of microvm: registers, interrupts, and that no byte is lost either way. */
#include "plugin/microvm/serial.h"

#include <linux/serial_reg.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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
    usleep(100000);
    assert_int_equal(get(port, UART_LSR) & UART_LSR_THRE, 0);
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
        cmocka_unit_test(test_output_waits), cmocka_unit_test(test_output_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
