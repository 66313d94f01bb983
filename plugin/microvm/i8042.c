#include "plugin/microvm/i8042.h"
#include "plugin/microvm/power.h"

#include <string.h>

#define COMMAND_RESET 0xfe

/* The status: nothing to be read, and ready for a command. */
static void
i8042_read(void *device, uint64_t offset, uint8_t *data, size_t size)
{
    (void)device;
    (void)offset;
    memset(data, 0, size);
}

static void
i8042_write(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    (void)offset;
    (void)size;
    if (data[0] == COMMAND_RESET)
        power_ask(device, POWER_RESET);
}

const struct device_operations i8042_operations = { i8042_read, i8042_write };
