/* microvm's small parts: bus, power registers, keyboard controller, clock, options. */
#include "plugin/microvm/acpi.h"
#include "plugin/microvm/i8042.h"
#include "plugin/microvm/options.h"
#include "plugin/microvm/power.h"
#include "plugin/microvm/rtc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t last_offset;

static void
note_read(void *device, uint64_t offset, uint8_t *data, size_t size)
{
    (void)size;
    last_offset = offset;
    data[0] = *(uint8_t *)device;
}

static void
note_write(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    (void)size;
    last_offset = offset;
    *(uint8_t *)device = data[0];
}

static const struct device_operations notes = { note_read, note_write };

static void
test_bus(void **state)
{
    struct bus bus = { 0 };
    uint8_t port = 1, memory = 2, data[4] = { 9, 9, 9, 9 };

    (void)state;
    assert_int_equal(bus_add(&bus, BUS_SPACE_PORTS, 0x100, 8, &notes, &port), 0);
    assert_int_equal(bus_add(&bus, BUS_SPACE_MEMORY, 0x100, 8, &notes, &memory), 0);
    assert_int_equal(bus_add(&bus, BUS_SPACE_PORTS, 0x107, 1, &notes, &port), -EEXIST);
    assert_int_equal(bus_add(&bus, BUS_SPACE_PORTS, 0xf9, 8, &notes, &port), -EEXIST);
    assert_int_equal(bus_add(&bus, BUS_SPACE_PORTS, 0xf8, 8, &notes, &port), 0);
    assert_int_equal(bus_add(&bus, BUS_SPACE_PORTS, 0x200, 0, &notes, &port), -EINVAL);
    assert_int_equal(bus_add(&bus, BUS_SPACE_MEMORY, UINT64_MAX - 1, 2, &notes, &port), -EINVAL);
    bus_read(&bus, BUS_SPACE_PORTS, 0x107, data, 4);
    assert_memory_equal(data, "\1\0\0\0", 4);
    assert_int_equal(last_offset, 7);
    bus_write(&bus, BUS_SPACE_MEMORY, 0x103, (const uint8_t *)"x", 1);
    assert_int_equal(memory, 'x');
    assert_int_equal(last_offset, 3);
    memset(data, 9, sizeof data);
    bus_read(&bus, BUS_SPACE_PORTS, 0x108, data, 4);
    assert_memory_equal(data, "\0\0\0\0", 4);
    bus_write(&bus, BUS_SPACE_PORTS, 0x108, data, 4);
    assert_int_equal(port, 1);
    while (bus.count < BUS_RANGES_MAX)
        assert_int_equal(bus_add(&bus, BUS_SPACE_PORTS, 0x1000 + bus.count, 1, &notes, &port), 0);
    assert_int_equal(bus_add(&bus, BUS_SPACE_PORTS, 0x300, 1, &notes, &port), -ENOSPC);
}

static enum power_request
after_write(const struct device_operations *operations, uint64_t offset, uint8_t value)
{
    enum power_request asked;
    struct power power;

    assert_int_equal(power_init(&power), 0);
    operations->write(&power, offset, &value, 1);
    asked = power_asked(&power);
    close(power.event);
    return asked;
}

/* Once or twice, it was pressed; and nothing happens where there is no interrupt. */
static void
test_button(void **state)
{
    struct power power;
    eventfd_t count;

    (void)state;
    assert_int_equal(power_init(&power), 0);
    power_press_button(&power);
    power.button = eventfd(0, EFD_NONBLOCK);
    power_press_button(&power);
    power_press_button(&power);
    assert_int_equal(eventfd_read(power.button, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(power_asked(&power), POWER_NONE);
    close(power.button);
    close(power.event);
}

static void
test_power(void **state)
{
    uint8_t code[POWER_RESET_CODE_MAX];
    struct power power;
    uint64_t count;

    (void)state;
    assert_int_equal(after_write(&power_operations, 0, 0x20 | ACPI_SLEEP_TYPE_OFF << 2), POWER_OFF);
    assert_int_equal(after_write(&power_operations, 0, ACPI_SLEEP_TYPE_OFF << 2), POWER_NONE);
    assert_int_equal(after_write(&power_operations, 0, 0x20 | 3 << 2), POWER_NONE);
    assert_int_equal(after_write(&power_operations, 1, 0x80), POWER_NONE);
    assert_int_equal(after_write(&power_operations, 2, ACPI_RESET_VALUE), POWER_RESET);
    assert_int_equal(after_write(&power_operations, 2, 0), POWER_NONE);
    assert_int_equal(after_write(&i8042_operations, 0, 0xfe), POWER_RESET);
    assert_int_equal(after_write(&i8042_operations, 0, 0xd1), POWER_NONE);
    /* The code at the reset vector: mov dx, port; mov al, value; out dx, al: and nothing runs on behind it. */
    memset(code, 0x90, sizeof code);
    power_write_reset_code(code);
    assert_memory_equal(code, "\xba\x02\x06\xb0\x01\xee\xfa\xf4\xeb\xfc\x90", 11);
    /* The first to ask decides. */
    assert_int_equal(power_init(&power), 0);
    power_ask(&power, POWER_RESET);
    power_ask(&power, POWER_OFF);
    assert_int_equal(power_asked(&power), POWER_RESET);
    assert_int_equal(read(power.event, &count, sizeof count), sizeof count);
    assert_int_equal(count, 1);
    close(power.event);
}

/* Thursday, 2026-12-31, 23:05:09. */
static time_t
some_time(void)
{
    return 1798758309;
}

static uint8_t
clock_read(struct rtc *rtc, uint8_t index)
{
    uint8_t byte;

    rtc_operations.write(rtc, 0, &index, 1);
    rtc_operations.read(rtc, 1, &byte, 1);
    return byte;
}

static void
clock_write(struct rtc *rtc, uint8_t index, uint8_t byte)
{
    rtc_operations.write(rtc, 0, &index, 1);
    rtc_operations.write(rtc, 1, &byte, 1);
}

static void
test_clock(void **state)
{
    static const uint8_t decimal[][2] = { { 0, 0x09 }, { 2, 0x05 }, { 4, 0x23 }, { 6, 0x05 },    { 7, 0x31 },
                                          { 8, 0x12 }, { 9, 0x26 }, { 0x32, 0x20 }, { 0x0d, 0x80 } };
    struct rtc rtc;

    (void)state;
    rtc_init(&rtc, some_time);
    for (size_t i = 0; i < sizeof decimal / sizeof decimal[0]; i++)
        assert_int_equal(clock_read(&rtc, decimal[i][0]), decimal[i][1]);
    clock_write(&rtc, 0x0b, 0x06);
    assert_int_equal(clock_read(&rtc, 4), 23);
    assert_int_equal(clock_read(&rtc, 9), 26);
    clock_write(&rtc, 0x0b, 0x00);
    assert_int_equal(clock_read(&rtc, 4), 0x80 | 0x11);
    /* The time is the host's; the rest is memory, and the index wraps. */
    clock_write(&rtc, 0, 0x33);
    assert_int_equal(clock_read(&rtc, 0), 0x09);
    clock_write(&rtc, 0x0d, 0);
    assert_int_equal(clock_read(&rtc, 0x0d), 0x80);
    clock_write(&rtc, 0x7f, 0xab);
    assert_int_equal(clock_read(&rtc, 0xff), 0xab);
}

/* As the C library has it, every 12 hours and some for 240 years. */
static void
test_calendar(void **state)
{
    (void)state;
    for (time_t now = 0; now < 240LL * 366 * 86400; now += 43211) {
        struct tm expected, time;

        rtc_split_time(now, &time);
        assert_non_null(gmtime_r(&now, &expected));
        assert_int_equal(time.tm_sec, expected.tm_sec);
        assert_int_equal(time.tm_min, expected.tm_min);
        assert_int_equal(time.tm_hour, expected.tm_hour);
        assert_int_equal(time.tm_mday, expected.tm_mday);
        assert_int_equal(time.tm_mon, expected.tm_mon);
        assert_int_equal(time.tm_year, expected.tm_year);
        assert_int_equal(time.tm_wday, expected.tm_wday);
    }
}

static void
test_sizes(void **state)
{
    static const char *const wrong[] = { "", "M", "-1", "1Gx", "1T", " 1", "18446744073709551616", "17179869184G", "0x10" };
    uint64_t size;

    (void)state;
    assert_int_equal(options_parse_size("4096", &size), 0);
    assert_int_equal(size, 4096);
    assert_int_equal(options_parse_size("3K", &size), 0);
    assert_int_equal(size, 3072);
    assert_int_equal(options_parse_size("17179869183G", &size), 0);
    assert_int_equal(size, 17179869183ULL << 30);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(options_parse_size(wrong[i], &size), -EINVAL);
}

static int
parse(struct options *options, const char *first, const char *second)
{
    static char words[3][64];
    char *argv[] = { words[0], words[1], words[2], NULL };

    snprintf(words[0], sizeof words[0], "microvm");
    snprintf(words[1], sizeof words[1], "%s", first);
    snprintf(words[2], sizeof words[2], "%s", second == NULL ? "" : second);
    if (second == NULL)
        argv[2] = NULL;
    return options_parse(second == NULL ? 2 : 3, argv, options);
}

static void
test_options(void **state)
{
    static const char *const wrong[][2] = {
        { "--memory", "31M" }, { "--memory", "33554433" }, { "--memory", "1025G" }, { "--memory", NULL },  { "--disk", "" },
        { "--huge-pages", "--memory=33M" }, { "--huge-pages", "--balloon" }, { "--console=x", NULL }, { "--balloon=1", NULL }, { "--cpu-mask", "avx2," }, { "--cpu-mask", "" }, { "--cpu-mask", "avx9" },
        { "--disk", ",ro" },   { "--disk", "a,rw" },       { "--disk", "a,ro,ro" }, { "--what", NULL },    { "word", NULL },
    };
    char disks[OPTIONS_DISKS_MAX + 1][16], *argv[OPTIONS_DISKS_MAX + 4] = { disks[0] };
    char balloon[] = "--balloon", console[] = "--console";
    struct options options;

    (void)state;
    assert_int_equal(parse(&options, "--net", "--memory=32M"), 0);
    assert_true(options.net.present);
    assert_int_equal(options.memory, 32 << 20);
    assert_int_equal(parse(&options, "--disk", "root,ro"), 0);
    assert_int_equal(options.disk_count, 1);
    assert_string_equal(options.disk[0].name, "root");
    assert_true(options.disk[0].read_only);
    assert_false(options.huge_pages);
    assert_int_equal(options.cpu_mask_count, 0);
    assert_int_equal(parse(&options, "--huge-pages", "--memory=34M"), 0);
    assert_true(options.huge_pages);
    assert_int_equal(parse(&options, "--cpu-mask=avx2", "--cpu-mask=7:edx=0x10,1.0:ecx=3"), 0);
    assert_int_equal(options.cpu_mask_count, 3);
    assert_int_equal(options.cpu_mask[2].bits, 3);
    assert_int_equal(parse(&options, "--cmdline", "a b"), 0);
    assert_string_equal(options.command_line, "a b");
    assert_int_equal(parse(&options, "--balloon", NULL), 0);
    assert_true(options.balloon && !options.console);
    assert_string_equal(options.command_line, "console=ttyS0");
    assert_int_equal(parse(&options, "--console", NULL), 0);
    assert_true(options.console && !options.balloon);
    assert_string_equal(options.command_line, "console=hvc0");
    assert_int_equal(parse(&options, "--console", "--cmdline=quiet"), 0);
    assert_string_equal(options.command_line, "quiet");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(parse(&options, wrong[i][0], wrong[i][1]), -EINVAL);
    for (int i = 1; i <= OPTIONS_DISKS_MAX + 1; i++) {
        snprintf(disks[i - 1], sizeof disks[i - 1], "--disk=%d", i);
        argv[i] = disks[i - 1];
        assert_int_equal(options_parse(i + 1, argv, &options), i <= OPTIONS_DISKS_MAX ? 0 : -EINVAL);
    }
    /* Each other device takes a slot, two of which were free. */
    argv[OPTIONS_DISKS_MAX + 1] = balloon;
    assert_int_equal(options_parse(OPTIONS_DISKS_MAX + 2, argv, &options), 0);
    argv[OPTIONS_DISKS_MAX + 2] = console;
    assert_int_equal(options_parse(OPTIONS_DISKS_MAX + 3, argv, &options), -EINVAL);
}

/* What a disk and the card are told besides. */
static void
test_device_options(void **state)
{
    static const char *const wrong[] = {
        "--disk=a,",           "--disk=a,queues=0",     "--disk=a,queues=17",     "--disk=a,queues=x",   "--disk=a,queues=",
        "--disk=a,direct,direct", "--disk=a,serial=",   "--disk=a,serial=123456789012345678901",         "--disk=a,bandwidth=",
        "--disk=a,bandwidth=0", "--disk=a,bandwidth=1:0", "--disk=a,bandwidth=1:", "--disk=a,operations=5G:x", "--disk=a,operations=1:2:3",
        "--vsock=2", "--vsock=4294967295", "--vsock=x", "--vsock=", "--disk=a,bandwidth=17179869183G", "--net=",    "--net=queues=0",         "--net=queues=9",         "--net=fast",          "--net=bandwidth=-1",
    };
    struct options options;
    const struct options_disk *disk = &options.disk[0];

    (void)state;
    assert_int_equal(parse(&options, "--disk=root,direct,queues=16,serial=12345678901234567890", NULL), 0);
    assert_string_equal(disk->name, "root");
    assert_true(disk->direct && !disk->read_only && disk->queues == 16);
    assert_string_equal(disk->serial, "12345678901234567890");
    assert_int_equal(disk->limit.bandwidth.rate + disk->limit.operations.rate, 0);
    assert_int_equal(parse(&options, "--disk=a,bandwidth=10M,operations=5:77,ro", "--net"), 0);
    assert_string_equal(disk->serial, "a");
    assert_true(disk->read_only && !disk->direct && disk->queues == 1);
    assert_int_equal(disk->limit.bandwidth.rate, 10 << 20);
    assert_int_equal(disk->limit.bandwidth.burst, 1 << 20);
    assert_int_equal(disk->limit.operations.rate, 5);
    assert_int_equal(disk->limit.operations.burst, 77);
    assert_int_equal(options.net.limit.bandwidth.rate, 0);
    assert_int_equal(parse(&options, "--net=operations=5,bandwidth=1M:2M", NULL), 0);
    assert_true(options.net.present);
    assert_int_equal(options.net.limit.operations.burst, 1);
    assert_int_equal(options.net.queues, 1);
    assert_int_equal(options.vsock_cid, 0);
    assert_int_equal(parse(&options, "--vsock=3", NULL), 0);
    assert_int_equal(options.vsock_cid, 3);
    assert_int_equal(parse(&options, "--vsock", "4294967294"), 0);
    assert_int_equal(options.vsock_cid, UINT32_MAX - 1);
    /* A second one adds to the first. */
    assert_int_equal(parse(&options, "--net=queues=4", "--net=operations=5"), 0);
    assert_int_equal(options.net.queues, 4);
    assert_int_equal(parse(&options, "--net=operations=5,bandwidth=1M:2M", NULL), 0);
    assert_int_equal(options.net.limit.bandwidth.burst, 2 << 20);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (parse(&options, wrong[i], NULL) != -EINVAL)
            fail_msg("%s was taken", wrong[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bus),       cmocka_unit_test(test_power), cmocka_unit_test(test_button), cmocka_unit_test(test_clock),
        cmocka_unit_test(test_calendar),
        cmocka_unit_test(test_sizes), cmocka_unit_test(test_options),
        cmocka_unit_test(test_device_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
