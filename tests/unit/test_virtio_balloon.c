/* The memory balloon: what is given back really leaves the host's memory, page by page, and nothing that is not memory is touched. */
#include "plugin/microvm/virtio_balloon.h"
#include "tests/unit/virtio_driver.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT
#define AT DRIVER_BUFFERS

/* What the balloon takes from: a memfd, as the guest's memory is, beside the driver's own memory. */
#define START 0x1000000ULL
#define PAGES 64
#define SIZE (PAGES * VIRTIO_BALLOON_PAGE)

/* Without the event index: the driver wants to hear of everything. */
#define CORE VIRTIO_FEATURE(VIRTIO_F_VERSION_1)
#define STATS VIRTIO_FEATURE(VIRTIO_BALLOON_F_STATS_VQ)
#define REPORTING VIRTIO_FEATURE(VIRTIO_BALLOON_F_REPORTING)
#define POISON VIRTIO_FEATURE(VIRTIO_BALLOON_F_PAGE_POISON)
#define ALL (CORE | STATS | REPORTING)

static struct virtio_balloon *balloon;
static int memory_fd;
static uint8_t *memory;
/* What the guest told last, and an eventfd that counts how often. */
static struct virtio_balloon_statistics last;
static int told_event;

static void
told(void *context, const struct virtio_balloon_statistics *statistics)
{
    assert_ptr_equal(context, &last);
    last = *statistics;
    eventfd_write(told_event, 1);
}

static int
set_up(void **state)
{
    struct driver *driver = driver_make();
    const struct virtio_balloon_settings settings = { .told = told, .context = &last };

    memory_fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(memory_fd, SIZE), 0);
    memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 0x5a, SIZE);
    driver->memory.region[driver->memory.count++] = (struct guest_region){ .start = START, .size = SIZE, .host = memory };
    told_event = eventfd(0, EFD_CLOEXEC);
    memset(&last, 0, sizeof last);
    assert_int_equal(virtio_balloon_create(&driver->memory, &settings, &balloon), 0);
    driver_connect(driver, virtio_balloon_device(balloon));
    *state = driver;
    return 0;
}

static int
tear_down(void **state)
{
    driver_free(*state);
    virtio_balloon_destroy(balloon);
    munmap(memory, SIZE);
    close(memory_fd);
    close(told_event);
    return 0;
}

/* As Linux does, which makes ready only what exists. */
static void
start(struct driver *driver, uint64_t features, unsigned queues)
{
    driver_negotiate(driver, features);
    for (unsigned i = 0; i < queues; i++)
        driver_set_queue(driver, i);
    driver_write(driver, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

/* How many pages the host holds of this memory. */
static unsigned
held(void)
{
    struct stat status;

    assert_int_equal(fstat(memory_fd, &status), 0);
    return (unsigned)((uint64_t)status.st_blocks * 512 / VIRTIO_BALLOON_PAGE);
}

static void
send(struct driver *driver, unsigned queue, const void *bytes, size_t size)
{
    const uint16_t before = driver_used(driver, queue);

    memcpy(driver_at(driver, AT), bytes, size);
    driver_describe(driver, queue, 0, (struct vring_desc){ AT, (uint32_t)size, 0, 0 });
    driver_offer(driver, queue, 0);
    driver_ring(driver, queue);
    driver_wait_used(driver, queue, (uint16_t)(before + 1));
}

static void
send_pages(struct driver *driver, unsigned queue, const uint32_t *page, size_t count)
{
    uint32_t number[PAGES];

    for (size_t i = 0; i < count; i++)
        number[i] = (uint32_t)(START / VIRTIO_BALLOON_PAGE) + page[i];
    send(driver, queue, number, count * sizeof number[0]);
}

static void
expect_page(unsigned page, uint8_t byte)
{
    for (size_t i = 0; i < VIRTIO_BALLOON_PAGE; i++)
        assert_int_equal(memory[page * VIRTIO_BALLOON_PAGE + i], byte);
}

static void
test_inflate(void **state)
{
    /* Upwards, downwards, one by itself, one twice. */
    static const uint32_t pages[] = { 3, 4, 5, 20, 19, 18, 17, 40, 40 };
    bool gone[PAGES] = { false };
    struct driver *driver = *state;
    unsigned there = PAGES;

    assert_int_equal(held(), PAGES);
    start(driver, ALL, 4);
    send_pages(driver, 0, pages, sizeof pages / sizeof pages[0]);
    assert_int_equal(held(), PAGES - 8);
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        gone[pages[i]] = true;
    for (unsigned i = 0; i < PAGES; i++) {
        expect_page(i, gone[i] ? 0 : 0x5a);
        there -= gone[i];
    }
    assert_int_equal(there, PAGES - 8);
    /* They came back by being touched, as all did just now, which may be before we are told: what is in them stays. */
    memset(memory + 3 * VIRTIO_BALLOON_PAGE, 1, 3 * VIRTIO_BALLOON_PAGE);
    assert_int_equal(held(), PAGES);
    send_pages(driver, 1, pages, 4);
    assert_int_equal(held(), PAGES);
    for (unsigned i = 3; i < 6; i++)
        expect_page(i, 1);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

/* All at once, in several buffers, one of which ends in the middle of a number. */
static void
test_inflate_all(void **state)
{
    struct driver *driver = *state;
    uint32_t number[PAGES];

    start(driver, CORE, 2);
    for (uint32_t i = 0; i < PAGES; i++)
        number[i] = (uint32_t)(START / VIRTIO_BALLOON_PAGE) + i;
    memcpy(driver_at(driver, AT), number, sizeof number);
    driver_describe(driver, 0, 0, (struct vring_desc){ AT, 6, NEXT, 1 });
    driver_describe(driver, 0, 1, (struct vring_desc){ AT + 6, sizeof number - 6, 0, 0 });
    driver_offer(driver, 0, 0);
    driver_ring(driver, 0);
    driver_wait_used(driver, 0, 1);
    assert_int_equal(held(), 0);
    assert_int_equal(driver_used_at(driver, 0, 0).len, 0);
}

static void
expect_refused(struct driver *driver, unsigned queue, struct vring_desc descriptor)
{
    start(driver, ALL, 4);
    driver_describe(driver, queue, 0, descriptor);
    driver_offer(driver, queue, 0);
    driver_ring(driver, queue);
    driver_expect_broken(driver);
}

static void
test_refused_pages(void **state)
{
    static const uint32_t across[] = { START / VIRTIO_BALLOON_PAGE + PAGES - 1, START / VIRTIO_BALLOON_PAGE + PAGES };
    static const uint32_t wrong[] = { 0, 0xf, START / VIRTIO_BALLOON_PAGE - 1, START / VIRTIO_BALLOON_PAGE + PAGES, 0xfec00, UINT32_MAX };
    struct driver *driver = *state;

    for (unsigned queue = 0; queue < 2; queue++) {
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            memcpy(driver_at(driver, AT), &wrong[i], sizeof wrong[i]);
            expect_refused(driver, queue, (struct vring_desc){ AT, sizeof wrong[i], 0, 0 });
        }
        memcpy(driver_at(driver, AT), across, sizeof across);
        expect_refused(driver, queue, (struct vring_desc){ AT, 8, 0, 0 });
        expect_refused(driver, queue, (struct vring_desc){ AT, 5, 0, 0 });
        expect_refused(driver, queue, (struct vring_desc){ AT, 4, WRITE, 0 });
    }
    assert_int_equal(held(), PAGES);
    /* It was the request that was bad, not the device. */
    start(driver, ALL, 4);
    send_pages(driver, 0, (const uint32_t[]){ 7 }, 1);
    assert_int_equal(held(), PAGES - 1);
}

/* More numbers than a request may have: by one buffer that is as often in it as the queue allows. */
static void
test_too_many_pages(void **state)
{
    struct driver *driver = *state;
    const uint32_t size = VIRTIO_BALLOON_PAGES_MAX * sizeof(uint32_t) / DRIVER_QUEUE_SIZE;
    const uint32_t page = START / VIRTIO_BALLOON_PAGE;
    uint8_t *numbers = calloc(1, size + 4);

    assert_non_null(numbers);
    for (uint32_t i = 0; i < size + 4; i += 4)
        memcpy(numbers + i, &page, sizeof page);
    driver->memory.region[0].size = DRIVER_MEMORY;
    /* In the region's place, so that there is so much. */
    driver->memory.region[1] = (struct guest_region){ .start = START, .size = size + 4, .host = numbers };
    start(driver, CORE, 2);
    for (uint16_t i = 0; i < DRIVER_QUEUE_SIZE; i++)
        driver_describe(driver, 1, i,
                        (struct vring_desc){ START, size, i + 1 < DRIVER_QUEUE_SIZE ? NEXT : 0, (uint16_t)(i + 1) });
    driver_offer(driver, 1, 0);
    driver_ring(driver, 1);
    driver_wait_used(driver, 1, 1);
    driver_describe(driver, 1, 7, (struct vring_desc){ START, size + 4, 0, 0 });
    driver_offer(driver, 1, 0);
    driver_ring(driver, 1);
    driver_expect_broken(driver);
    free(numbers);
}

static uint64_t
page_at(unsigned number)
{
    return START + number * VIRTIO_BALLOON_PAGE;
}

static void
report(struct driver *driver, unsigned queue)
{
    const uint16_t before = driver_used(driver, queue);

    /* Pages 8 to 15, and of what is left only what is whole: 31. */
    driver_describe(driver, queue, 0, (struct vring_desc){ page_at(8), 8 * VIRTIO_BALLOON_PAGE, WRITE | NEXT, 1 });
    driver_describe(driver, queue, 1, (struct vring_desc){ page_at(30) + 1, 3 * VIRTIO_BALLOON_PAGE - 2, WRITE | NEXT, 2 });
    driver_describe(driver, queue, 2, (struct vring_desc){ page_at(50) + 1, VIRTIO_BALLOON_PAGE, WRITE, 0 });
    driver_offer(driver, queue, 0);
    driver_ring(driver, queue);
    driver_wait_used(driver, queue, (uint16_t)(before + 1));
}

/* Under either number, and under the one that it has where there are no statistics. */
static void
test_reporting(void **state)
{
    static const struct {
        uint64_t features;
        unsigned queues, queue;
    } cases[] = { { ALL, 4, 3 }, { ALL, 5, 4 }, { CORE | REPORTING, 3, 2 }, { ALL | POISON, 4, 3 } };
    struct driver *driver = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(memory, 0x5a, SIZE);
        start(driver, cases[i].features, cases[i].queues);
        assert_int_equal(held(), PAGES);
        report(driver, cases[i].queue);
        assert_int_equal(held(), PAGES - 9);
        for (unsigned page = 8; page < 16; page++)
            expect_page(page, 0);
        expect_page(30, 0x5a);
        expect_page(31, 0);
        expect_page(32, 0x5a);
        expect_page(50, 0x5a);
        expect_page(51, 0x5a);
    }
    expect_refused(driver, 3, (struct vring_desc){ START, VIRTIO_BALLOON_PAGE, 0, 0 });
    assert_int_equal(memory[0], 0x5a);
}

/* A guest that looks for a pattern in its free pages keeps them. */
static void
test_poison(void **state)
{
    struct driver *driver = *state;
    const uint64_t poison = VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, poison_val);

    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    driver_write(driver, poison, 0xaaaaaaaa);
    assert_int_equal(driver_read(driver, poison), 0xaaaaaaaa);
    start(driver, ALL | POISON, 4);
    report(driver, 3);
    assert_int_equal(held(), PAGES);
    /* What it does not look for any more, or never said that it would: given back. */
    start(driver, ALL, 4);
    report(driver, 3);
    assert_int_equal(held(), PAGES - 9);
}

/* A queue that does not exist for want of its feature. */
static void
test_no_queue(void **state)
{
    struct driver *driver = *state;

    driver_negotiate(driver, CORE);
    for (unsigned i = 0; i < 3; i++)
        driver_set_queue(driver, i);
    driver_write(driver, VIRTIO_MMIO_STATUS, 15);
    driver_expect_broken(driver);
}

static void
expect_told(void)
{
    struct pollfd wait = { .fd = told_event, .events = POLLIN };
    eventfd_t count;

    assert_int_equal(poll(&wait, 1, DRIVER_ENOUGH_MS), 1);
    assert_int_equal(eventfd_read(told_event, &count), 0);
    assert_int_equal(count, 1);
}

/* The device says that it has been told a moment before it can be asked again. */
static void
ask(void)
{
    for (unsigned i = 0; !virtio_balloon_ask(balloon); i++) {
        assert_true(i < DRIVER_ENOUGH_MS);
        usleep(1000);
    }
}

static void
tell(struct driver *driver, const struct virtio_balloon_stat *statistics, size_t count)
{
    memcpy(driver_at(driver, AT), statistics, count * sizeof statistics[0]);
    driver_describe(driver, 2, 0, (struct vring_desc){ AT, (uint32_t)(count * sizeof statistics[0]), 0, 0 });
    driver_offer(driver, 2, 0);
    driver_ring(driver, 2);
    expect_told();
}

static void
test_statistics(void **state)
{
    static const struct virtio_balloon_stat first[] = { { VIRTIO_BALLOON_S_MEMTOT, 1000 }, { 77, 5 }, { VIRTIO_BALLOON_S_MEMFREE, 400 } };
    static const struct virtio_balloon_stat second[] = { { VIRTIO_BALLOON_S_MEMFREE, UINT64_MAX } };
    struct driver *driver = *state;

    assert_false(virtio_balloon_ask(balloon));
    start(driver, ALL, 4);
    assert_false(virtio_balloon_ask(balloon));
    tell(driver, first, 3);
    assert_int_equal(last.present, 1U << VIRTIO_BALLOON_S_MEMTOT | 1U << VIRTIO_BALLOON_S_MEMFREE);
    assert_int_equal(last.value[VIRTIO_BALLOON_S_MEMTOT], 1000);
    assert_int_equal(last.value[VIRTIO_BALLOON_S_MEMFREE], 400);
    assert_int_equal(driver_used(driver, 2), 0);
    ask();
    driver_wait_used(driver, 2, 1);
    /* Once asked, not again before there was an answer. */
    assert_false(virtio_balloon_ask(balloon));
    tell(driver, second, 1);
    assert_int_equal(last.present, 1U << VIRTIO_BALLOON_S_MEMFREE);
    assert_true(last.value[VIRTIO_BALLOON_S_MEMFREE] == UINT64_MAX);
    ask();
    driver_wait_used(driver, 2, 2);
    /* A reset forgets what was held. */
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    start(driver, ALL, 4);
    assert_false(virtio_balloon_ask(balloon));
}

/* A second request while we hold one; one to be written; of too many, some are looked at. */
static void
test_refused_statistics(void **state)
{
    static struct virtio_balloon_stat many[VIRTIO_BALLOON_STATISTICS_MAX + 1];
    struct driver *driver = *state;

    expect_refused(driver, 2, (struct vring_desc){ AT, 10, WRITE, 0 });
    start(driver, ALL, 4);
    many[VIRTIO_BALLOON_STATISTICS_MAX - 1] = (struct virtio_balloon_stat){ VIRTIO_BALLOON_S_MAJFLT, 1 };
    many[VIRTIO_BALLOON_STATISTICS_MAX] = (struct virtio_balloon_stat){ VIRTIO_BALLOON_S_MINFLT, 1 };
    tell(driver, many, VIRTIO_BALLOON_STATISTICS_MAX + 1);
    assert_int_equal(last.present, 1U << VIRTIO_BALLOON_S_SWAP_IN | 1U << VIRTIO_BALLOON_S_MAJFLT);
    driver_offer(driver, 2, 0);
    driver_ring(driver, 2);
    driver_expect_broken(driver);
}

static void
test_target(void **state)
{
    const uint64_t wanted = VIRTIO_MMIO_CONFIG, actual = VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, actual);
    const uint64_t pages = PAGES + DRIVER_MEMORY / VIRTIO_BALLOON_PAGE;
    struct driver *driver = *state;

    start(driver, ALL, 4);
    assert_int_equal(virtio_balloon_size(balloon), 0);
    virtio_balloon_set_target(balloon, 10 * VIRTIO_BALLOON_PAGE + 1);
    assert_int_equal(driver_wait(driver), VIRTIO_INTERRUPT_CONFIG);
    assert_int_equal(driver_read(driver, wanted), 10);
    driver_write(driver, actual, 10);
    assert_int_equal(driver_read(driver, actual), 10);
    assert_int_equal(virtio_balloon_size(balloon), 10 * VIRTIO_BALLOON_PAGE);
    virtio_balloon_set_target(balloon, UINT64_MAX);
    assert_int_equal(driver_wait(driver), VIRTIO_INTERRUPT_CONFIG);
    assert_int_equal(driver_read(driver, wanted), pages);
    /* The driver cannot change what is wanted; a new one has given nothing, and finds the same wish. */
    driver_write(driver, wanted, 1);
    assert_int_equal(driver_read(driver, wanted), pages);
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    start(driver, ALL, 4);
    assert_int_equal(driver_read(driver, actual), 0);
    assert_int_equal(driver_read(driver, wanted), pages);
    assert_int_equal(virtio_balloon_size(balloon), 0);
}

#define BALLOON_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BALLOON_TEST(test_inflate),    BALLOON_TEST(test_inflate_all), BALLOON_TEST(test_refused_pages),
        BALLOON_TEST(test_too_many_pages), BALLOON_TEST(test_reporting), BALLOON_TEST(test_poison),
        BALLOON_TEST(test_no_queue),   BALLOON_TEST(test_statistics),  BALLOON_TEST(test_refused_statistics),
        BALLOON_TEST(test_target),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
