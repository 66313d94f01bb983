/* Memory and io events. */
#include "machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 0x1000u

static void
create_memory_is_seen_by_the_guest(void)
{
    struct machine machine;

    machine_open(&machine);
    machine.memory[0x9000] = 0x5a;
    machine_start(&machine, GUEST_MEMORY);
    machine_answer(&machine, 0x500, 1, 0x77);
    check_equal(machine_take(&machine, 0x501, 1), 0x5a);
    check_equal(machine.memory[0x8000], 0x77);
}

static void
create_memory_refuses_what_is_wrong(void)
{
    struct machine machine;
    struct crosvm_memory *memory;
    int fd, unsealed, pipe_ends[2];

    machine_open(&machine);
    fd = make_memfd(4 * PAGE);
    unsealed = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    check_equal(ftruncate(unsealed, 4 * PAGE), 0);
    check_equal(pipe(pipe_ends), 0);
    check_equal(crosvm_create_memory(machine.vm, unsealed, 0, PAGE, 0x100000, false, false, &memory), -EPERM);
    check_equal(crosvm_create_memory(machine.vm, pipe_ends[0], 0, PAGE, 0x100000, false, false, &memory), -EINVAL);
    check_equal(crosvm_create_memory(machine.vm, -1, 0, PAGE, 0x100000, false, false, &memory), -EBADF);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, 5 * PAGE, 0x100000, false, false, &memory), -EINVAL);
    check_equal(crosvm_create_memory(machine.vm, fd, PAGE, 4 * PAGE, 0x100000, false, false, &memory), -EINVAL);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, 0, 0x100000, false, false, &memory), -EINVAL);
    check_equal(crosvm_create_memory(machine.vm, fd, 1, PAGE, 0x100000, false, false, &memory), -EINVAL);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, 100, 0x100000, false, false, &memory), -EINVAL);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, PAGE, 0x100001, false, false, &memory), -EINVAL);
    check_equal(crosvm_create_memory(machine.vm, fd, ~UINT64_C(0xfff), 2 * PAGE, 0, false, false, &memory), -EOVERFLOW);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, 2 * PAGE, ~UINT64_C(0xfff), false, false, &memory), -EOVERFLOW);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, PAGE, 0x8000, false, false, &memory), -EEXIST);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, PAGE, 0x100000, false, false, &memory), 0);
    check_equal(crosvm_destroy_memory(machine.vm, &memory), 0);
    check(memory == NULL);
}

/* What is taken away becomes a device's: the guest's accesses come as events. */
static void
destroy_memory_takes_it_from_the_guest(void)
{
    struct machine machine;
    struct crosvm_memory *memory;
    int fd = make_memfd(PAGE);

    machine_open(&machine);
    check_equal(crosvm_reserve_range(machine.vm, CROSVM_ADDRESS_SPACE_MMIO, MMIO_ADDRESS, PAGE), 0);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, PAGE, MMIO_ADDRESS, false, false, &memory), 0);
    check_equal(crosvm_destroy_memory(machine.vm, &memory), 0);
    check(memory == NULL);
    machine_start(&machine, GUEST_MMIO);
    machine_answer(&machine, MMIO_ADDRESS, 1, 1);
    check_equal(machine_take(&machine, MMIO_ADDRESS + 4, 1), 1);
    machine_take(&machine, MMIO_ADDRESS + 8, 2);
    machine_finish(&machine);
    /* Its place and its slot are free again. */
    for (int i = 0; i < 600; i++) {
        check_equal(crosvm_create_memory(machine.vm, fd, 0, PAGE, 0x100000, false, false, &memory), 0);
        check_equal(crosvm_destroy_memory(machine.vm, &memory), 0);
    }
}

static void
read_only_memory_makes_writes_events(void)
{
    struct machine machine;
    struct crosvm_memory *memory;
    int fd = make_memfd(PAGE);
    const uint8_t byte = 0x42;

    machine_open(&machine);
    check_equal(pwrite(fd, &byte, 1, 0), 1);
    check_equal(crosvm_reserve_range(machine.vm, CROSVM_ADDRESS_SPACE_MMIO, MMIO_ADDRESS, PAGE), 0);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, PAGE, MMIO_ADDRESS, true, false, &memory), 0);
    machine_start(&machine, GUEST_MMIO);
    /* The read is the memory's, and no event. */
    check_equal(machine_take(&machine, MMIO_ADDRESS + 4, 1), 0x42);
    machine_take(&machine, MMIO_ADDRESS + 8, 2);
    machine_finish(&machine);
}

static void
memory_get_dirty_log_shows_and_clears(void)
{
    struct machine machine;
    struct crosvm_memory *memory;
    uint8_t log[2];
    int fd = make_memfd(9 * PAGE);

    machine_open(&machine);
    check_equal(crosvm_memory_get_dirty_log(machine.vm, machine.slot, log), -ENOENT);
    check_equal(crosvm_destroy_memory(machine.vm, &machine.slot), 0);
    check_equal(crosvm_create_memory(machine.vm, machine.memory_fd, 0, MEMORY_SIZE, 0, false, true, &machine.slot), 0);
    check_equal(crosvm_create_memory(machine.vm, fd, 0, 9 * PAGE, 0x100000, false, true, &memory), 0);
    machine_start(&machine, GUEST_MEMORY);
    machine_expect(&machine, 0x500, false, 1);
    check_equal(crosvm_memory_get_dirty_log(machine.vm, machine.slot, log), 0);
    machine_resume(&machine);
    machine_take(&machine, 0x501, 1);
    machine_expect(&machine, 0x500, false, 1);
    check_equal(crosvm_memory_get_dirty_log(machine.vm, machine.slot, log), 0);
    /* Written to: page 8. Page 9 was read, and a kernel may count what it maps writable. */
    check_equal(log[0], 0);
    check_equal(log[1] & ~2, 1);
    check_equal(crosvm_memory_get_dirty_log(machine.vm, machine.slot, log), 0);
    check_equal(log[1], 0);
    /* Nine pages: two bytes exactly. */
    log[0] = log[1] = 0xff;
    check_equal(crosvm_memory_get_dirty_log(machine.vm, memory, log), 0);
    check_equal(log[0] | log[1], 0);
}

static void
create_io_event_counts_writes(void)
{
    struct machine machine;
    struct crosvm_io *any, *seven, *word, *nothing;
    const uint8_t value[8] = { 7 }, word_value[8] = { 0x34, 0x12 }, other[8] = { 9 };

    machine_open(&machine);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x590, 1, value, &seven), 0);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x590, 1, value, &any), -EEXIST);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x590, 3, value, &any), -EINVAL);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x590, 1, other, &nothing), 0);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x590, 2, word_value, &word), 0);
    machine_start(&machine, GUEST_DOORBELLS);
    machine_finish(&machine);
    check_equal(read_event(crosvm_io_event_fd(seven)), 3);
    check_equal(read_event(crosvm_io_event_fd(word)), 1);
    check(!becomes_readable(crosvm_io_event_fd(nothing), 0));
}

static void
io_event_of_any_length_or_value(void)
{
    struct machine machine;
    struct crosvm_io *any_length, *any_value;

    machine_open(&machine);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x590, 1, NULL, &any_value), 0);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_MMIO, MMIO_ADDRESS, 0, NULL, &any_length), 0);
    machine_start(&machine, GUEST_DOORBELLS);
    machine_finish(&machine);
    check_equal(read_event(crosvm_io_event_fd(any_value)), 4);
    check(!becomes_readable(crosvm_io_event_fd(any_length), 0));
}

static void
io_event_on_memory_addresses(void)
{
    struct machine machine;
    struct crosvm_io *any;

    machine_open(&machine);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_MMIO, MMIO_ADDRESS + 4, 0, NULL, &any), 0);
    machine_start(&machine, GUEST_MMIO);
    machine_finish(&machine);
    check_equal(read_event(crosvm_io_event_fd(any)), 1);
}

static void
destroy_io_event_ends_it(void)
{
    struct machine machine;
    struct crosvm_io *io;

    machine_open(&machine);
    check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x501, 1, NULL, &io), 0);
    check_equal(crosvm_destroy_io_event(machine.vm, &io), 0);
    check(io == NULL);
    machine_start(&machine, GUEST_PORTS);
    machine_answer(&machine, 0x500, 1, 0x12);
    /* It would have been swallowed. */
    check_equal(machine_take(&machine, 0x501, 1), 0x12);
}

static uint64_t
look_through_window(struct machine *machine)
{
    machine_answer(machine, 0x500, 1, 0);
    return machine_take(machine, 0x501, 1);
}

static void
objects_come_and_go_while_the_guest_runs(void)
{
    struct machine machine;
    struct crosvm_memory *memory;
    struct crosvm_io *io;
    int fd = make_memfd(PAGE);
    const uint8_t byte = 0x42;

    machine_open(&machine);
    check_equal(pwrite(fd, &byte, 1, 0), 1);
    machine_start(&machine, GUEST_WINDOW);
    for (int round = 0; round < 5; round++) {
        check_equal(look_through_window(&machine), 0);
        check_equal(crosvm_create_memory(machine.vm, fd, 0, PAGE, MMIO_ADDRESS, false, false, &memory), 0);
        check_equal(look_through_window(&machine), 0x42);
        check_equal(crosvm_create_io_event(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x501, 1, &byte, &io), 0);
        machine_answer(&machine, 0x500, 1, 0);
        machine_expect(&machine, 0x500, false, 1);
        check_equal(read_event(crosvm_io_event_fd(io)), 1);
        check_equal(crosvm_destroy_io_event(machine.vm, &io), 0);
        machine_resume(&machine);
        check_equal(machine_take(&machine, 0x501, 1), 0x42);
        check_equal(crosvm_destroy_memory(machine.vm, &memory), 0);
    }
}

const struct conformance_case cases_objects[] = {
    { "create_memory_is_seen_by_the_guest", create_memory_is_seen_by_the_guest },
    { "create_memory_refuses_what_is_wrong", create_memory_refuses_what_is_wrong },
    { "destroy_memory_takes_it_from_the_guest", destroy_memory_takes_it_from_the_guest },
    { "read_only_memory_makes_writes_events", read_only_memory_makes_writes_events },
    { "memory_get_dirty_log_shows_and_clears", memory_get_dirty_log_shows_and_clears },
    { "create_io_event_counts_writes", create_io_event_counts_writes },
    { "io_event_of_any_length_or_value", io_event_of_any_length_or_value },
    { "io_event_on_memory_addresses", io_event_on_memory_addresses },
    { "destroy_io_event_ends_it", destroy_io_event_ends_it },
    { "objects_come_and_go_while_the_guest_runs", objects_come_and_go_while_the_guest_runs },
    { 0 },
};
