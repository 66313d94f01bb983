#include "plugin/microvm/serial.h"

#include <errno.h>
#include <limits.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define IDENTIFY_FIFO 0xc0 /* the FIFOs of a 16550A are on */
/* The transmitter is free while this much room is left: a driver that finds it so writes a FIFO full without looking again. */
#define FIFO_SIZE 16

static bool
has_room(const struct serial *serial)
{
    return serial->sent.count <= SERIAL_RING_SIZE - FIFO_SIZE;
}

/* Input is told of from the first byte on, whatever level the FIFO's trigger has: who types is not to wait for a timeout. */
static uint8_t
pending_interrupt(const struct serial *serial)
{
    if ((serial->interrupt_enable & UART_IER_RDI) != 0 && serial->received.count > 0)
        return UART_IIR_RDI;
    if ((serial->interrupt_enable & UART_IER_THRI) != 0 && serial->empty_pending)
        return UART_IIR_THRI;
    return UART_IIR_NO_INT;
}

/* Raises the interrupt when there begins to be one. While it is raised, the end of interrupt makes the thread look again. */
static void
update_interrupt(struct serial *serial)
{
    const bool wanted = pending_interrupt(serial) != UART_IIR_NO_INT;

    if (wanted && !serial->raised)
        eventfd_write(serial->trigger, 1);
    serial->raised = wanted;
}

static void
ring_put(struct serial_ring *ring, uint8_t byte)
{
    ring->bytes[(ring->first + ring->count++) % SERIAL_RING_SIZE] = byte;
}

static void
ring_drop(struct serial_ring *ring, size_t count)
{
    ring->first = (ring->first + count) % SERIAL_RING_SIZE;
    ring->count -= count;
}

/* How many bytes lie in one piece: those there are, or the room for more. */
static size_t
ring_filled_piece(const struct serial_ring *ring)
{
    const size_t to_end = SERIAL_RING_SIZE - ring->first;

    return ring->count < to_end ? ring->count : to_end;
}

static size_t
ring_free_piece(const struct serial_ring *ring, size_t *at)
{
    const size_t room = SERIAL_RING_SIZE - ring->count;

    *at = (ring->first + ring->count) % SERIAL_RING_SIZE;
    return room < SERIAL_RING_SIZE - *at ? room : SERIAL_RING_SIZE - *at;
}

static void
transmit(struct serial *serial, uint8_t byte)
{
    if ((serial->modem_control & UART_MCR_LOOP) != 0) {
        if (serial->received.count < SERIAL_RING_SIZE)
            ring_put(&serial->received, byte);
        return;
    }
    while (serial->sent.count == SERIAL_RING_SIZE && !serial->output_failed)
        pthread_cond_wait(&serial->drained, &serial->lock);
    if (serial->output_failed)
        return;
    ring_put(&serial->sent, byte);
    if (serial->sent.count == 1)
        eventfd_write(serial->wake, 1);
}

static uint8_t
receive(struct serial *serial)
{
    uint8_t byte;

    if (serial->received.count == 0)
        return 0;
    byte = serial->received.bytes[serial->received.first];
    ring_drop(&serial->received, 1);
    if (serial->received.count == SERIAL_RING_SIZE - 1)
        eventfd_write(serial->wake, 1);
    return byte;
}

/* Nothing is connected but what looks ready to talk; looped back, the outputs are the inputs. */
static uint8_t
modem_status(const struct serial *serial)
{
    const uint8_t control = serial->modem_control;

    if ((control & UART_MCR_LOOP) == 0)
        return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
    return (uint8_t)(((control & UART_MCR_RTS) != 0 ? UART_MSR_CTS : 0) | ((control & UART_MCR_DTR) != 0 ? UART_MSR_DSR : 0) |
                     ((control & UART_MCR_OUT1) != 0 ? UART_MSR_RI : 0) | ((control & UART_MCR_OUT2) != 0 ? UART_MSR_DCD : 0));
}

/* Reading which interrupt it is acknowledges an empty transmitter. */
static uint8_t
identify_interrupt(struct serial *serial)
{
    const uint8_t pending = pending_interrupt(serial);

    if (pending == UART_IIR_THRI)
        serial->empty_pending = false;
    return (uint8_t)(pending | (serial->fifo ? IDENTIFY_FIFO : 0));
}

static uint8_t
read_register(struct serial *serial, uint64_t offset)
{
    const bool divisor = (serial->line_control & UART_LCR_DLAB) != 0;

    switch (offset) {
    case UART_RX:
        return divisor ? serial->divisor[0] : receive(serial);
    case UART_IER:
        return divisor ? serial->divisor[1] : serial->interrupt_enable;
    case UART_IIR:
        return identify_interrupt(serial);
    case UART_LCR:
        return serial->line_control;
    case UART_MCR:
        return serial->modem_control;
    case UART_LSR:
        return (uint8_t)((serial->received.count > 0 ? UART_LSR_DR : 0) | (has_room(serial) ? UART_LSR_THRE | UART_LSR_TEMT : 0));
    case UART_MSR:
        return modem_status(serial);
    case UART_SCR:
        return serial->scratch;
    default:
        return 0;
    }
}

static void
write_data(struct serial *serial, uint8_t byte)
{
    transmit(serial, byte);
    serial->empty_pending = has_room(serial);
}

static void
enable_interrupts(struct serial *serial, uint8_t byte)
{
    const uint8_t before = serial->interrupt_enable;

    serial->interrupt_enable = byte & (UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI);
    if ((byte & ~before & UART_IER_THRI) != 0)
        serial->empty_pending = has_room(serial);
}

/* Emptying the transmitter's FIFO is left undone: what is in it counts as sent. */
static void
control_fifo(struct serial *serial, uint8_t byte)
{
    serial->fifo = (byte & UART_FCR_ENABLE_FIFO) != 0;
    if ((byte & UART_FCR_CLEAR_RCVR) != 0) {
        ring_drop(&serial->received, serial->received.count < FIFO_SIZE ? serial->received.count : FIFO_SIZE);
        eventfd_write(serial->wake, 1);
    }
}

static void
write_register(struct serial *serial, uint64_t offset, uint8_t byte)
{
    const bool divisor = (serial->line_control & UART_LCR_DLAB) != 0;

    switch (offset) {
    case UART_TX:
        if (divisor)
            serial->divisor[0] = byte;
        else
            write_data(serial, byte);
        break;
    case UART_IER:
        if (divisor)
            serial->divisor[1] = byte;
        else
            enable_interrupts(serial, byte);
        break;
    case UART_FCR:
        control_fifo(serial, byte);
        break;
    case UART_LCR:
        serial->line_control = byte;
        break;
    case UART_MCR:
        serial->modem_control = byte & (UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_OUT1 | UART_MCR_RTS | UART_MCR_DTR);
        break;
    case UART_SCR:
        serial->scratch = byte;
        break;
    default:
        break;
    }
}

/* An access of several bytes is a string instruction: all of them go to one register. */
static void
serial_read(void *device, uint64_t offset, uint8_t *data, size_t size)
{
    struct serial *serial = device;

    pthread_mutex_lock(&serial->lock);
    for (size_t i = 0; i < size; i++)
        data[i] = read_register(serial, offset);
    update_interrupt(serial);
    pthread_mutex_unlock(&serial->lock);
}

static void
serial_write(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    struct serial *serial = device;

    pthread_mutex_lock(&serial->lock);
    for (size_t i = 0; i < size; i++)
        write_register(serial, offset, data[i]);
    update_interrupt(serial);
    pthread_mutex_unlock(&serial->lock);
}

const struct device_operations serial_operations = { serial_read, serial_write };

/* poll(2) said that there is something to read, so this does not block, and the lock may be held. */
static void
move_input(struct serial *serial)
{
    size_t at, room;
    ssize_t size;

    pthread_mutex_lock(&serial->lock);
    room = ring_free_piece(&serial->received, &at);
    size = room == 0 ? -1 : read(serial->input, serial->received.bytes + at, room);
    if (size > 0)
        serial->received.count += (size_t)size;
    else if (size == 0 || (room != 0 && errno != EAGAIN && errno != EINTR))
        serial->input_ended = true;
    update_interrupt(serial);
    pthread_mutex_unlock(&serial->lock);
}

/* The thread alone takes output. poll(2) said that a pipe has room, which is at least PIPE_BUF: so the write does not block. */
static void
move_output(struct serial *serial)
{
    bool had_room;
    size_t count;
    ssize_t size;

    pthread_mutex_lock(&serial->lock);
    count = ring_filled_piece(&serial->sent);
    pthread_mutex_unlock(&serial->lock);
    size = write(serial->output, serial->sent.bytes + serial->sent.first, count < PIPE_BUF ? count : PIPE_BUF);
    pthread_mutex_lock(&serial->lock);
    had_room = has_room(serial);
    if (size > 0)
        ring_drop(&serial->sent, (size_t)size);
    else if (errno != EAGAIN && errno != EINTR) {
        serial->output_failed = true;
        ring_drop(&serial->sent, serial->sent.count);
    }
    if (!had_room && has_room(serial))
        serial->empty_pending = true;
    update_interrupt(serial);
    pthread_cond_broadcast(&serial->drained);
    pthread_mutex_unlock(&serial->lock);
}

/* The guest is done with the interrupt, and the kernel has lowered it: raised again where there is still a reason. */
static void
end_interrupt(struct serial *serial)
{
    eventfd_t count;

    eventfd_read(serial->resample, &count);
    pthread_mutex_lock(&serial->lock);
    serial->raised = false;
    update_interrupt(serial);
    pthread_mutex_unlock(&serial->lock);
}

static void *
move_bytes(void *context)
{
    struct serial *serial = context;
    struct pollfd polled[4];
    eventfd_t count;

    pthread_setname_np(pthread_self(), "serial");
    for (;;) {
        pthread_mutex_lock(&serial->lock);
        polled[0] = (struct pollfd){ .fd = serial->wake, .events = POLLIN };
        polled[1] = (struct pollfd){ .fd = serial->resample, .events = POLLIN };
        polled[2] = (struct pollfd){ .fd = serial->input, .events = POLLIN };
        polled[3] = (struct pollfd){ .fd = serial->output, .events = POLLOUT };
        if (serial->input_ended || serial->received.count == SERIAL_RING_SIZE)
            polled[2].fd = -1;
        if (serial->sent.count == 0)
            polled[3].fd = -1;
        pthread_mutex_unlock(&serial->lock);
        if (poll(polled, 4, -1) < 0)
            continue;
        if (polled[0].revents != 0)
            eventfd_read(serial->wake, &count);
        if (polled[1].revents != 0)
            end_interrupt(serial);
        if (polled[2].revents != 0)
            move_input(serial);
        if (polled[3].revents != 0)
            move_output(serial);
    }
    return NULL;
}

int
serial_init(struct serial *serial, int input, int output, int trigger, int resample)
{
    *serial = (struct serial){
        .lock = PTHREAD_MUTEX_INITIALIZER, .drained = PTHREAD_COND_INITIALIZER, .input = input, .output = output,
        .trigger = trigger, .resample = resample, .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
    };
    return serial->wake < 0 ? -errno : 0;
}

int
serial_start(struct serial *serial)
{
    pthread_t thread;
    int result = pthread_create(&thread, NULL, move_bytes, serial);

    if (result != 0)
        return -result;
    pthread_detach(thread);
    return 0;
}

void
serial_flush(struct serial *serial, unsigned milliseconds)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&serial->lock);
    while (serial->sent.count > 0 && pthread_cond_timedwait(&serial->drained, &serial->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&serial->lock);
}
