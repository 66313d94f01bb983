/* Registers, status and queues of virtio devices, and every way in which a driver can break them; the entropy device is under them. */
#include "plugin/microvm/virtio_rng.h"
#include "tests/unit/virtio_driver.h"

#define ALL_CORE VIRTIO_CORE_FEATURES
#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define AT DRIVER_BUFFERS

static struct virtio_rng *rng;

static int
set_up(void **state)
{
    struct driver *driver = driver_make();

    assert_int_equal(virtio_rng_create(&driver->memory, &rng), 0);
    driver_connect(driver, virtio_rng_device(rng));
    *state = driver;
    return 0;
}

static int
tear_down(void **state)
{
    driver_free(*state);
    virtio_rng_destroy(rng);
    return 0;
}

/* A good request is served: what follows every test of a bad one. */
static void
expect_service(struct driver *driver, uint64_t features)
{
    static const uint8_t zeroes[64];

    driver_set_up(driver, features);
    memset(driver_at(driver, AT), 0, sizeof zeroes);
    driver_describe(driver, 0, 3, (struct vring_desc){ AT, sizeof zeroes, WRITE, 0 });
    driver_offer(driver, 0, 3);
    driver_ring(driver, 0);
    driver_wait_used(driver, 0, 1);
    assert_int_equal(driver_used_at(driver, 0, 0).id, 3);
    assert_int_equal(driver_used_at(driver, 0, 0).len, sizeof zeroes);
    assert_memory_not_equal(driver_at(driver, AT), zeroes, sizeof zeroes);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

static void
test_identity(void **state)
{
    struct driver *driver = *state;

    assert_int_equal(driver_read(driver, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_RNG);
    driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES), 1);
    driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 7);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_NUM_MAX), QUEUE_SIZE_MAX);
    driver_write(driver, VIRTIO_MMIO_QUEUE_SEL, 1);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_CONFIG), 0);
}

/* Registers are written by whole, aligned words; any piece can be read, and no buffer is run over. */
static void
test_odd_accesses(void **state)
{
    struct driver *driver = *state;
    uint8_t data[9];
    static const size_t sizes[] = { 1, 2, 3, 8 };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memset(data, 0xaa, sizeof data);
        virtio_mmio_operations.read(driver->mmio, VIRTIO_MMIO_MAGIC_VALUE, data, sizes[i]);
        assert_memory_equal(data, "virt\2\0\0\0", sizes[i]);
        assert_int_equal(data[sizes[i]], 0xaa);
        virtio_mmio_operations.write(driver->mmio, VIRTIO_MMIO_STATUS, (const uint8_t *)"\1\0\0\0\0\0\0", sizes[i]);
        assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 0);
    }
    memset(data, 0xaa, sizeof data);
    virtio_mmio_operations.read(driver->mmio, VIRTIO_MMIO_LENGTH - 4, data, 8);
    assert_memory_equal(data, "\0\0\0\0\0\0\0\0\xaa", 9);
    virtio_mmio_operations.read(driver->mmio, VIRTIO_MMIO_LENGTH, data, 8);
    assert_memory_equal(data, "\0\0\0\0\0\0\0\0\xaa", 9);
}

static void
test_service(void **state)
{
    expect_service(*state, ALL_CORE);
    expect_service(*state, VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
}

/*
 * What the guest finds when an interrupt comes. Queues' bit stays, since nobody hears of its acknowledgement; a configuration's goes by
 * one, and no other write takes it away.
 */
static void
test_interrupt_status(void **state)
{
    struct driver *driver = *state;

    driver_set_up(driver, ALL_CORE);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    driver->device->interrupt(driver->device->transport, VIRTIO_INTERRUPT_QUEUE);
    assert_int_equal(driver_wait(driver), VIRTIO_INTERRUPT_QUEUE);
    driver->device->interrupt(driver->device->transport, VIRTIO_INTERRUPT_CONFIG);
    driver_write(driver, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_INTERRUPT_QUEUE);
    assert_int_equal(driver_wait(driver), VIRTIO_INTERRUPT_QUEUE | VIRTIO_INTERRUPT_CONFIG);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_INTERRUPT_QUEUE);
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void
test_features(void **state)
{
    struct driver *driver = *state;

    driver_negotiate(driver, ALL_CORE | 1);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 3);
    driver_negotiate(driver, VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 3);
    driver_negotiate(driver, ALL_CORE);
    driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 11 | VIRTIO_CONFIG_S_NEEDS_RESET);
    expect_service(driver, ALL_CORE);
}

static void
test_status_order(void **state)
{
    static const uint32_t wrong[] = { 2, 8, 4, 7, 13 };
    struct driver *driver = *state;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        driver_write(driver, VIRTIO_MMIO_STATUS, wrong[i]);
        assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_NEEDS_RESET);
        driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    }
    driver_write(driver, VIRTIO_MMIO_STATUS, 3);
    driver_write(driver, VIRTIO_MMIO_STATUS, 1);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 3 | VIRTIO_CONFIG_S_NEEDS_RESET);
    expect_service(driver, ALL_CORE);
}

static void
test_queue_addresses(void **state)
{
    static const struct {
        uint32_t offset, value;
    } wrong[] = {
        { VIRTIO_MMIO_QUEUE_NUM, 0 },
        { VIRTIO_MMIO_QUEUE_NUM, 3 },
        { VIRTIO_MMIO_QUEUE_NUM, 2 * QUEUE_SIZE_MAX },
        { VIRTIO_MMIO_QUEUE_NUM, 0x10008 },
        { VIRTIO_MMIO_QUEUE_DESC_LOW, DRIVER_START + 8 },
        { VIRTIO_MMIO_QUEUE_DESC_LOW, DRIVER_START - 16 },
        { VIRTIO_MMIO_QUEUE_DESC_LOW, DRIVER_START + DRIVER_MEMORY - 16 },
        { VIRTIO_MMIO_QUEUE_DESC_HIGH, UINT32_MAX },
        { VIRTIO_MMIO_QUEUE_AVAIL_LOW, DRIVER_START + 1 },
        { VIRTIO_MMIO_QUEUE_AVAIL_LOW, DRIVER_START + DRIVER_MEMORY - 20 },
        { VIRTIO_MMIO_QUEUE_USED_LOW, DRIVER_START + 2 },
        { VIRTIO_MMIO_QUEUE_USED_LOW, DRIVER_START + DRIVER_MEMORY - 68 },
        { VIRTIO_MMIO_QUEUE_USED_HIGH, 1 },
    };
    struct driver *driver = *state;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        driver_negotiate(driver, ALL_CORE);
        driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, DRIVER_QUEUE_SIZE);
        driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)DRIVER_START);
        driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)DRIVER_START + 0x400);
        driver_write(driver, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)DRIVER_START + 0x800);
        driver_write(driver, wrong[i].offset, wrong[i].value);
        driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
        assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_READY), 0);
        assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 11 | VIRTIO_CONFIG_S_NEEDS_RESET);
    }
    expect_service(driver, ALL_CORE);
}

static void
test_rewritten_registers(void **state)
{
    static const uint32_t registers[] = { VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
                                          VIRTIO_MMIO_QUEUE_USED_LOW };
    struct driver *driver = *state;

    for (size_t i = 0; i < sizeof registers / sizeof registers[0]; i++) {
        driver_set_up(driver, ALL_CORE);
        driver_write(driver, registers[i], 0x100);
        assert_int_equal(driver->device->queue[0].size, DRIVER_QUEUE_SIZE);
        assert_int_equal(driver->device->queue[0].descriptors, DRIVER_START);
        driver_expect_broken(driver);
    }
    /* Taken out of use it may be, and is then not served; back it comes by a reset only. */
    driver_set_up(driver, ALL_CORE);
    driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_QUEUE_READY), 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
    driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
    driver_expect_broken(driver);
    expect_service(driver, ALL_CORE);
}

struct bad_chain {
    const char *name;
    struct vring_desc descriptor[3];
    struct vring_desc table[2]; /* at AT */
    uint64_t without;           /* a feature that is not accepted */
};

static const struct bad_chain bad_chains[] = {
    { "a loop of one", { { AT, 8, WRITE | NEXT, 0 } }, { { 0 } }, 0 },
    { "a loop of two", { { AT, 8, WRITE | NEXT, 1 }, { AT, 8, WRITE | NEXT, 0 } }, { { 0 } }, 0 },
    { "next past the table", { { AT, 8, WRITE | NEXT, DRIVER_QUEUE_SIZE } }, { { 0 } }, 0 },
    { "no bytes", { { AT, 0, WRITE, 0 } }, { { 0 } }, 0 },
    { "below memory", { { DRIVER_START - 1, 8, WRITE, 0 } }, { { 0 } }, 0 },
    { "past memory", { { DRIVER_START + DRIVER_MEMORY - 4, 8, WRITE, 0 } }, { { 0 } }, 0 },
    { "length past memory", { { AT, UINT32_MAX, WRITE, 0 } }, { { 0 } }, 0 },
    { "address that wraps", { { UINT64_MAX - 3, 8, WRITE, 0 } }, { { 0 } }, 0 },
    { "readable after writable", { { AT, 8, WRITE | NEXT, 1 }, { AT, 8, 0, 0 } }, { { 0 } }, 0 },
    { "indirect in indirect", { { AT, 16, INDIRECT, 0 } }, { { AT, 16, INDIRECT, 0 } }, 0 },
    { "indirect and next", { { AT, 16, INDIRECT | NEXT, 1 }, { AT, 8, WRITE, 0 } }, { { AT + 64, 8, WRITE, 0 } }, 0 },
    { "indirect of no bytes", { { AT, 0, INDIRECT, 0 } }, { { AT + 64, 8, WRITE, 0 } }, 0 },
    { "indirect of half an entry", { { AT, 24, INDIRECT, 0 } }, { { AT + 64, 8, WRITE, 0 } }, 0 },
    { "indirect past memory", { { DRIVER_START + DRIVER_MEMORY - 16, 32, INDIRECT, 0 } }, { { 0 } }, 0 },
    { "indirect longer than the queue", { { AT, 16 * (DRIVER_QUEUE_SIZE + 1), INDIRECT, 0 } }, { { AT + 64, 8, WRITE, 0 } }, 0 },
    { "indirect with next past its table", { { AT, 16, INDIRECT, 0 } }, { { AT + 64, 8, WRITE | NEXT, 1 } }, 0 },
    { "indirect not accepted",
      { { AT, 16, INDIRECT, 0 } },
      { { AT + 64, 8, WRITE, 0 } },
      VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) },
    { "what this device does not read", { { AT, 8, 0, 0 } }, { { 0 } }, 0 },
};

static void
test_bad_chains(void **state)
{
    struct driver *driver = *state;

    for (size_t i = 0; i < sizeof bad_chains / sizeof bad_chains[0]; i++) {
        const struct bad_chain *bad = &bad_chains[i];

        driver_set_up(driver, ALL_CORE & ~bad->without);
        for (unsigned j = 0; j < 3; j++)
            driver_describe(driver, 0, j, bad->descriptor[j]);
        memcpy(driver_at(driver, AT), bad->table, sizeof bad->table);
        driver_offer(driver, 0, 0);
        driver_ring(driver, 0);
        driver_expect_broken(driver);
        if (driver_used(driver, 0) != 0)
            fail_msg("%s was served", bad->name);
        expect_service(driver, ALL_CORE);
    }
}

/* Sizes are added up in 64 bits: buffers that overlap may be more than 4 GiB together. */
static void
test_length_overflow(void **state)
{
    static uint8_t byte;
    struct guest_memory memory = { .region[0] = { .start = 0, .size = UINT64_C(1) << 33, .host = &byte }, .count = 1 };
    struct vring_desc table[4] = { { 0x1000, 0x80000000, WRITE | NEXT, 1 }, { 0x1000, 0x80000000, WRITE, 0 } };
    struct {
        struct vring_desc table[4];
        uint16_t available[8];
    } *area = calloc(1, sizeof *area);
    struct queue queue = { .memory = &memory, .size = 4 };
    struct chain chain;

    assert_non_null(area);
    memcpy(area->table, table, sizeof table);
    area->available[1] = 1;
    /* Guest address n is `area` + n; nothing else of it is touched. */
    memory.region[0].host = (uint8_t *)area;
    queue.available = sizeof area->table;
    assert_int_equal(queue_pop(&queue, &chain), -EPROTO);
    area->table[1].len = 0x7fffffff;
    assert_int_equal(queue_pop(&queue, &chain), 1);
    assert_int_equal(chain.writable_size, UINT32_MAX);
    free(area);
    (void)*state;
}

static void
test_good_indirect(void **state)
{
    struct driver *driver = *state;
    struct vring_desc table[2] = { { AT + 64, 8, WRITE | NEXT, 1 }, { AT + 128, 8, WRITE, 0 } };

    driver_set_up(driver, ALL_CORE);
    /* A buffer, then a table; the table's own write flag says nothing. */
    driver_describe(driver, 0, 0, (struct vring_desc){ AT + 256, 8, WRITE | NEXT, 1 });
    driver_describe(driver, 0, 1, (struct vring_desc){ AT, sizeof table, INDIRECT | WRITE, 0 });
    memcpy(driver_at(driver, AT), table, sizeof table);
    driver_offer(driver, 0, 0);
    driver_ring(driver, 0);
    driver_wait_used(driver, 0, 1);
    assert_int_equal(driver_used_at(driver, 0, 0).len, 24);
}

static void
test_bad_rings(void **state)
{
    struct driver *driver = *state;
    uint16_t *ring = driver_at(driver, DRIVER_START + 0x400);

    driver_set_up(driver, ALL_CORE);
    __atomic_store_n(&ring[1], DRIVER_QUEUE_SIZE + 1, __ATOMIC_RELEASE);
    driver_ring(driver, 0);
    driver_expect_broken(driver);
    driver_set_up(driver, ALL_CORE);
    driver_offer(driver, 0, DRIVER_QUEUE_SIZE);
    driver_ring(driver, 0);
    driver_expect_broken(driver);
    expect_service(driver, ALL_CORE);
    driver_ring(driver, 77);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

/* What wraps at 2^16 wraps. */
static void
test_many_requests(void **state)
{
    struct driver *driver = *state;

    driver_set_up(driver, ALL_CORE);
    driver_describe(driver, 0, 0, (struct vring_desc){ AT, 8, WRITE, 0 });
    for (unsigned i = 1; i <= 70000; i++) {
        uint16_t *available = driver_at(driver, DRIVER_START + 0x400);

        /* An interrupt for this one. */
        __atomic_store_n(&available[2 + DRIVER_QUEUE_SIZE], (uint16_t)(i - 1), __ATOMIC_RELEASE);
        driver_offer(driver, 0, 0);
        driver_ring(driver, 0);
        if (i % 100 == 0 || i > 65000)
            driver_wait_used(driver, 0, (uint16_t)i);
        else
            while (driver_used(driver, 0) != (uint16_t)i)
                ;
    }
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

static unsigned handled;

/* The driver breaks a rule while its first request is handled. */
static int
handle_and_break(void *context, const struct chain *chain, uint32_t *written)
{
    (void)chain;
    handled++;
    virtio_set_features(context, 0);
    *written = 0;
    return 0;
}

static int
serve_and_break(void *context, unsigned queue)
{
    return virtio_each_request(context, queue, handle_and_break);
}

/* What was offered meanwhile is not handled, though the thread is at it. */
static void
test_broken_amid_requests(void **state)
{
    static const struct virtio_operations operations = { .name = "fragile", .id = VIRTIO_ID_RNG, .serve = serve_and_break };
    static struct virtio_device device;
    struct driver *driver = driver_make();

    (void)state;
    handled = 0;
    virtio_init(&device, &(struct virtio_setup){
                             .operations = &operations,
                             .context = &device,
                             .memory = &driver->memory,
                             .queue_count = 1,
                         });
    driver_connect(driver, &device);
    driver_set_up(driver, VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
    driver_describe(driver, 0, 3, (struct vring_desc){ AT, 64, WRITE, 0 });
    driver_offer(driver, 0, 3);
    driver_offer(driver, 0, 3);
    driver_ring(driver, 0);
    driver_expect_broken(driver);
    assert_int_equal(handled, 1);
    assert_int_equal(driver_used(driver, 0), 1);
    driver_free(driver);
}

/* The event index: an interrupt comes for the request that was named, for none before, and the device names the one it waits for. */
static void
test_event_index(void **state)
{
    struct driver *driver = *state;
    uint16_t *available = driver_at(driver, DRIVER_START + 0x400);
    const uint16_t *event = driver_at(driver, DRIVER_START + 0x804 + DRIVER_QUEUE_SIZE * sizeof(struct vring_used_elem));
    eventfd_t count;

    driver_set_up(driver, ALL_CORE);
    driver_describe(driver, 0, 0, (struct vring_desc){ AT, 8, WRITE, 0 });
    available[2 + DRIVER_QUEUE_SIZE] = 2;
    for (uint16_t i = 1; i <= 3; i++) {
        driver_offer(driver, 0, 0);
        driver_ring(driver, 0);
        while (driver_used(driver, 0) != i || __atomic_load_n(event, __ATOMIC_ACQUIRE) != i)
            ;
        if (i < 3)
            assert_int_equal(eventfd_read(driver->interrupt, &count), -1);
    }
    assert_int_equal(driver_wait(driver), VIRTIO_INTERRUPT_QUEUE);
}

static void
test_no_interrupt(void **state)
{
    struct driver *driver = *state;
    uint16_t *available = driver_at(driver, DRIVER_START + 0x400);
    eventfd_t count;

    driver_set_up(driver, VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
    driver_describe(driver, 0, 0, (struct vring_desc){ AT, 8, WRITE, 0 });
    available[0] = VRING_AVAIL_F_NO_INTERRUPT;
    driver_offer(driver, 0, 0);
    driver_ring(driver, 0);
    while (driver_used(driver, 0) != 1)
        ;
    /* The thread is gone after this, with all it would have done. */
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(eventfd_read(driver->interrupt, &count), -1);
}

static void
test_memory(void **state)
{
    uint8_t low[16] = { 1 }, high[16] = { 2 };
    struct guest_memory memory = {
        .region = { { .start = 0x1000, .size = 16, .host = low }, { .start = UINT64_MAX - 15, .size = 16, .host = high } },
        .count = 2,
    };
    uint16_t word;

    assert_ptr_equal(memory_at(&memory, 0x1000, 16), low);
    assert_ptr_equal(memory_at(&memory, UINT64_MAX, 1), high + 15);
    assert_null(memory_at(&memory, 0x1000, 17));
    assert_null(memory_at(&memory, 0xfff, 2));
    assert_null(memory_at(&memory, 0x1008, UINT64_MAX));
    assert_null(memory_at(&memory, UINT64_MAX, 2));
    assert_null(memory_at(&memory, 0x1000, 0));
    assert_int_equal(memory_load_u16(&memory, 0x1001, &word), -EFAULT);
    assert_int_equal(memory_store_u16(&memory, 0x100e, 0x1234), 0);
    assert_int_equal(memory_load_u16(&memory, 0x100e, &word), 0);
    assert_int_equal(word, 0x1234);
    (void)*state;
}

#define DEVICE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        DEVICE_TEST(test_identity),
        DEVICE_TEST(test_odd_accesses),
        DEVICE_TEST(test_service),
        DEVICE_TEST(test_interrupt_status),
        DEVICE_TEST(test_features),
        DEVICE_TEST(test_status_order),
        DEVICE_TEST(test_queue_addresses),
        DEVICE_TEST(test_rewritten_registers),
        DEVICE_TEST(test_bad_chains),
        cmocka_unit_test(test_length_overflow),
        DEVICE_TEST(test_good_indirect),
        DEVICE_TEST(test_bad_rings),
        DEVICE_TEST(test_many_requests),
        cmocka_unit_test(test_broken_amid_requests),
        DEVICE_TEST(test_event_index),
        DEVICE_TEST(test_no_interrupt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
