/* microvm: a machine for Linux, with what it needs and nothing else. See vmsup-microvm(7). */
#include "common/log.h"
#include "plugin/microvm/acpi.h"
#include "plugin/microvm/devices.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* The guest wants to be started again, which is for whoever started it to do. */
#define EXIT_RESET 8

/* How long the last output may take to go out, in milliseconds: less than the grace that the supervisor gives. */
#define FLUSH_TIME 500

static int
write_tables(struct machine *machine, const struct devices *devices, const char **what)
{
    const struct acpi_machine described = { .vcpu_count = machine->vcpu_count, .virtio_count = devices->virtio_count };
    uint8_t *tables = memory_at(&machine->memory, LAYOUT_ACPI, LAYOUT_ACPI_SIZE);

    *what = "the ACPI tables";
    if (tables == NULL)
        return -EFAULT;
    power_write_reset_code(tables + (LAYOUT_RESET_VECTOR - LAYOUT_ACPI));
    return acpi_write(&described, LAYOUT_ACPI, tables, LAYOUT_RESET_VECTOR - LAYOUT_ACPI);
}

/* Where it fails and *what is NULL, the whole reason was said. */
static int
load_guest(struct machine *machine, const struct options *options, struct boot_entry *entry, const char **what)
{
    struct boot_image image = { .command_line = options->command_line, .acpi = LAYOUT_ACPI };
    struct boot_refusal refusal;
    int result;

    *what = "the grant of a kernel";
    image.kernel = vmsup_granted_fd("kernel");
    if (image.kernel < 0)
        return image.kernel;
    image.initrd = vmsup_granted_fd("initrd");
    result = boot_load(&machine->memory, &image, entry, &refusal);
    if (result < 0) {
        log_error("%s", refusal.text);
        *what = NULL;
    }
    return result;
}

static int
start(struct machine *machine, struct devices *devices, const struct options *options, const char **what)
{
    struct boot_entry entry;
    int result;

    if ((result = machine_create(machine, options, what)) < 0 ||
        (result = devices_create(devices, machine, options, what)) < 0 ||
        (result = load_guest(machine, options, &entry, what)) < 0 || (result = write_tables(machine, devices, what)) < 0)
        return result;
    *what = "the console's thread";
    if ((result = serial_start(&devices->serial)) < 0)
        return result;
    result = machine_start(machine, &entry, what);
    if (result < 0)
        return result;
    *what = "the thread that listens to the supervisor";
    return host_start(&devices->host);
}

/* Until the guest ends itself, or the VM is ended. */
static int
wait_for_end(const struct machine *machine, struct devices *devices)
{
    struct pollfd ends[] = { { .fd = devices->power.event, .events = POLLIN }, { .fd = machine->shutdown, .events = POLLIN } };

    while (poll(ends, 2, -1) < 0)
        ;
    serial_flush(&devices->serial, FLUSH_TIME);
    return power_asked(&devices->power) == POWER_RESET ? EXIT_RESET : EX_OK;
}

int
main(int argc, char **argv)
{
    static struct machine machine;
    static struct devices devices;
    struct options options;
    const char *what;
    int result;

    log_init("microvm", LOG_STYLE_TERMINAL, STDERR_FILENO, LOG_LEVEL_INFO);
    signal(SIGPIPE, SIG_IGN);
    /* One heap for all threads, none of which is often at it: before glibc makes many it reads files for the number of processors. */
    mallopt(M_ARENA_MAX, 1);
    if (options_parse(argc, argv, &options) < 0)
        return EX_USAGE;
    result = start(&machine, &devices, &options, &what);
    if (result < 0) {
        if (what != NULL)
            log_error("%s: %s", what, strerror(-result));
        return EXIT_FAILURE;
    }
    return wait_for_end(&machine, &devices);
}
