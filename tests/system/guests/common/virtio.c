#include "tests/system/guests/common/virtio.h"

#include "plugin/microvm/layout.h"
#include "tests/system/guests/common/machine.h"

#define MAGIC 0x74726976
/* An event index so far off that a guest of some thousand requests never comes there. */
#define FAR 0x8000
#define NO_ENTRY UINT16_MAX

_Static_assert(offsetof(struct queue, used) % 4 == 0, "2.7: alignment of the used ring");

/* --- Registers. */

static volatile uint32_t *
at(const struct driver *driver, unsigned offset)
{
    return (volatile uint32_t *)(driver->registers + offset);
}

uint32_t
driver_read(const struct driver *driver, unsigned offset)
{
    return *at(driver, offset);
}

void
driver_write(const struct driver *driver, unsigned offset, uint32_t value)
{
    *at(driver, offset) = value;
}

void
driver_find(struct driver *driver, uint32_t id)
{
    for (unsigned slot = 0; slot < LAYOUT_VIRTIO_SLOTS; slot++) {
        driver->registers = LAYOUT_VIRTIO_START + slot * LAYOUT_VIRTIO_LENGTH;
        driver->gsi = LAYOUT_VIRTIO_GSI(slot);
        if (driver_read(driver, VIRTIO_MMIO_MAGIC_VALUE) == MAGIC && driver_read(driver, VIRTIO_MMIO_VERSION) == 2 &&
            driver_read(driver, VIRTIO_MMIO_DEVICE_ID) == id)
            return;
    }
    fail("there is no device %u", id);
}

/* --- Interrupts: 4.2.3.3. */

static void
take_interrupt(void *context)
{
    struct driver *driver = context;
    uint32_t status = driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS);

    driver_write(driver, VIRTIO_MMIO_INTERRUPT_ACK, status);
    if ((status & VIRTIO_MMIO_INT_CONFIG) != 0)
        driver->changes++;
    driver->interrupted[processor_number()]++;
}

static unsigned
interrupts_of(const struct driver *driver)
{
    return driver->interrupted[0] + driver->interrupted[1];
}

/* --- Making it ready: 3.1.1. */

static void
add_status(const struct driver *driver, uint32_t bits)
{
    driver_write(driver, VIRTIO_MMIO_STATUS, driver_read(driver, VIRTIO_MMIO_STATUS) | bits);
    expect((driver_read(driver, VIRTIO_MMIO_STATUS) & bits) == bits, "the status is %x without %x",
           driver_read(driver, VIRTIO_MMIO_STATUS), bits);
}

static uint64_t
offered_features(const struct driver *driver)
{
    uint64_t low;

    driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    low = driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES);
    driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    return low | (uint64_t)driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

static void
accept_features(const struct driver *driver)
{
    driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)driver->features);
    driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(driver->features >> 32));
}

void
driver_negotiate(struct driver *driver, uint64_t wanted)
{
    uint64_t needed = VIRTIO_BIT(VIRTIO_F_VERSION_1);

    if (machine_was_told("index"))
        needed |= VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX);
    if (machine_was_told("indirect"))
        needed |= VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC);
    driver->interrupts = machine_was_told("interrupts");
    driver->processor = machine_was_told("elsewhere") || machine_was_told("crossed") ? 1 - processor_number() : processor_number();
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    expect(driver_read(driver, VIRTIO_MMIO_STATUS) == 0, "no reset");
    processor_route(driver->gsi, PROCESSOR_EDGE, driver->processor, take_interrupt, driver);
    add_status(driver, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    add_status(driver, VIRTIO_CONFIG_S_DRIVER);
    driver->features = offered_features(driver);
    expect((driver->features & needed) == needed, "not all features are offered");
    driver->features &= needed | wanted;
    accept_features(driver);
    add_status(driver, VIRTIO_CONFIG_S_FEATURES_OK);
}

static void
write_address(const struct driver *driver, unsigned offset, const void *address)
{
    driver_write(driver, offset, (uint32_t)(uintptr_t)address);
    driver_write(driver, offset + 4, (uint32_t)((uintptr_t)address >> 32));
}

static void
init_queue(struct queue *queue, struct driver *driver, unsigned number)
{
    memset(queue, 0, sizeof *queue);
    queue->driver = driver;
    queue->number = number;
    for (uint16_t i = 0; i < QUEUE_SIZE; i++)
        queue->table[i].next = (uint16_t)(i + 1 < QUEUE_SIZE ? i + 1 : NO_ENTRY);
    if (driver->interrupts)
        return;
    queue->available.flags = VRING_AVAIL_F_NO_INTERRUPT;
    queue->available.used_event = FAR;
}

void
driver_add_queue(struct driver *driver, unsigned number)
{
    struct queue *queue = &driver->queue[number];

    init_queue(queue, driver, number);
    driver_write(driver, VIRTIO_MMIO_QUEUE_SEL, number);
    expect(driver_read(driver, VIRTIO_MMIO_QUEUE_NUM_MAX) >= QUEUE_SIZE, "a queue has %u entries",
           driver_read(driver, VIRTIO_MMIO_QUEUE_NUM_MAX));
    driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
    write_address(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, queue->table);
    write_address(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, &queue->available);
    write_address(driver, VIRTIO_MMIO_QUEUE_USED_LOW, &queue->used);
    driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
    expect(driver_read(driver, VIRTIO_MMIO_QUEUE_READY) == 1, "queue %u is not ready", number);
}

void
driver_begin(struct driver *driver, uint64_t wanted, unsigned queues)
{
    driver_negotiate(driver, wanted);
    for (unsigned i = 0; i < queues; i++)
        driver_add_queue(driver, i);
    add_status(driver, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* --- Requests. */

static bool
has(const struct queue *queue, unsigned feature)
{
    return (queue->driver->features & VIRTIO_BIT(feature)) != 0;
}

static struct vring_desc
descriptor_of(const struct piece *piece)
{
    return (struct vring_desc){ .addr = (uintptr_t)piece->at, .len = piece->size, .flags = piece->writable ? VRING_DESC_F_WRITE : 0 };
}

static uint16_t
take_entry(struct queue *queue)
{
    uint16_t entry = queue->free;

    expect(entry != NO_ENTRY, "the queue is full");
    queue->free = queue->table[entry].next;
    return entry;
}

/* The chain in a table of its own, which one entry points to: 2.7.5.3. */
static uint16_t
offer_indirect(struct queue *queue, const struct piece *piece, unsigned count)
{
    uint16_t head = take_entry(queue);
    struct vring_desc *table = queue->indirect[head];

    for (unsigned i = 0; i < count; i++) {
        table[i] = descriptor_of(&piece[i]);
        if (i + 1 < count) {
            table[i].flags |= VRING_DESC_F_NEXT;
            table[i].next = (uint16_t)(i + 1);
        }
    }
    queue->table[head] = (struct vring_desc){
        .addr = (uintptr_t)table, .len = count * (uint32_t)sizeof *table, .flags = VRING_DESC_F_INDIRECT,
    };
    return head;
}

static uint16_t
offer_direct(struct queue *queue, const struct piece *piece, unsigned count)
{
    uint16_t head = take_entry(queue), entry = head;

    for (unsigned i = 0; i < count; i++) {
        queue->table[entry] = descriptor_of(&piece[i]);
        if (i + 1 < count) {
            uint16_t next = take_entry(queue);

            queue->table[entry].flags |= VRING_DESC_F_NEXT;
            queue->table[entry].next = next;
            entry = next;
        }
    }
    return head;
}

uint16_t
queue_offer(struct queue *queue, const struct piece *piece, unsigned count)
{
    uint16_t head;

    expect(count <= PIECES_MAX, "a request has %u pieces", count);
    head = has(queue, VIRTIO_RING_F_INDIRECT_DESC) ? offer_indirect(queue, piece, count) : offer_direct(queue, piece, count);
    queue->available.entry[queue->available.index % QUEUE_SIZE] = head;
    __atomic_store_n(&queue->available.index, (uint16_t)(queue->available.index + 1), __ATOMIC_RELEASE);
    return head;
}

/* 2.7.10: the event index names a request whose coming the device wants to hear of; otherwise a flag tells that it wants nothing. */
void
queue_notify(struct queue *queue)
{
    uint16_t before = queue->notified, now = queue->available.index;
    bool wanted;

    queue->notified = now;
    machine_fence();
    if (has(queue, VIRTIO_RING_F_EVENT_IDX))
        wanted = vring_need_event(queue->used.available_event, now, before) != 0;
    else
        wanted = (queue->used.flags & VRING_USED_F_NO_NOTIFY) == 0;
    if (!wanted)
        return;
    queue->notifications++;
    driver_write(queue->driver, VIRTIO_MMIO_QUEUE_NOTIFY, queue->number);
}

static void
free_entries(struct queue *queue, uint16_t head)
{
    uint16_t last = head;

    while ((queue->table[last].flags & VRING_DESC_F_NEXT) != 0)
        last = queue->table[last].next;
    queue->table[last].next = queue->free;
    queue->free = head;
}

static bool
is_done(const struct queue *queue)
{
    return queue->used.index != queue->taken;
}

bool
queue_take(struct queue *queue, uint16_t *number, uint32_t *written)
{
    struct vring_used_elem element;

    if (!is_done(queue))
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    element = queue->used.entry[queue->taken % QUEUE_SIZE];
    expect(element.id < QUEUE_SIZE, "request %u was none", element.id);
    free_entries(queue, (uint16_t)element.id);
    queue->taken++;
    *number = (uint16_t)element.id;
    *written = element.len;
    return true;
}

/* Until an interrupt came after those that were seen before, and was taken: here, or on the processor that has them. */
static void
wait_for_interrupt(const struct driver *driver, unsigned seen)
{
    bool here = driver->processor == processor_number();

    if (!here) {
        while (interrupts_of(driver) == seen)
            processor_pause();
        return;
    }
    processor_close();
    while (interrupts_of(driver) == seen)
        processor_sleep();
    processor_open();
}

void
driver_check_interrupts(const struct driver *driver)
{
    unsigned right, wrong;

    /* The ring may have told of a request before its interrupt did. */
    if (driver->interrupts && interrupts_of(driver) == 0)
        wait_for_interrupt(driver, 0);
    right = driver->interrupted[driver->processor];
    wrong = driver->interrupted[1 - driver->processor];
    expect(wrong == 0, "%u interrupts came to processor %u", wrong, 1 - driver->processor);
    if (driver->interrupts)
        expect(right > 0, "no interrupt came");
    else
        expect(right == 0, "%u interrupts came that were not asked for", right);
}

/* What was seen is asked for before the last look at the ring, so no request that is done between the two goes unheard. */
static void
wait_until_done(struct queue *queue)
{
    const struct driver *driver = queue->driver;

    while (!is_done(queue)) {
        unsigned seen = interrupts_of(driver);

        if (!driver->interrupts) {
            processor_pause();
            continue;
        }
        queue->available.used_event = queue->taken;
        machine_fence();
        if (!is_done(queue))
            wait_for_interrupt(driver, seen);
    }
}

uint16_t
queue_wait(struct queue *queue, uint32_t *written)
{
    uint16_t number;

    wait_until_done(queue);
    queue_take(queue, &number, written);
    return number;
}

uint32_t
queue_do(struct queue *queue, const struct piece *piece, unsigned count)
{
    uint16_t head = queue_offer(queue, piece, count), number;
    uint32_t written;

    queue_notify(queue);
    number = queue_wait(queue, &written);
    expect(number == head, "request %u was offered, %u is done", head, number);
    return written;
}
