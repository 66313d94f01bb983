/* The virtio console: that no byte is lost, doubled or out of order either way, however slow who reads. */
#include "plugin/microvm/virtio_console.h"
#include "tests/unit/virtio_driver.h"

#include <fcntl.h>
#include <linux/virtio_console.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#define WRITE VRING_DESC_F_WRITE
#define NEXT VRING_DESC_F_NEXT
#define AT DRIVER_BUFFERS
/* Without the event index: the driver wants to hear of everything. */
#define FEATURES (VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_CONSOLE_F_EMERG_WRITE))
#define RECEIVE VIRTIO_CONSOLE_RECEIVE
#define TRANSMIT VIRTIO_CONSOLE_TRANSMIT
#define EMERGENCY (VIRTIO_MMIO_CONFIG + offsetof(struct virtio_console_config, emerg_wr))

static struct virtio_console *console;
static int input, output; /* the console's ends */
static int keyboard, screen;

static int
set_up(void **state)
{
    struct driver *driver = driver_make();
    int in[2], out[2];

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    input = in[0];
    keyboard = in[1];
    screen = out[0];
    output = out[1];
    assert_int_equal(virtio_console_create(&driver->memory, input, output, &console), 0);
    driver_connect(driver, virtio_console_device(console));
    *state = driver;
    return 0;
}

static int
tear_down(void **state)
{
    driver_free(*state);
    virtio_console_destroy(console);
    fd_close(&input);
    fd_close(&output);
    fd_close(&keyboard);
    fd_close(&screen);
    return 0;
}

static uint8_t
byte_at(uint64_t position)
{
    return (uint8_t)(position % 251);
}

static void
expect_screen(const void *bytes, size_t size)
{
    uint8_t seen[256];
    size_t done = 0;

    assert_true(size <= sizeof seen);
    while (done < size) {
        struct pollfd wait = { .fd = screen, .events = POLLIN };
        ssize_t got;

        assert_int_equal(poll(&wait, 1, DRIVER_ENOUGH_MS), 1);
        got = read(screen, seen + done, size - done);
        assert_true(got > 0);
        done += (size_t)got;
    }
    assert_memory_equal(seen, bytes, size);
}

static void
expect_quiet_screen(void)
{
    struct pollfd wait = { .fd = screen, .events = POLLIN };

    assert_int_equal(poll(&wait, 1, 30), 0);
}

/* A buffer of so many bytes for input, the descriptor of the same number. */
static void
offer_room(struct driver *driver, uint16_t index, uint32_t size)
{
    driver_describe(driver, RECEIVE, index, (struct vring_desc){ AT + 0x1000ULL * index, size, WRITE, 0 });
    driver_offer(driver, RECEIVE, index);
}

static void
test_features(void **state)
{
    struct driver *driver = *state;

    assert_int_equal(driver_read(driver, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_CONSOLE);
    driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES) & 0xffffff, 1U << VIRTIO_CONSOLE_F_EMERG_WRITE);
    driver_set_up(driver, FEATURES);
}

static void
test_output(void **state)
{
    struct driver *driver = *state;

    driver_set_up(driver, FEATURES);
    memcpy(driver_at(driver, AT), "hello, world", 12);
    driver_describe(driver, TRANSMIT, 0, (struct vring_desc){ AT, 7, NEXT, 1 });
    driver_describe(driver, TRANSMIT, 1, (struct vring_desc){ AT + 7, 5, 0, 0 });
    driver_offer(driver, TRANSMIT, 0);
    driver_ring(driver, TRANSMIT);
    driver_wait_used(driver, TRANSMIT, 1);
    assert_int_equal(driver_used_at(driver, TRANSMIT, 0).len, 0);
    expect_screen("hello, world", 12);
}

static void
test_input(void **state)
{
    struct driver *driver = *state;

    driver_set_up(driver, FEATURES);
    /* Typed before there is room for it, and in more than one buffer. */
    assert_int_equal(write(keyboard, "abcdefgh", 8), 8);
    usleep(20000);
    offer_room(driver, 0, 5);
    driver_ring(driver, RECEIVE);
    driver_wait_used(driver, RECEIVE, 1);
    assert_int_equal(driver_used_at(driver, RECEIVE, 0).len, 5);
    assert_memory_equal(driver_at(driver, AT), "abcde", 5);
    offer_room(driver, 1, 5);
    driver_ring(driver, RECEIVE);
    driver_wait_used(driver, RECEIVE, 2);
    assert_int_equal(driver_used_at(driver, RECEIVE, 1).len, 3);
    assert_memory_equal(driver_at(driver, AT + 0x1000), "fgh", 3);
    /* Room first, then what is typed. */
    offer_room(driver, 2, 100);
    driver_ring(driver, RECEIVE);
    usleep(20000);
    assert_int_equal(driver_used(driver, RECEIVE), 2);
    assert_int_equal(write(keyboard, "x", 1), 1);
    driver_wait_used(driver, RECEIVE, 3);
    assert_int_equal(driver_used_at(driver, RECEIVE, 2).len, 1);
}

#define MANY 1000000U

static void *
type_many(void *unused)
{
    uint8_t bytes[777];

    (void)unused;
    for (uint64_t done = 0; done < MANY;) {
        size_t size = MANY - done < sizeof bytes ? MANY - done : sizeof bytes;

        for (size_t i = 0; i < size; i++)
            bytes[i] = byte_at(done + i);
        assert_int_equal(write(keyboard, bytes, size), size);
        done += size;
    }
    return NULL;
}

/* A paste, into a guest that gives one small buffer now and then. */
static void
test_much_input(void **state)
{
    struct driver *driver = *state;
    uint64_t seen = 0;
    pthread_t typist;

    driver_set_up(driver, FEATURES);
    assert_int_equal(pthread_create(&typist, NULL, type_many, NULL), 0);
    for (uint16_t turn = 0; seen < MANY; turn++) {
        const uint8_t *bytes = driver_at(driver, AT);
        struct vring_used_elem used;

        offer_room(driver, 0, 64 + turn % 1000);
        driver_ring(driver, RECEIVE);
        driver_wait_used(driver, RECEIVE, (uint16_t)(turn + 1));
        used = driver_used_at(driver, RECEIVE, turn);
        assert_true(used.len > 0 && used.len <= 64U + turn % 1000);
        for (uint32_t i = 0; i < used.len; i++)
            assert_int_equal(bytes[i], byte_at(seen++));
    }
    pthread_join(typist, NULL);
}

struct reader {
    uint64_t seen;
};

/* At first nobody does; then as slowly as somebody who looks at it. */
static void *
read_many(void *context)
{
    struct reader *reader = context;
    uint8_t bytes[3000];

    usleep(100000);
    while (reader->seen < MANY) {
        ssize_t size = read(screen, bytes, sizeof bytes);

        assert_true(size > 0);
        for (ssize_t i = 0; i < size; i++)
            assert_int_equal(bytes[i], byte_at(reader->seen++));
    }
    return NULL;
}

/* More than the pipe holds, in requests that end in the middle of it. */
static void
test_much_output(void **state)
{
    struct driver *driver = *state;
    struct reader reader = { 0 };
    uint64_t written = 0;
    pthread_t thread;

    driver_set_up(driver, FEATURES);
    assert_int_equal(pthread_create(&thread, NULL, read_many, &reader), 0);
    for (uint16_t turn = 0; written < MANY; turn++) {
        const uint32_t size = MANY - written < 7000 ? (uint32_t)(MANY - written) : 7000;
        uint8_t *bytes = driver_at(driver, AT);

        for (uint32_t i = 0; i < size; i++)
            bytes[i] = byte_at(written + i);
        driver_describe(driver, TRANSMIT, 0, (struct vring_desc){ AT, size / 2, NEXT, 1 });
        driver_describe(driver, TRANSMIT, 1, (struct vring_desc){ AT + size / 2, size - size / 2, 0, 0 });
        driver_offer(driver, TRANSMIT, 0);
        driver_ring(driver, TRANSMIT);
        driver_wait_used(driver, TRANSMIT, (uint16_t)(turn + 1));
        written += size;
    }
    pthread_join(thread, NULL);
    assert_int_equal(reader.seen, MANY);
    expect_quiet_screen();
}

static void
fill_screen(void)
{
    static const uint8_t zeroes[4096];

    while (write(output, zeroes, sizeof zeroes) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
}

/* Output that waits for a reader holds up nothing: neither input nor a reset, which takes it along. */
static void
test_reset_while_output_waits(void **state)
{
    struct driver *driver = *state;
    static uint8_t bytes[1 << 20];

    driver_set_up(driver, FEATURES);
    fill_screen();
    memcpy(driver_at(driver, AT + 0x8000), "lost", 4);
    driver_describe(driver, TRANSMIT, 0, (struct vring_desc){ AT + 0x8000, 4, 0, 0 });
    driver_offer(driver, TRANSMIT, 0);
    driver_ring(driver, TRANSMIT);
    usleep(20000);
    assert_int_equal(driver_used(driver, TRANSMIT), 0);
    assert_int_equal(write(keyboard, "k", 1), 1);
    offer_room(driver, 0, 8);
    driver_ring(driver, RECEIVE);
    driver_wait_used(driver, RECEIVE, 1);
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    assert_true(read(screen, bytes, sizeof bytes) > 0);
    expect_quiet_screen();
    driver_set_up(driver, FEATURES);
    memcpy(driver_at(driver, AT), "again", 5);
    driver_describe(driver, TRANSMIT, 0, (struct vring_desc){ AT, 5, 0, 0 });
    driver_offer(driver, TRANSMIT, 0);
    driver_ring(driver, TRANSMIT);
    driver_wait_used(driver, TRANSMIT, 1);
    expect_screen("again", 5);
}

/* Nobody will read or write any more: the guest goes on, and nothing turns round and round. */
static void
test_ends(void **state)
{
    struct driver *driver = *state;
    struct timespec before, after;

    driver_set_up(driver, FEATURES);
    signal(SIGPIPE, SIG_IGN);
    fd_close(&screen);
    fd_close(&keyboard);
    offer_room(driver, 0, 8);
    driver_ring(driver, RECEIVE);
    for (uint16_t i = 1; i <= 3; i++) {
        driver_describe(driver, TRANSMIT, 0, (struct vring_desc){ AT, 8, 0, 0 });
        driver_offer(driver, TRANSMIT, 0);
        driver_ring(driver, TRANSMIT);
        driver_wait_used(driver, TRANSMIT, i);
    }
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
    usleep(200000);
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
    assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 100);
    assert_int_equal(driver_used(driver, RECEIVE), 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

/* Also while there is input and no room, or room and no input. */
static void
test_idle(void **state)
{
    struct driver *driver = *state;
    struct timespec before, after;

    driver_set_up(driver, FEATURES);
    for (int turn = 0; turn < 2; turn++) {
        if (turn == 0)
            assert_int_equal(write(keyboard, "x", 1), 1);
        else
            offer_room(driver, 0, 8), offer_room(driver, 1, 8), driver_ring(driver, RECEIVE);
        usleep(20000);
        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
        usleep(200000);
        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
        assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 100);
    }
    assert_int_equal(driver_used(driver, RECEIVE), 1);
}

/* Before any driver is ready, and a byte at a time; other places of the configuration take nothing. */
static void
test_emergency(void **state)
{
    struct driver *driver = *state;

    driver_write(driver, EMERGENCY, 'h');
    driver_write(driver, EMERGENCY, 'i' | 0xffffff00);
    virtio_mmio_operations.write(driver->mmio, EMERGENCY, (const uint8_t *)"!", 1);
    driver_write(driver, VIRTIO_MMIO_CONFIG, 'x');
    driver_write(driver, EMERGENCY + 4, 'x');
    virtio_mmio_operations.write(driver->mmio, EMERGENCY + 1, (const uint8_t *)"x", 1);
    expect_screen("hi!", 3);
    expect_quiet_screen();
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_CONFIG), 0);
}

static void *
empty_screen(void *unused)
{
    static uint8_t bytes[1 << 20];

    (void)unused;
    usleep(50000);
    assert_true(read(screen, bytes, sizeof bytes) > 0);
    return NULL;
}

static void
test_emergency_waits(void **state)
{
    struct driver *driver = *state;
    pthread_t thread;

    fill_screen();
    assert_int_equal(pthread_create(&thread, NULL, empty_screen, NULL), 0);
    driver_write(driver, EMERGENCY, '!');
    pthread_join(thread, NULL);
    expect_screen("!", 1);
}

static void
test_refused(void **state)
{
    struct driver *driver = *state;

    driver_set_up(driver, FEATURES);
    driver_describe(driver, RECEIVE, 0, (struct vring_desc){ AT, 8, 0, 0 });
    driver_offer(driver, RECEIVE, 0);
    driver_ring(driver, RECEIVE);
    driver_expect_broken(driver);
    driver_set_up(driver, FEATURES);
    driver_describe(driver, TRANSMIT, 0, (struct vring_desc){ AT, 8, NEXT, 1 });
    driver_describe(driver, TRANSMIT, 1, (struct vring_desc){ AT, 8, WRITE, 0 });
    driver_offer(driver, TRANSMIT, 0);
    driver_ring(driver, TRANSMIT);
    driver_expect_broken(driver);
    expect_quiet_screen();
}

#define CONSOLE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CONSOLE_TEST(test_features),    CONSOLE_TEST(test_output),      CONSOLE_TEST(test_input),
        CONSOLE_TEST(test_much_input),  CONSOLE_TEST(test_much_output), CONSOLE_TEST(test_reset_while_output_waits),
        CONSOLE_TEST(test_ends),        CONSOLE_TEST(test_idle),        CONSOLE_TEST(test_emergency),
        CONSOLE_TEST(test_emergency_waits), CONSOLE_TEST(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
