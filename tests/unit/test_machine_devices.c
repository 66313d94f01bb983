/* Which devices microvm makes of its options, on a library that the test plays: where they are, which interrupts they have. */
#include "plugin/microvm/devices.h"
#include "plugin/microvm/layout.h"
#include "tests/unit/microvm_fake.h"

#include <linux/virtio_mmio.h>

#define MIB (1ULL << 20)

/* Machines live as long as the process, each with all that it has: a test has one of its own. */
static struct machine machine[8];
static struct devices devices;

static void
create_machine(struct machine *created, const struct options *options)
{
    const char *what;

    fake_reset(1);
    assert_int_equal(machine_create(created, options, &what), 0);
}

static bool
has_range(uint32_t space, uint64_t start, uint64_t length)
{
    for (size_t i = 0; i < fake.range_count; i++)
        if (fake.range[i].kind == space && fake.range[i].start == start && fake.range[i].length == length)
            return true;
    return false;
}

static size_t
interrupts(uint32_t gsi)
{
    size_t count = 0;

    for (size_t i = 0; i < fake.irq_count; i++)
        count += fake.irq[i].note.kind == gsi;
    return count;
}

/* No two of them overlap, and every interrupt is one device's. */
static void
check_apart(void)
{
    for (size_t i = 0; i < fake.range_count; i++)
        for (size_t j = 0; j < i; j++)
            if (fake.range[i].kind == fake.range[j].kind)
                assert_true(fake.range[i].start + fake.range[i].length <= fake.range[j].start ||
                            fake.range[j].start + fake.range[j].length <= fake.range[i].start);
    for (size_t i = 0; i < fake.irq_count; i++)
        assert_int_equal(interrupts(fake.irq[i].note.kind), 1);
}

static void
check_virtio(uint32_t count)
{
    assert_int_equal(devices.virtio_count, count);
    for (uint32_t slot = 0; slot < LAYOUT_VIRTIO_SLOTS; slot++)
        assert_int_equal(interrupts(LAYOUT_VIRTIO_GSI(slot)), slot < count ? 1 : 0);
    for (size_t i = 0; i < fake.io_count; i++) {
        assert_int_equal(fake.io[i].note.kind, VMSUP_ADDRESS_SPACE_MMIO);
        assert_true(fake.io[i].note.start >= LAYOUT_VIRTIO_START);
        assert_true(fake.io[i].note.start < LAYOUT_VIRTIO_START + count * LAYOUT_VIRTIO_LENGTH);
    }
}

/* Without any option there are the platform's devices and the entropy device. */
static void
test_platform(void **state)
{
    const struct options options = { .memory = 32 * MIB };
    const char *what;

    (void)state;
    create_machine(&machine[0], &options);
    assert_int_equal(devices_create(&devices, &machine[0], &options, &what), 0);
    assert_true(has_range(VMSUP_ADDRESS_SPACE_IOPORT, LAYOUT_SERIAL, LAYOUT_SERIAL_LENGTH));
    assert_true(has_range(VMSUP_ADDRESS_SPACE_IOPORT, LAYOUT_RTC, LAYOUT_RTC_LENGTH));
    assert_true(has_range(VMSUP_ADDRESS_SPACE_IOPORT, LAYOUT_I8042_COMMAND, 1));
    assert_true(has_range(VMSUP_ADDRESS_SPACE_IOPORT, LAYOUT_POWER, LAYOUT_POWER_LENGTH));
    assert_int_equal(interrupts(LAYOUT_SERIAL_GSI), 1);
    check_virtio(1);
    check_apart();
}

static void
test_disk(void **state)
{
    struct options options = { .memory = 32 * MIB, .disk = { { .name = "disk0", .serial = "disk0", .queues = 1 } }, .disk_count = 1 };
    const char *what = NULL;

    (void)state;
    create_machine(&machine[1], &options);
    assert_int_equal(devices_create(&devices, &machine[1], &options, &what), -ENOENT);
    assert_null(what);
    create_machine(&machine[1], &options);
    fake.granted = "disk0";
    fake.granted_fd = memfd_create("disk", MFD_CLOEXEC);
    assert_true(fake.granted_fd >= 0);
    assert_int_equal(ftruncate(fake.granted_fd, MIB), 0);
    assert_int_equal(devices_create(&devices, &machine[1], &options, &what), 0);
    check_virtio(2);
    check_apart();
}

/* As many as there is room for, and one more. */
static void
test_all_slots(void **state)
{
    struct options options = { .memory = 32 * MIB, .disk_count = OPTIONS_DISKS_MAX, .balloon = true };
    const char *what = NULL;

    (void)state;
    for (size_t i = 0; i < options.disk_count; i++)
        options.disk[i] = (struct options_disk){ .name = "disk", .serial = "disk", .queues = 1 };
    for (int i = 6; i < 8; i++) {
        create_machine(&machine[i], &options);
        fake.granted = "disk";
        fake.granted_fd = memfd_create("disk", MFD_CLOEXEC);
        assert_true(fake.granted_fd >= 0);
        assert_int_equal(devices_create(&devices, &machine[i], &options, &what), options.console ? -ENOSPC : 0);
        check_virtio(LAYOUT_VIRTIO_SLOTS);
        check_apart();
        options.console = true;
    }
    assert_string_equal(what, "the memory balloon");
}

/* What is no TAP is no network. */
static void
test_net(void **state)
{
    const struct options options = { .memory = 32 * MIB, .net = { .present = true, .queues = 1 } };
    const char *what = NULL;

    (void)state;
    create_machine(&machine[2], &options);
    fake.tap = eventfd(0, EFD_CLOEXEC);
    assert_true(devices_create(&devices, &machine[2], &options, &what) < 0);
    assert_string_equal(what, "the network card");
    close(fake.tap);
}

/* Behind the others, also where no program of the host's can reach it. */
static void
test_vsock(void **state)
{
    const struct options options = { .memory = 32 * MIB, .vsock_cid = 3 };
    const char *what;

    (void)state;
    create_machine(&machine[3], &options);
    unsetenv("VMSUP_FDS");
    assert_int_equal(devices_create(&devices, &machine[3], &options, &what), 0);
    check_virtio(2);
    check_apart();
}

/* Each is one more, and the serial port leaves what is typed to the console. */
static void
test_console_and_balloon(void **state)
{
    struct options options = { .memory = 32 * MIB, .balloon = true };
    const char *what;

    (void)state;
    create_machine(&machine[4], &options);
    assert_int_equal(devices_create(&devices, &machine[4], &options, &what), 0);
    assert_non_null(devices.balloon);
    devices.host.balloon.set(devices.host.balloon.context, 3 * 4096);
    /* The guest finds it as it comes up. */
    bus_write(&machine[4].bus, BUS_SPACE_MEMORY, LAYOUT_VIRTIO_START + LAYOUT_VIRTIO_LENGTH + VIRTIO_MMIO_STATUS,
              (const uint8_t *)"\1\0\0\0", 4);
    assert_int_equal(devices.virtio_pages[(LAYOUT_VIRTIO_LENGTH + VIRTIO_MMIO_CONFIG) / sizeof(uint32_t)], 3);
    devices.host.balloon.ask(devices.host.balloon.context);
    assert_int_equal(devices.serial.input, STDIN_FILENO);
    check_virtio(2);
    check_apart();
    options.console = true;
    create_machine(&machine[5], &options);
    assert_int_equal(devices_create(&devices, &machine[5], &options, &what), 0);
    assert_int_equal(devices.serial.input, -1);
    assert_int_equal(devices.serial.output, STDOUT_FILENO);
    check_virtio(3);
    check_apart();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_platform), cmocka_unit_test(test_disk), cmocka_unit_test(test_net), cmocka_unit_test(test_vsock),
        cmocka_unit_test(test_console_and_balloon), cmocka_unit_test(test_all_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
