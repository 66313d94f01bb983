#include "plugin/microvm/power.h"
#include "plugin/microvm/acpi.h"
#include "plugin/microvm/layout.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>

/* 4.8.3.7, table 4.19. */
#define SLEEP_ENABLE 0x20
#define SLEEP_TYPE(value) ((value) >> 2 & 7)

int
power_init(struct power *power)
{
    *power = (struct power){ .request = POWER_NONE, .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .button = -1 };
    return power->event < 0 ? -errno : 0;
}

void
power_ask(struct power *power, enum power_request request)
{
    int none = POWER_NONE;

    if (__atomic_compare_exchange_n(&power->request, &none, (int)request, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        eventfd_write(power->event, 1);
}

enum power_request
power_asked(const struct power *power)
{
    return (enum power_request)__atomic_load_n(&power->request, __ATOMIC_ACQUIRE);
}

void
power_press_button(void *context)
{
    const struct power *power = context;

    if (power->button >= 0)
        eventfd_write(power->button, 1);
}

void
power_write_reset_code(uint8_t *code)
{
    static const uint8_t instructions[] = {
        0xba, LAYOUT_POWER_RESET & 0xff, LAYOUT_POWER_RESET >> 8, /* mov dx, the port */
        0xb0, ACPI_RESET_VALUE,                                   /* mov al, the value */
        0xee,                                                     /* out dx, al */
        0xfa,                                                     /* cli */
        0xf4,                                                     /* hlt */
        0xeb, 0xfc,                                               /* jmp to the cli */
    };
    _Static_assert(sizeof instructions <= POWER_RESET_CODE_MAX, "the reset vector is the end of the first MiB");

    memcpy(code, instructions, sizeof instructions);
}

/* All read as zeroes: control is for writing, and WAK_STS of the status is never set, since nothing sleeps here but for good. */
static void
power_read(void *device, uint64_t offset, uint8_t *data, size_t size)
{
    (void)device;
    (void)offset;
    memset(data, 0, size);
}

static void
power_write(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    struct power *power = device;

    (void)size;
    switch (LAYOUT_POWER + offset) {
    case LAYOUT_POWER_SLEEP_CONTROL:
        if ((data[0] & SLEEP_ENABLE) != 0 && SLEEP_TYPE(data[0]) == ACPI_SLEEP_TYPE_OFF)
            power_ask(power, POWER_OFF);
        break;
    case LAYOUT_POWER_RESET:
        if (data[0] == ACPI_RESET_VALUE)
            power_ask(power, POWER_RESET);
        break;
    default:
        break;
    }
}

const struct device_operations power_operations = { power_read, power_write };
