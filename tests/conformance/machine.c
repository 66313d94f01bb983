#include "machine.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

__asm__(".section .rodata\n"
        "image_begin: .incbin \"guests.bin\"\n"
        "image_end: .previous\n");
extern const uint8_t image_begin[], image_end[];

static const struct conformance_case *const tables[] = {
    cases_connection, cases_objects, cases_ranges, cases_interrupts, cases_devices, cases_vcpu, cases_hyperv, cases_facts, cases_life,
};

void
skip(const char *why)
{
    fprintf(stderr, "skipped: %s\n", why);
    exit(77);
}

int
make_memfd(size_t size)
{
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    check(fd >= 0);
    check_equal(ftruncate(fd, (off_t)size), 0);
    check_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    return fd;
}

void
machine_open(struct machine *machine)
{
    memset(machine, 0, sizeof *machine);
    check_equal(crosvm_connect(&machine->vm), 0);
    machine->memory_fd = make_memfd(MEMORY_SIZE);
    machine->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, machine->memory_fd, 0);
    check(machine->memory != MAP_FAILED);
    memcpy(machine->memory + IMAGE_ADDRESS, image_begin, (size_t)(image_end - image_begin));
    check_equal(crosvm_create_memory(machine->vm, machine->memory_fd, 0, MEMORY_SIZE, 0, false, false, &machine->slot), 0);
    check_equal(crosvm_reserve_range(machine->vm, CROSVM_ADDRESS_SPACE_IOPORT, PORT_FIRST, PORT_COUNT), 0);
    check_equal(crosvm_get_vcpu(machine->vm, 0, &machine->vcpu), 0);
}

void
machine_open_at_init(struct machine *machine)
{
    machine_open(machine);
    check_equal(crosvm_start(machine->vm), 0);
    check_equal(crosvm_vcpu_wait(machine->vcpu, &machine->event), 0);
    check_equal(machine->event.kind, CROSVM_VCPU_EVENT_KIND_INIT);
}

void
machine_enter(struct machine *machine, struct crosvm_vcpu *vcpu, unsigned guest)
{
    struct kvm_regs regs = { .rip = IMAGE_ADDRESS + guest, .rsp = 0x7000, .rflags = 2 };
    struct kvm_sregs sregs;

    (void)machine;
    check_equal(crosvm_vcpu_get_sregs(vcpu, &sregs), 0);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    check_equal(crosvm_vcpu_set_sregs(vcpu, &sregs), 0);
    check_equal(crosvm_vcpu_set_regs(vcpu, &regs), 0);
    check_equal(crosvm_vcpu_resume(vcpu), 0);
}

void
machine_enter_protected(struct machine *machine, struct crosvm_vcpu *vcpu, unsigned guest)
{
    struct kvm_regs regs = { .rip = IMAGE_ADDRESS + guest, .rsp = 0x7000, .rflags = 2 };
    struct kvm_segment flat = { .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1 };
    struct kvm_sregs sregs;

    (void)machine;
    check_equal(crosvm_vcpu_get_sregs(vcpu, &sregs), 0);
    sregs.cr0 |= 1;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
    flat.selector = 8;
    flat.type = 11;
    sregs.cs = flat;
    check_equal(crosvm_vcpu_set_sregs(vcpu, &sregs), 0);
    check_equal(crosvm_vcpu_set_regs(vcpu, &regs), 0);
    check_equal(crosvm_vcpu_resume(vcpu), 0);
}

void
machine_start(struct machine *machine, unsigned guest)
{
    check_equal(crosvm_start(machine->vm), 0);
    check_equal(crosvm_vcpu_wait(machine->vcpu, &machine->event), 0);
    check_equal(machine->event.kind, CROSVM_VCPU_EVENT_KIND_INIT);
    machine_enter(machine, machine->vcpu, guest);
}

void
machine_expect(struct machine *machine, uint64_t address, bool is_write, uint32_t length)
{
    check_equal(crosvm_vcpu_wait(machine->vcpu, &machine->event), 0);
    check_equal(machine->event.kind, CROSVM_VCPU_EVENT_KIND_IO_ACCESS);
    check_equal(machine->event.io_access.address, address);
    check_equal(machine->event.io_access.is_write, is_write);
    check_equal(machine->event.io_access.length, length);
}

void
machine_resume(struct machine *machine)
{
    check_equal(crosvm_vcpu_resume(machine->vcpu), 0);
}

void
machine_answer(struct machine *machine, uint64_t address, uint32_t length, uint64_t value)
{
    machine_expect(machine, address, false, length);
    memcpy(machine->event.io_access.data, &value, length);
    machine_resume(machine);
}

uint64_t
machine_take(struct machine *machine, uint64_t address, uint32_t length)
{
    uint64_t value = 0;

    machine_expect(machine, address, true, length);
    memcpy(&value, machine->event.io_access.data, length);
    if (machine->event.io_access.no_resume == 0)
        machine_resume(machine);
    return value;
}

void
machine_finish(struct machine *machine)
{
    machine_expect(machine, PORT_END, true, 1);
}

bool
becomes_readable(int fd, int milliseconds)
{
    struct pollfd one = { .fd = fd, .events = POLLIN };

    return poll(&one, 1, milliseconds) == 1 && (one.revents & POLLIN) != 0;
}

uint64_t
read_event(int fd)
{
    uint64_t value = 0;

    check_equal(read(fd, &value, sizeof value), sizeof value);
    return value;
}

void
write_event(int fd)
{
    const uint64_t one = 1;

    check_equal(write(fd, &one, sizeof one), sizeof one);
}

/* The first process of a pid namespace does not die of a signal without a handler. */
static void
on_time_over(int number)
{
    static const char text[] = "the case took too long\n";

    (void)number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(1);
    _exit(1);
}

static void
limit_time(void)
{
    const struct itimerval limit = { .it_value.tv_sec = CASE_SECONDS };

    signal(SIGALRM, on_time_over);
    setitimer(ITIMER_REAL, &limit, NULL);
}

int
main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        for (const struct conformance_case *each = tables[i]; each->name != NULL; each++) {
            if (argc == 1) {
                puts(each->name);
            } else if (strcmp(argv[1], each->name) == 0) {
                limit_time();
                each->function();
                return 0;
            }
        }
    }
    return argc == 1 ? 0 : 64;
}
