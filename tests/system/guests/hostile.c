/*
 * A guest whose driver of the disk breaks the rules, one after the other. Each time the disk asks for a reset and does nothing until it had
 * one, while the entropy device goes on; reset, it works again. With the word "storm", the second processor resets the disk and makes it
 * ready again, over and over, while the first rings for it and drives the other device.
 */
#include "tests/system/guests/common/disk.h"
#include "tests/system/guests/common/machine.h"

#define RNG_SIZE 16
#define BYSTANDS 10
#define RESETS 100
#define AT_ONCE 8
#define MARK 0x5a
#define OUTSIDE UINT64_C(0xb0000000)
#define REGISTERS_END 0x200

static struct driver disk, rng;
static uint8_t data[AT_ONCE][SECTOR] __attribute__((aligned(8))), bytes[RNG_SIZE];
static volatile bool storm_is_over;

/* --- The two devices as they should be. */

static void
use_rng(unsigned times)
{
    const struct piece piece = { .at = bytes, .size = sizeof bytes, .writable = true };

    for (unsigned i = 0; i < times; i++)
        expect(queue_do(&rng.queue[0], &piece, 1) == sizeof bytes, "the entropy device gives nothing");
}

static void
use_disk(void)
{
    expect(disk_do(&disk, VIRTIO_BLK_T_IN, 0, data[0], SECTOR) == VIRTIO_BLK_S_OK, "the disk is not read");
}

static bool
needs_reset(void)
{
    return (driver_read(&disk, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

/* All that belongs to a driver is gone when the write is done: 4.2.2.1. */
static void
reset_disk(void)
{
    driver_write(&disk, VIRTIO_MMIO_STATUS, 0);
    expect(driver_read(&disk, VIRTIO_MMIO_STATUS) == 0, "the status is %x after a reset", driver_read(&disk, VIRTIO_MMIO_STATUS));
    expect(driver_read(&disk, VIRTIO_MMIO_INTERRUPT_STATUS) == 0, "an interrupt is pending after a reset");
}

static void
ring(void)
{
    driver_write(&disk, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

/* --- What a driver may not do to a device that is ready. */

static void
change_size(void)
{
    driver_write(&disk, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE / 2);
}

static void
change_address(void)
{
    driver_write(&disk, VIRTIO_MMIO_QUEUE_DESC_LOW, 0);
}

static void
change_features(void)
{
    driver_write(&disk, VIRTIO_MMIO_DRIVER_FEATURES, 0);
}

static void
clear_status(void)
{
    driver_write(&disk, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

/* --- What it may not put into a queue. */

static void
offer_head(uint16_t head)
{
    struct queue *queue = &disk.queue[0];

    queue->available.entry[queue->available.index % QUEUE_SIZE] = head;
    __atomic_store_n(&queue->available.index, (uint16_t)(queue->available.index + 1), __ATOMIC_RELEASE);
    ring();
}

static void
offer_descriptor(struct vring_desc descriptor)
{
    disk.queue[0].table[0] = descriptor;
    offer_head(0);
}

static void
offer_loop(void)
{
    offer_descriptor((struct vring_desc){ .addr = (uintptr_t)data, .len = SECTOR, .flags = VRING_DESC_F_NEXT, .next = 0 });
}

static void
offer_what_is_no_entry(void)
{
    offer_head(QUEUE_SIZE);
}

static void
offer_a_chain_out_of_the_table(void)
{
    offer_descriptor((struct vring_desc){ .addr = (uintptr_t)data, .len = SECTOR, .flags = VRING_DESC_F_NEXT, .next = QUEUE_SIZE });
}

static void
offer_what_is_no_memory(void)
{
    offer_descriptor((struct vring_desc){ .addr = OUTSIDE, .len = SECTOR });
}

static void
offer_registers(void)
{
    offer_descriptor((struct vring_desc){ .addr = disk.registers, .len = SECTOR, .flags = VRING_DESC_F_WRITE });
}

static void
offer_overflow(void)
{
    offer_descriptor((struct vring_desc){ .addr = UINT64_MAX - 1, .len = SECTOR, .flags = VRING_DESC_F_WRITE });
}

/* An indirect table in an indirect table. */
static void
offer_nested_tables(void)
{
    static struct vring_desc table __attribute__((aligned(16)));

    table = (struct vring_desc){ .addr = (uintptr_t)&table, .len = sizeof table, .flags = VRING_DESC_F_INDIRECT };
    offer_descriptor(table);
}

/* A header, and nowhere to say what became of it. */
static void
offer_nowhere_to_answer(void)
{
    memset(data, 0, sizeof data);
    offer_descriptor((struct vring_desc){ .addr = (uintptr_t)data, .len = sizeof(struct virtio_blk_outhdr) });
}

static void
offer_more_than_there_are(void)
{
    disk.queue[0].available.index = (uint16_t)(disk.queue[0].available.index + QUEUE_SIZE + 1);
    ring();
}

/* --- Broken while it works, then mended. */

/* Where the queue is whole there is a request in it that could be done. */
static void
expect_no_service(const char *what, bool queue_is_whole)
{
    uint16_t before = disk.queue[0].used.index;

    if (queue_is_whole)
        disk_offer(&disk, VIRTIO_BLK_T_IN, 0, data[0], SECTOR);
    ring();
    use_rng(BYSTANDS);
    ring();
    use_rng(BYSTANDS);
    expect(disk.queue[0].used.index == before, "%s: the disk goes on", what);
}

/* The driver hears of it by an interrupt for the configuration: 2.1.2. */
static void
break_disk(const char *what, void (*act)(void), bool queue_is_whole)
{
    unsigned changes;

    driver_begin(&disk, DISK_FEATURES, 1);
    use_disk();
    changes = disk.changes;
    act();
    while (!needs_reset() || disk.changes == changes)
        processor_pause();
    expect_no_service(what, queue_is_whole);
    reset_disk();
    say("needs a reset: %s\n", what);
}

static void
break_all(void)
{
    static const struct {
        const char *what;
        void (*act)(void);
        bool queue_is_whole;
    } table[] = {
        { "a size that changes", change_size, true },
        { "an address that changes", change_address, true },
        { "features that change", change_features, true },
        { "a status that goes back", clear_status, true },
        { "a chain that loops", offer_loop, false },
        { "a head that is no entry", offer_what_is_no_entry, false },
        { "a chain out of its table", offer_a_chain_out_of_the_table, false },
        { "a buffer in no memory", offer_what_is_no_memory, false },
        { "a buffer in registers", offer_registers, false },
        { "a buffer that wraps around", offer_overflow, false },
        { "a table in a table", offer_nested_tables, false },
        { "nowhere to answer", offer_nowhere_to_answer, false },
        { "more requests than entries", offer_more_than_there_are, false },
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        break_disk(table[i].what, table[i].act, table[i].queue_is_whole);
}

/* --- Broken before it works. */

/* 3.1.1: a bit that nobody offered keeps FEATURES_OK from staying. */
static void
accept_what_was_not_offered(void)
{
    reset_disk();
    driver_write(&disk, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    driver_write(&disk, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    driver_write(&disk, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
    driver_write(&disk, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
    expect((driver_read(&disk, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK) == 0, "features that were not offered are accepted");
    say("refused: features that were not offered\n");
}

static void
begin_at_the_end(void)
{
    reset_disk();
    driver_write(&disk, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
    expect(needs_reset(), "a driver is ready that never began");
    say("needs a reset: a status out of order\n");
}

static void
make_wrong_queue(uint32_t size, uint64_t address)
{
    driver_negotiate(&disk, DISK_FEATURES);
    driver_write(&disk, VIRTIO_MMIO_QUEUE_NUM, size);
    driver_write(&disk, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)address);
    driver_write(&disk, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(address >> 32));
    driver_write(&disk, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)(uintptr_t)&disk.queue[0].available);
    driver_write(&disk, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)(uintptr_t)&disk.queue[0].used);
    driver_write(&disk, VIRTIO_MMIO_QUEUE_READY, 1);
    expect(needs_reset() && driver_read(&disk, VIRTIO_MMIO_QUEUE_READY) == 0, "a queue of %u entries at %lu", size, address);
}

static void
make_wrong_queues(void)
{
    const uint64_t good = (uintptr_t)disk.queue[0].table;

    make_wrong_queue(0, good);
    make_wrong_queue(3, good);
    make_wrong_queue(UINT32_MAX, good);
    make_wrong_queue(2 * driver_read(&disk, VIRTIO_MMIO_QUEUE_NUM_MAX), good);
    make_wrong_queue(QUEUE_SIZE, good + 1);
    make_wrong_queue(QUEUE_SIZE, OUTSIDE);
    make_wrong_queue(QUEUE_SIZE, disk.registers);
    make_wrong_queue(QUEUE_SIZE, UINT64_MAX & ~UINT64_C(15));
    say("needs a reset: queues that cannot be\n");
}

/* --- What must change nothing. */

/* Whatever order they are in, what may only be read stays. A reset comes behind each, since some of them are hostile acts by themselves. */
static void
write_everywhere(void)
{
    static const unsigned constant[] = { VIRTIO_MMIO_MAGIC_VALUE, VIRTIO_MMIO_VERSION, VIRTIO_MMIO_DEVICE_ID, VIRTIO_MMIO_VENDOR_ID,
                                         VIRTIO_MMIO_QUEUE_NUM_MAX, VIRTIO_MMIO_CONFIG };
    uint32_t before[sizeof constant / sizeof constant[0]];

    for (size_t i = 0; i < sizeof constant / sizeof constant[0]; i++)
        before[i] = driver_read(&disk, constant[i]);
    for (unsigned offset = 0; offset < REGISTERS_END; offset += sizeof(uint32_t)) {
        driver_write(&disk, offset, UINT32_MAX);
        *(volatile uint8_t *)(disk.registers + offset) = UINT8_MAX;
        *(volatile uint64_t *)(disk.registers + offset) = UINT64_MAX;
        *(volatile uint16_t *)(disk.registers + offset + 1) = UINT16_MAX;
    }
    reset_disk();
    for (size_t i = 0; i < sizeof constant / sizeof constant[0]; i++)
        expect(driver_read(&disk, constant[i]) == before[i], "register %x was written", constant[i]);
    say("written everywhere\n");
}

/* What had been asked for is done when the reset is, or never: memory that is used for something else is not written. */
static void
reset_amid_requests(void)
{
    for (unsigned i = 0; i < RESETS; i++) {
        driver_begin(&disk, DISK_FEATURES, 1);
        for (unsigned k = 0; k < AT_ONCE; k++)
            disk_offer(&disk, VIRTIO_BLK_T_IN, k, data[k], SECTOR);
        ring();
        reset_disk();
        memset(data, MARK, sizeof data);
        use_rng(1);
        for (unsigned k = 0; k < AT_ONCE; k++)
            expect(data[k][0] == MARK && data[k][SECTOR - 1] == MARK, "buffer %u was written after a reset", k);
    }
    say("reset amid requests\n");
}

/* --- Both processors at it. */

static void
reset_often(void)
{
    for (unsigned i = 0; i < RESETS; i++) {
        driver_begin(&disk, DISK_FEATURES, 1);
        use_disk();
    }
    storm_is_over = true;
}

static void
storm(void)
{
    processor_wake_second(reset_often);
    while (!storm_is_over) {
        for (unsigned i = 0; i < BYSTANDS; i++)
            ring();
        driver_write(&disk, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
        driver_write(&disk, VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
        use_rng(1);
    }
    say("the storm is over\n");
}

void
guest_main(void)
{
    driver_find(&rng, VIRTIO_ID_RNG);
    driver_begin(&rng, 0, 1);
    driver_find(&disk, VIRTIO_ID_BLOCK);
    if (machine_was_told("storm")) {
        storm();
    } else {
        break_all();
        accept_what_was_not_offered();
        begin_at_the_end();
        make_wrong_queues();
        write_everywhere();
        reset_amid_requests();
        driver_begin(&disk, DISK_FEATURES, 1);
        use_disk();
    }
    use_rng(BYSTANDS);
    say("done\n");
}
