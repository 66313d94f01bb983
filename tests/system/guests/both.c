/*
 * A guest whose two processors drive a device each at the same time: the second copies the first half of the disk to its second half,
 * sector by sector and again, while the first asks the entropy device or, with the word "net", the host for echoes. Each goes on until both
 * have done enough. Interrupts come to who drives the device, or with "crossed" to the other one.
 */
#include "tests/system/guests/common/disk.h"
#include "tests/system/guests/common/machine.h"
#include "tests/system/guests/common/net.h"

#define TIMES 150
#define RNG_SIZE 16
#define ECHO_SIZE 56

static struct driver disk, rng;
static struct net net;
static uint8_t sector[SECTOR] __attribute__((aligned(8))), bytes[RNG_SIZE], echoed[ECHO_SIZE];

/* How often each has done its part; -1: it is not ready. Each writes its own. */
static volatile int done[PROCESSORS] = { -1, -1 };
static volatile bool second_ended;

static void
copy_sector(unsigned i)
{
    uint64_t half = disk_capacity(&disk) / 2, at = i % half;

    expect(disk_do(&disk, VIRTIO_BLK_T_IN, at, sector, sizeof sector) == VIRTIO_BLK_S_OK, "sector %lu is not read", at);
    expect(disk_do(&disk, VIRTIO_BLK_T_OUT, half + at, sector, sizeof sector) == VIRTIO_BLK_S_OK, "sector %lu is not written", half + at);
}

static void
ask_rng(unsigned i)
{
    const struct piece piece = { .at = bytes, .size = sizeof bytes, .writable = true };

    expect(queue_do(&rng.queue[0], &piece, 1) == sizeof bytes, "request %u of the entropy device", i);
}

static void
ask_host(unsigned i)
{
    const struct virtio_net_hdr_v1 header = net_plain_header();
    const struct echo echo = { .sequence = (uint16_t)i, .data = echoed, .size = sizeof echoed };

    net_ask(&net, &header, &echo, 0);
    expect(net_wait_for_answer(&net).sequence == (uint16_t)i, "echo %u is not answered", i);
}

/* Beginning together, and until both have done so often what they do. */
static void
do_together(void (*act)(unsigned i))
{
    unsigned self = processor_number(), other = 1 - self;

    done[self] = 0;
    while (done[other] < 0)
        processor_pause();
    for (unsigned i = 0; done[self] < TIMES || done[other] < TIMES; i++) {
        act(i);
        done[self]++;
    }
}

static void
run_second(void)
{
    driver_find(&disk, VIRTIO_ID_BLOCK);
    driver_begin(&disk, DISK_FEATURES, 1);
    do_together(copy_sector);
    second_ended = true;
}

/* The second begins when the first is ready: they share the IOAPIC. */
void
guest_main(void)
{
    bool uses_net = machine_was_told("net");

    if (uses_net) {
        net_begin(&net, false);
    } else {
        driver_find(&rng, VIRTIO_ID_RNG);
        driver_begin(&rng, 0, 1);
    }
    processor_wake_second(run_second);
    while (done[1] < 0)
        processor_pause();
    if (uses_net)
        net_find_host(&net);
    do_together(uses_net ? ask_host : ask_rng);
    while (!second_ended)
        processor_pause();
    driver_check_interrupts(uses_net ? &net.driver : &rng);
    driver_check_interrupts(&disk);
    say("both\n");
}
