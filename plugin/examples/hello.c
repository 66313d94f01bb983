/*
 * hello: a plugin that emulates a serial port, and a guest that talks through it. The first thing to run, and the example for a device with
 * input, output and an interrupt; the smallest plugin is adder.c.
 *
 * The guest's code is in hello_guest.S. It has 64 KiB of memory, a 16550 at port 0x3f8 with interrupt 4, and a port that ends it.
 */
#define _GNU_SOURCE 1 /* memfd_create(2) */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vmsup-plugin.h>

#define MEMORY_SIZE 0x10000
#define GUEST_ADDRESS 0x1000
#define CPUID_MAX 256

#define POWER_PORT 0xf4
#define SERIAL_PORT 0x3f8
#define SERIAL_PORTS 8
#define SERIAL_IRQ 4

/* Registers of a 16550, from SERIAL_PORT on, and the bits of them that matter here. */
enum {
    SERIAL_DATA,
    SERIAL_INTERRUPT_ENABLE,
    SERIAL_INTERRUPT_ID,
    SERIAL_FIFO_CONTROL = SERIAL_INTERRUPT_ID, /* read and written, it is not the same */
    SERIAL_LINE_CONTROL,
    SERIAL_MODEM_CONTROL,
    SERIAL_LINE_STATUS,
    SERIAL_MODEM_STATUS,
    SERIAL_SCRATCH,
};
#define LINE_CONTROL_DIVISOR 0x80
#define LINE_STATUS_INPUT 0x01
#define LINE_STATUS_SENT 0x60
#define MODEM_STATUS_CONNECTED 0xb0
#define FIFO_CONTROL_ON 0x01
#define INTERRUPT_ENABLE_INPUT 0x01
#define INTERRUPT_ENABLE_SENT 0x02
#define INTERRUPT_ID_NONE 0x01
#define INTERRUPT_ID_SENT 0x02
#define INTERRUPT_ID_INPUT 0x04
#define INTERRUPT_ID_FIFOS 0xc0

/* What says to the guest that no more input will come: control-D, as a terminal's driver has it. */
#define END_OF_INPUT 4
#define INPUT_MAX 256

struct serial {
    struct vmsup_irq *irq;
    /* The rest is shared: by the vCPU's thread, the one that reads input, and the one that follows the interrupt. */
    pthread_mutex_t lock;
    pthread_cond_t room;
    uint8_t interrupt_enable, line_control, modem_control, scratch;
    uint8_t divisor[2];
    bool fifos;
    bool sent; /* what was written has gone out, and the guest was not told yet */
    uint8_t input[INPUT_MAX];
    size_t first, count;
};

__asm__(".section .rodata\n"
        "guest_begin: .incbin \"hello_guest.bin\"\n"
        "guest_end: .previous\n");
extern const uint8_t guest_begin[], guest_end[];

static void
check(int result, const char *what)
{
    if (result >= 0)
        return;
    errno = -result;
    err(1, "%s", what);
}

/* The most urgent of what the guest wants to be told. */
static uint8_t
find_interrupt(const struct serial *serial)
{
    if (serial->count > 0 && (serial->interrupt_enable & INTERRUPT_ENABLE_INPUT) != 0)
        return INTERRUPT_ID_INPUT;
    if (serial->sent && (serial->interrupt_enable & INTERRUPT_ENABLE_SENT) != 0)
        return INTERRUPT_ID_SENT;
    return INTERRUPT_ID_NONE;
}

/* The line then stays raised until the guest acknowledges the interrupt; to raise it twice does nothing. */
static void
update_interrupt(const struct serial *serial)
{
    const uint64_t one = 1;

    if (find_interrupt(serial) != INTERRUPT_ID_NONE && write(vmsup_irq_event_get_fd(serial->irq), &one, sizeof one) < 0)
        warn("the interrupt of the serial port");
}

/* The guest has acknowledged an interrupt: if there is still something to be told, the next one follows. */
static void *
follow_interrupt(void *context)
{
    struct serial *serial = context;
    uint64_t count;

    while (read(vmsup_irq_event_get_resample_fd(serial->irq), &count, sizeof count) == sizeof count) {
        pthread_mutex_lock(&serial->lock);
        update_interrupt(serial);
        pthread_mutex_unlock(&serial->lock);
    }
    return NULL;
}

static void
put_input(struct serial *serial, uint8_t byte)
{
    pthread_mutex_lock(&serial->lock);
    /* A guest that does not read stops whoever types, and nobody else. */
    while (serial->count == INPUT_MAX)
        pthread_cond_wait(&serial->room, &serial->lock);
    serial->input[(serial->first + serial->count++) % INPUT_MAX] = byte;
    update_interrupt(serial);
    pthread_mutex_unlock(&serial->lock);
}

static void *
read_input(void *context)
{
    struct serial *serial = context;
    uint8_t bytes[64];
    ssize_t size;

    while ((size = read(STDIN_FILENO, bytes, sizeof bytes)) > 0)
        for (ssize_t i = 0; i < size; i++)
            put_input(serial, bytes[i]);
    put_input(serial, END_OF_INPUT);
    return NULL;
}

/* 0 where there is none. */
static uint8_t
take_input(struct serial *serial)
{
    uint8_t byte = 0;

    if (serial->count > 0) {
        byte = serial->input[serial->first];
        serial->first = (serial->first + 1) % INPUT_MAX;
        serial->count--;
        pthread_cond_signal(&serial->room);
    }
    return byte;
}

/* To read which interrupt it is tells the guest that all is sent, but not yet what the input is. */
static uint8_t
take_interrupt(struct serial *serial)
{
    const uint8_t id = find_interrupt(serial);

    if (id == INTERRUPT_ID_SENT)
        serial->sent = false;
    return (uint8_t)(id | (serial->fifos ? INTERRUPT_ID_FIFOS : 0));
}

static uint8_t
serial_read(struct serial *serial, unsigned reg)
{
    const bool divisor = (serial->line_control & LINE_CONTROL_DIVISOR) != 0;

    switch (reg) {
    case SERIAL_DATA:
        return divisor ? serial->divisor[0] : take_input(serial);
    case SERIAL_INTERRUPT_ENABLE:
        return divisor ? serial->divisor[1] : serial->interrupt_enable;
    case SERIAL_INTERRUPT_ID:
        return take_interrupt(serial);
    case SERIAL_LINE_CONTROL:
        return serial->line_control;
    case SERIAL_MODEM_CONTROL:
        return serial->modem_control;
    case SERIAL_LINE_STATUS:
        return (uint8_t)(LINE_STATUS_SENT | (serial->count > 0 ? LINE_STATUS_INPUT : 0));
    case SERIAL_MODEM_STATUS:
        return MODEM_STATUS_CONNECTED;
    case SERIAL_SCRATCH:
        return serial->scratch;
    default:
        return 0;
    }
}

static void
send_byte(struct serial *serial, uint8_t byte)
{
    if (write(STDOUT_FILENO, &byte, 1) < 0)
        err(1, "standard output");
    serial->sent = true;
    update_interrupt(serial);
}

static void
enable_interrupts(struct serial *serial, uint8_t which)
{
    if ((which & INTERRUPT_ENABLE_SENT) != 0 && (serial->interrupt_enable & INTERRUPT_ENABLE_SENT) == 0)
        serial->sent = true;
    serial->interrupt_enable = which & 0x0f;
    update_interrupt(serial);
}

static void
serial_write(struct serial *serial, unsigned reg, uint8_t byte)
{
    const bool divisor = (serial->line_control & LINE_CONTROL_DIVISOR) != 0;

    switch (reg) {
    case SERIAL_DATA:
        if (divisor)
            serial->divisor[0] = byte;
        else
            send_byte(serial, byte);
        break;
    case SERIAL_INTERRUPT_ENABLE:
        if (divisor)
            serial->divisor[1] = byte;
        else
            enable_interrupts(serial, byte);
        break;
    case SERIAL_FIFO_CONTROL:
        /* It may also ask to forget the input; but nobody would type it again. */
        serial->fifos = (byte & FIFO_CONTROL_ON) != 0;
        break;
    case SERIAL_LINE_CONTROL:
        serial->line_control = byte;
        break;
    case SERIAL_MODEM_CONTROL:
        serial->modem_control = byte;
        break;
    case SERIAL_SCRATCH:
        serial->scratch = byte;
        break;
    default:
        break;
    }
}

/* Guest memory is a memfd that can no longer shrink: the host takes no other. */
static void
make_memory(struct vmsup *vm)
{
    const size_t size = (size_t)(guest_end - guest_begin);
    struct vmsup_memory *memory;
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, MEMORY_SIZE) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
        pwrite(fd, guest_begin, size, GUEST_ADDRESS) != (ssize_t)size)
        err(1, "guest memory");
    check(vmsup_create_memory(vm, fd, 0, MEMORY_SIZE, 0, false, false, &memory), "create_memory");
    close(fd);
}

/* The processor as KVM can show it; without this the guest sees one without a name or a feature. */
static void
set_processor(struct vmsup *vm, struct vmsup_vcpu *vcpu)
{
    static struct kvm_cpuid_entry2 entries[CPUID_MAX];
    uint32_t count;

    check(vmsup_get_supported_cpuid(vm, CPUID_MAX, entries, &count), "get_supported_cpuid");
    check(vmsup_vcpu_set_cpuid(vcpu, count, entries), "set_cpuid");
}

/* The first event of a vCPU: where it begins. */
static void
enter_guest(struct vmsup *vm, struct vmsup_vcpu *vcpu)
{
    const struct kvm_regs regs = { .rip = 0, .rflags = 2 };
    struct vmsup_vcpu_event event;
    struct kvm_sregs sregs;

    check(vmsup_vcpu_wait(vcpu, &event), "wait");
    set_processor(vm, vcpu);
    check(vmsup_vcpu_get_sregs(vcpu, &sregs), "get_sregs");
    sregs.cs.base = GUEST_ADDRESS;
    sregs.cs.selector = GUEST_ADDRESS >> 4;
    check(vmsup_vcpu_set_sregs(vcpu, &sregs), "set_sregs");
    check(vmsup_vcpu_set_regs(vcpu, &regs), "set_regs");
    check(vmsup_vcpu_resume(vcpu), "resume");
}

/* No vCPU enters the guest before every one has been resumed from its first event; this guest uses one, the others wait to be woken. */
static void
release_other_vcpus(struct vmsup *vm)
{
    struct vmsup_vcpu_event event;
    struct vmsup_vcpu *vcpu;

    for (uint32_t i = 1; vmsup_get_vcpu(vm, i, &vcpu) == 0; i++) {
        check(vmsup_vcpu_wait(vcpu, &event), "wait");
        check(vmsup_vcpu_resume(vcpu), "resume");
    }
}

static void
answer_access(struct serial *serial, const struct vmsup_vcpu_event *event)
{
    const unsigned reg = (unsigned)(event->io_access.address - SERIAL_PORT);
    uint8_t *data = event->io_access.data;

    if (event->io_access.address == POWER_PORT && event->io_access.is_write)
        exit(data[0]);
    if (event->io_access.address < SERIAL_PORT || reg >= SERIAL_PORTS)
        return;
    pthread_mutex_lock(&serial->lock);
    /* More than one byte: the guest's `rep outsb` or `rep insb`, each byte of which is for the same register. */
    for (uint32_t i = 0; i < event->io_access.length; i++) {
        if (event->io_access.is_write)
            serial_write(serial, reg, data[i]);
        else
            data[i] = serial_read(serial, reg);
    }
    pthread_mutex_unlock(&serial->lock);
}

int
main(void)
{
    static struct serial serial = { .lock = PTHREAD_MUTEX_INITIALIZER, .room = PTHREAD_COND_INITIALIZER };
    struct vmsup_vcpu_event event;
    struct vmsup_vcpu *vcpu;
    struct vmsup *vm;
    pthread_t reader, follower;

    check(vmsup_connect(&vm), "connect");
    make_memory(vm);
    check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, SERIAL_PORT, SERIAL_PORTS), "the serial port");
    check(vmsup_reserve_range(vm, VMSUP_ADDRESS_SPACE_IOPORT, POWER_PORT, 1), "the power port");
    check(vmsup_create_irq_event(vm, SERIAL_IRQ, &serial.irq), "the interrupt");
    check(vmsup_get_vcpu(vm, 0, &vcpu), "get_vcpu");
    check(vmsup_start(vm), "start");
    release_other_vcpus(vm);
    enter_guest(vm, vcpu);
    if (pthread_create(&reader, NULL, read_input, &serial) != 0 ||
        pthread_create(&follower, NULL, follow_interrupt, &serial) != 0)
        errx(1, "no threads for the serial port");
    /* A wait that fails: the VM is ending. */
    while (vmsup_vcpu_wait(vcpu, &event) == 0) {
        if (event.kind == VMSUP_VCPU_EVENT_KIND_IO_ACCESS)
            answer_access(&serial, &event);
        check(vmsup_vcpu_resume(vcpu), "resume");
    }
    return 0;
}
