/*
 * The machine's own devices, serial port, clock, keyboard controller and power registers, on their bus, under a guest that reads and
 * writes anything anywhere, while something is typed. The serial port's thread really runs.
 *
 * The input is accesses of ACCESS_SIZE bytes: what and how large, where, and a value.
 */
#include "plugin/microvm/bus.h"
#include "plugin/microvm/i8042.h"
#include "plugin/microvm/layout.h"
#include "plugin/microvm/power.h"
#include "plugin/microvm/rtc.h"
#include "plugin/microvm/serial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ACCESS_SIZE 11
/* The host's clock is no guest's to choose: it is between 1970 and the end of the year 9999. */
#define HOST_TIME_END 253402300800
/* More would say nothing new, and take long: each may be a system call. */
#define ACCESSES_MAX 200

static struct bus bus;
static struct serial serial;
static struct rtc rtc;
static struct power power;
static int keyboard;
static time_t host_time;

static time_t
now(void)
{
    return host_time;
}

static void
add(uint64_t start, uint64_t length, const struct device_operations *operations, void *device)
{
    if (bus_add(&bus, BUS_SPACE_PORTS, start, length, operations, device) < 0)
        abort();
}

static void
set_up(void)
{
    int in[2], screen = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (screen < 0 || pipe2(in, O_CLOEXEC | O_NONBLOCK) < 0 || power_init(&power) < 0)
        abort();
    keyboard = in[1];
    rtc_init(&rtc, now);
    if (serial_init(&serial, in[0], screen, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ||
        serial_start(&serial) < 0)
        abort();
    add(LAYOUT_SERIAL, LAYOUT_SERIAL_LENGTH, &serial_operations, &serial);
    add(LAYOUT_RTC, LAYOUT_RTC_LENGTH, &rtc_operations, &rtc);
    add(LAYOUT_I8042_COMMAND, 1, &i8042_operations, &power);
    add(LAYOUT_POWER, LAYOUT_POWER_LENGTH, &power_operations, &power);
}

/* Mostly where something is, or next to it. */
static uint64_t
choose_address(uint16_t value)
{
    static const uint16_t near[] = { LAYOUT_SERIAL, LAYOUT_RTC, LAYOUT_I8042_COMMAND, LAYOUT_POWER };
    const unsigned which = value % 5;

    return which == 4 ? value : (uint64_t)(near[which] - 1 + value / 5 % 10);
}

/* A buffer as large as the access, so that a byte beyond it is noticed. */
static void
access_bus(uint64_t address, size_t size, bool is_write, const uint8_t *value)
{
    uint8_t *data = malloc(size);

    if (data == NULL)
        abort();
    memcpy(data, value, size);
    if (is_write)
        bus_write(&bus, BUS_SPACE_PORTS, address, data, size);
    else
        bus_read(&bus, BUS_SPACE_PORTS, address, data, size);
    free(data);
}

/* What was asked first stays so. */
static void
check_power(enum power_request before)
{
    if (before != POWER_NONE && power_asked(&power) != before)
        abort();
}

static void
step(const uint8_t *input)
{
    const enum power_request before = power_asked(&power);
    uint64_t time;
    uint16_t where;

    memcpy(&where, input + 1, sizeof where);
    switch (input[0] % 8) {
    case 0:
        if (write(keyboard, input + 3, 8) < 0 && errno != EAGAIN)
            abort();
        break;
    case 1:
        eventfd_write(serial.resample, 1);
        break;
    case 2:
        memcpy(&time, input + 3, sizeof time);
        host_time = (time_t)(time % HOST_TIME_END);
        break;
    default:
        access_bus(choose_address(where), 1 + input[0] / 8 % 8, input[0] % 8 >= 5, input + 3);
        break;
    }
    check_power(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t zero, clear = 7;
    eventfd_t count;

    if (bus.count == 0)
        set_up();
    eventfd_read(power.event, &count);
    power.request = POWER_NONE;
    for (uint64_t port = LAYOUT_SERIAL + LAYOUT_SERIAL_LENGTH; port-- > LAYOUT_SERIAL;)
        access_bus(port, 1, true, port == LAYOUT_SERIAL + 2 ? &clear : &zero);
    for (size_t i = 0; i < ACCESSES_MAX && size - i * ACCESS_SIZE >= ACCESS_SIZE; i++)
        step(data + i * ACCESS_SIZE);
    return 0;
}
