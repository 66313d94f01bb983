/*
 * A guest whose exits are counted: it does each of the things below a thousand times, a phase each, says before it which, and behind it
 * that it ended, and goes on when it hears a byte. Those of the first two phases exit by their nature, the others are the data path of
 * three devices.
 */
#include "plugin/microvm/layout.h"
#include "tests/system/guests/common/disk.h"
#include "tests/system/guests/common/machine.h"
#include "tests/system/guests/common/net.h"

#define TIMES 1000
#define RNG_SIZE 16
#define ECHO_SIZE 56

static struct driver disk, rng;
static struct net net;
static uint8_t sector[SECTOR] __attribute__((aligned(8))), bytes[RNG_SIZE], echoed[ECHO_SIZE];

static void
read_port(unsigned i)
{
    (void)i;
    port_read(LAYOUT_POWER_SLEEP_STATUS);
}

static void
select_queue(unsigned i)
{
    (void)i;
    driver_write(&rng, VIRTIO_MMIO_QUEUE_SEL, 0);
}

static void
read_registers(unsigned i)
{
    (void)i;
    driver_read(&disk, VIRTIO_MMIO_INTERRUPT_STATUS);
    driver_read(&disk, VIRTIO_MMIO_STATUS);
    driver_read(&disk, VIRTIO_MMIO_CONFIG);
}

static void
ask_rng(unsigned i)
{
    const struct piece piece = { .at = bytes, .size = sizeof bytes, .writable = true };

    expect(queue_do(&rng.queue[0], &piece, 1) == sizeof bytes, "request %u of the entropy device", i);
}

static void
read_disk(unsigned i)
{
    expect(disk_do(&disk, VIRTIO_BLK_T_IN, i, sector, sizeof sector) == VIRTIO_BLK_S_OK, "sector %u is not read", i);
}

static void
write_disk(unsigned i)
{
    expect(disk_do(&disk, VIRTIO_BLK_T_OUT, i, sector, sizeof sector) == VIRTIO_BLK_S_OK, "sector %u is not written", i);
}

static void
ask_host(unsigned i)
{
    const struct virtio_net_hdr_v1 header = net_plain_header();
    const struct echo echo = { .sequence = (uint16_t)i, .data = echoed, .size = sizeof echoed };

    net_ask(&net, &header, &echo, 0);
    expect(net_wait_for_answer(&net).sequence == i, "echo %u is not answered", i);
}

static void
phase(const char *name, void (*act)(unsigned i))
{
    say("begin %s\n", name);
    machine_hear();
    for (unsigned i = 0; i < TIMES; i++)
        act(i);
    say("end\n");
    machine_hear();
}

void
guest_main(void)
{
    driver_find(&rng, VIRTIO_ID_RNG);
    driver_begin(&rng, 0, 1);
    driver_find(&disk, VIRTIO_ID_BLOCK);
    driver_begin(&disk, DISK_FEATURES, 1);
    net_begin(&net, false);
    net_find_host(&net);
    phase("reads of a port", read_port);
    phase("selections of a queue", select_queue);
    phase("reads of three registers", read_registers);
    phase("requests to the entropy device", ask_rng);
    phase("reads from the disk", read_disk);
    phase("writes to the disk", write_disk);
    phase("echoes of the host", ask_host);
    driver_check_interrupts(&rng);
    driver_check_interrupts(&disk);
    driver_check_interrupts(&net.driver);
}
