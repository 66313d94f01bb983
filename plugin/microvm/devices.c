#include "plugin/microvm/devices.h"

#include "common/log.h"
#include "plugin/microvm/i8042.h"
#include "plugin/microvm/layout.h"
#include "plugin/microvm/virtio_balloon.h"
#include "plugin/microvm/virtio_blk.h"
#include "plugin/microvm/virtio_console.h"
#include "plugin/microvm/virtio_mmio.h"
#include "plugin/microvm/virtio_net.h"
#include "plugin/microvm/virtio_rng.h"
#include "plugin/microvm/virtio_vsock.h"
#include "proto/host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static time_t
host_time(void)
{
    return time(NULL);
}

/* The first, since others want to hear from there. */
static int
add_host(struct devices *devices, struct machine *machine, const struct options *options)
{
    const int socket = vmsup_granted_fd(HOST_GRANT);

    (void)machine;
    (void)options;
    return socket < 0 && socket != -ENOENT ? socket : host_init(&devices->host, socket);
}

static int
add_platform(struct devices *devices, struct machine *machine, const struct options *options)
{
    struct power *power = &devices->power;
    /* One of them reads what is typed. */
    const int input = options->console ? -1 : STDIN_FILENO;
    int trigger, resample, ignored, result;

    rtc_init(&devices->rtc, host_time);
    if ((result = power_init(power)) < 0 || (result = machine_add_interrupt(machine, LAYOUT_SERIAL_GSI, &trigger, &resample)) < 0 ||
        (result = serial_init(&devices->serial, input, STDOUT_FILENO, trigger, resample)) < 0 ||
        (result = machine_add_interrupt(machine, LAYOUT_BUTTON_GSI, &power->button, &ignored)) < 0)
        return result;
    host_on_power_button(&devices->host, power_press_button, power);
    const struct {
        uint16_t start, length;
        const struct device_operations *operations;
        void *device;
    } port_table[] = {
        { LAYOUT_SERIAL, LAYOUT_SERIAL_LENGTH, &serial_operations, &devices->serial },
        { LAYOUT_RTC, LAYOUT_RTC_LENGTH, &rtc_operations, &devices->rtc },
        { LAYOUT_I8042_COMMAND, 1, &i8042_operations, power },
        { LAYOUT_POWER, LAYOUT_POWER_LENGTH, &power_operations, power },
    };
    for (size_t i = 0; result == 0 && i < sizeof port_table / sizeof port_table[0]; i++)
        result = machine_add_ports(machine, port_table[i].start, port_table[i].length, port_table[i].operations,
                                   port_table[i].device);
    return result;
}

/* The registers of all slots are one piece of memory that the guest reads. */
static int
add_slots(struct devices *devices, struct machine *machine, const struct options *options)
{
    (void)options;
    return machine_add_pages(machine, LAYOUT_VIRTIO_START, LAYOUT_VIRTIO_SLOTS * LAYOUT_VIRTIO_LENGTH, &devices->virtio_pages);
}

/* Into the next slot. */
static int
plug(struct devices *devices, struct machine *machine, struct virtio_device *device)
{
    const uint32_t slot = devices->virtio_count;
    struct virtio_mmio_config config = {
        .address = LAYOUT_VIRTIO_START + slot * LAYOUT_VIRTIO_LENGTH, .machine = machine,
        .page = devices->virtio_pages + slot * LAYOUT_VIRTIO_LENGTH / sizeof *devices->virtio_pages,
        .add_range = machine_add_memory_range, .add_doorbell = machine_add_doorbell,
    };
    struct virtio_mmio *mmio;
    int result, resample;

    if (slot == LAYOUT_VIRTIO_SLOTS)
        return -ENOSPC;
    result = machine_add_interrupt(machine, LAYOUT_VIRTIO_GSI(slot), &config.interrupt, &resample);
    if (result == 0)
        result = virtio_mmio_create(&config, device, &mmio);
    if (result == 0)
        devices->virtio_count++;
    return result;
}

/* Says the whole reason. */
static int __attribute__((format(printf, 3, 4)))
refuse(struct devices *devices, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_vwrite(LOG_LEVEL_ERROR, format, arguments);
    va_end(arguments);
    devices->told = true;
    return error;
}

static int
add_disk(struct devices *devices, struct machine *machine, const struct options_disk *disk)
{
    const struct virtio_blk_settings settings = {
        .fd = vmsup_granted_fd(disk->name), .read_only = disk->read_only, .direct = disk->direct,
        .queues = disk->queues, .serial = disk->serial, .limit = disk->limit,
    };
    struct virtio_blk *blk;
    int result;

    if (settings.fd == -ENOENT)
        return refuse(devices, settings.fd, "--disk: nothing is granted as %s: expected --disk or --grant of vmsup start", disk->name);
    if (settings.fd < 0)
        return settings.fd;
    result = virtio_blk_create(&machine->memory, &settings, &blk);
    return result < 0 ? result : plug(devices, machine, virtio_blk_device(blk));
}

static int
add_disks(struct devices *devices, struct machine *machine, const struct options *options)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < options->disk_count; i++)
        result = add_disk(devices, machine, &options->disk[i]);
    return result;
}

/* The VM's TAP is the first queue; the others are granted as net1, net2 and so on. */
static int
find_taps(struct devices *devices, struct virtio_net_settings *settings, unsigned count)
{
    char name[sizeof "net" + 3 * sizeof count];

    settings->pairs = count;
    for (unsigned i = 1; i < count; i++) {
        snprintf(name, sizeof name, "net%u", i);
        settings->tap[i] = vmsup_granted_fd(name);
        if (settings->tap[i] == -ENOENT)
            return refuse(devices, -ENOENT, "--net: queues=%u, but nothing is granted as %s: expected --net-queues %u of vmsup start",
                          count, name, count);
        if (settings->tap[i] < 0)
            return settings->tap[i];
    }
    return 0;
}

/* The guest's address is the host's with its last bit the other way, as one that nobody was given. */
static int
add_net(struct devices *devices, struct machine *machine, const struct options *options)
{
    struct virtio_net_settings settings = { 0 };
    struct vmsup_net_config config;
    struct virtio_net *net;
    int result, header;

    if (!options->net.present)
        return 0;
    result = vmsup_net_get_config(machine->vm, &config);
    if (result == -ENODATA)
        return refuse(devices, result, "--net: the VM has no network: expected --host-ip, --netmask and --mac of vmsup start");
    if (result < 0)
        return result;
    header = virtio_net_has_header(config.tap_fd);
    if (header < 0)
        return header;
    settings.tap[0] = config.tap_fd;
    result = find_taps(devices, &settings, options->net.queues);
    if (result < 0)
        return result;
    settings.vnet_header = header == 1;
    settings.limit = options->net.limit;
    memcpy(settings.mac, config.host_mac_address, sizeof settings.mac);
    settings.mac[0] = (uint8_t)((settings.mac[0] | 2) & ~1);
    settings.mac[5] ^= 1;
    result = virtio_net_create(&machine->memory, &settings, &net);
    return result < 0 ? result : plug(devices, machine, virtio_net_device(net));
}

static int
add_rng(struct devices *devices, struct machine *machine, const struct options *options)
{
    struct virtio_rng *rng;
    int result = virtio_rng_create(&machine->memory, &rng);

    (void)options;
    return result < 0 ? result : plug(devices, machine, virtio_rng_device(rng));
}

static void
tell_vsock(void *context, uint64_t token, int result)
{
    virtio_vsock_answer(context, token, result);
}

/* Without a listening socket, no program on the host begins a connection. */
static int
add_vsock(struct devices *devices, struct machine *machine, const struct options *options)
{
    struct virtio_vsock_settings settings = {
        .cid = options->vsock_cid, .listener = vmsup_granted_fd("vsock"), .patience_ms = VIRTIO_VSOCK_PATIENCE_MS,
        .connect = host_vsock_connect, .context = &devices->host,
    };
    struct virtio_vsock *vsock;
    int result;

    if (options->vsock_cid == 0)
        return 0;
    if (settings.listener < 0 && settings.listener != -ENOENT)
        return settings.listener;
    result = virtio_vsock_create(&machine->memory, &settings, &vsock);
    if (result == 0)
        host_on_vsock(&devices->host, tell_vsock, vsock);
    return result < 0 ? result : plug(devices, machine, virtio_vsock_device(vsock));
}

static int
add_console(struct devices *devices, struct machine *machine, const struct options *options)
{
    struct virtio_console *console;
    int result;

    if (!options->console)
        return 0;
    result = virtio_console_create(&machine->memory, STDIN_FILENO, STDOUT_FILENO, &console);
    return result < 0 ? result : plug(devices, machine, virtio_console_device(console));
}

static void
set_balloon(void *context, uint64_t size)
{
    struct devices *devices = context;

    virtio_balloon_set_target(devices->balloon, size);
}

/* Of a guest that tells nothing, the size is known all the same. */
static void
ask_balloon(void *context)
{
    struct devices *devices = context;

    if (!virtio_balloon_ask(devices->balloon))
        host_tell_balloon(&devices->host, virtio_balloon_size(devices->balloon), NULL, 0, 0);
}

static void
tell_balloon(void *context, const struct virtio_balloon_statistics *statistics)
{
    struct devices *devices = context;

    host_tell_balloon(&devices->host, virtio_balloon_size(devices->balloon), statistics->value, VIRTIO_BALLOON_S_NR,
                      statistics->present);
}

static int
add_balloon(struct devices *devices, struct machine *machine, const struct options *options)
{
    const struct virtio_balloon_settings settings = { .told = tell_balloon, .context = devices };
    const struct host_balloon asked = { .set = set_balloon, .ask = ask_balloon, .context = devices };
    int result;

    if (!options->balloon)
        return 0;
    result = virtio_balloon_create(&machine->memory, &settings, &devices->balloon);
    if (result < 0)
        return result;
    host_on_balloon(&devices->host, &asked);
    return plug(devices, machine, virtio_balloon_device(devices->balloon));
}

/* Which devices there are, in the order of their slots. Each looks by itself whether the options ask for it. */
static const struct {
    const char *what;
    int (*add)(struct devices *devices, struct machine *machine, const struct options *options);
} device_table[] = {
    { "the channel to the supervisor", add_host },
    /* Memory before interrupts: KVM takes a slot at once as long as it has no interrupt controller. */
    { "the virtio devices' registers", add_slots },
    { "the serial port, the clock and the power button", add_platform },
    { "a disk", add_disks },
    { "the network card", add_net },
    { "the entropy device", add_rng },
    { "the socket device", add_vsock },
    { "the virtio console", add_console },
    { "the memory balloon", add_balloon },
};

int
devices_create(struct devices *devices, struct machine *machine, const struct options *options, const char **what)
{
    int result = 0;

    *devices = (struct devices){ 0 };
    for (size_t i = 0; result == 0 && i < sizeof device_table / sizeof device_table[0]; i++) {
        *what = device_table[i].what;
        result = device_table[i].add(devices, machine, options);
    }
    if (devices->told)
        *what = NULL;
    return result;
}
