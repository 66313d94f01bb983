/* The configuration space of virtio devices: how one changes it, how a driver writes it, and that the driver is told. */
#include "tests/unit/virtio_driver.h"

#include <signal.h>

#define CONFIG_SIZE 12
#define CONFIG VIRTIO_MMIO_CONFIG

/* Takes what is written to the second word alone. */
struct plain {
    struct virtio_device device;
    uint32_t config[CONFIG_SIZE / sizeof(uint32_t)];
    unsigned writes;
};

static int
serve(void *device, unsigned queue)
{
    (void)device, (void)queue;
    return 0;
}

static void
write_config(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    struct plain *plain = device;

    plain->writes++;
    if (offset == 4 && size == 4)
        memcpy(&plain->config[1], data, size);
}

static const struct virtio_operations written = { .name = "plain", .id = 1, .serve = serve, .write_config = write_config };
static const struct virtio_operations fixed = { .name = "plain", .id = 1, .serve = serve };

static struct plain plain;

static struct driver *
plug(const struct virtio_operations *operations)
{
    struct driver *driver = driver_make();

    plain = (struct plain){ .config = { 1, 2, 3 } };
    virtio_init(&plain.device, &(struct virtio_setup){
                                   .operations = operations,
                                   .context = &plain,
                                   .memory = &driver->memory,
                                   .config = plain.config,
                                   .config_size = sizeof plain.config,
                                   .queue_count = 1,
                               });
    driver_connect(driver, &plain.device);
    return driver;
}

static void
expect_no_interrupt(struct driver *driver)
{
    eventfd_t count;

    assert_int_equal(eventfd_read(driver->interrupt, &count), -1);
    assert_int_equal(errno, EAGAIN);
}

static void
change(unsigned word, uint32_t value)
{
    virtio_change_config(&plain.device, word * sizeof value, value);
}

/* 2.5.1: another generation, then an interrupt, where there is a driver; one that comes later finds it by itself. */
static void
test_change(void **state)
{
    struct driver *driver = plug(&fixed);
    uint32_t generation = driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION);

    (void)state;
    assert_int_equal(driver_read(driver, CONFIG + 8), 3);
    change(2, 30);
    expect_no_interrupt(driver);
    driver_set_up(driver, VIRTIO_CORE_FEATURES);
    assert_int_equal(driver_read(driver, CONFIG + 8), 30);
    assert_int_not_equal(driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION), generation);
    expect_no_interrupt(driver);

    generation = driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION);
    change(0, 10);
    assert_int_equal(driver_wait(driver), VIRTIO_INTERRUPT_CONFIG);
    assert_int_equal(driver_read(driver, CONFIG), 10);
    assert_int_equal(driver_read(driver, CONFIG + 4), 2);
    assert_int_not_equal(driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION), generation);
    /* What is as it was is no new generation, but the device may have its reasons. */
    generation = driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION);
    change(0, 10);
    assert_int_equal(driver_wait(driver), VIRTIO_INTERRUPT_CONFIG);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION), generation);
    driver_free(driver);
}

static void *
change_often(void *unused)
{
    (void)unused;
    for (uint32_t i = 1; i <= 20000; i++)
        change(0, i * 0x10001);
    return NULL;
}

/* A word is never half of one and half of another. */
static void
test_words_change_whole(void **state)
{
    struct driver *driver = plug(&fixed);
    uint32_t word = 0;
    pthread_t thread;

    (void)state;
    change(0, 0);
    driver_set_up(driver, VIRTIO_CORE_FEATURES);
    assert_int_equal(pthread_create(&thread, NULL, change_often, NULL), 0);
    while (word != 20000U * 0x10001U) {
        word = driver_read(driver, CONFIG);
        assert_int_equal(word % 0x10001, 0);
    }
    pthread_join(thread, NULL);
    driver_free(driver);
}

/* All states of the page that a driver could read while a word changes: looked at after each instruction. */
#define STATES_MAX 8

struct state {
    uint32_t generation, word;
};

static struct steps {
    struct driver *driver;
    struct state state[STATES_MAX];
    size_t count;
} steps;

static void
look(int signal)
{
    const struct state now = { driver_read(steps.driver, VIRTIO_MMIO_CONFIG_GENERATION), driver_read(steps.driver, CONFIG) };
    const struct state *last = &steps.state[steps.count - 1];

    (void)signal;
    if ((now.generation != last->generation || now.word != last->word) && steps.count < STATES_MAX)
        steps.state[steps.count++] = now;
}

/* The trap flag, outside of the red zone. */
static void
trap(bool on)
{
    if (on)
        __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::: "memory", "cc");
    else
        __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::: "memory", "cc");
}

/*
 * 2.5.1: who reads on both sides of the change finds two generations, and who kept what was there before it, under any of the generations
 * that it had, finds another one now.
 */
static void
test_generation(void **state)
{
    struct driver *driver = plug(&fixed);
    const struct sigaction action = { .sa_handler = look };
    const struct state *last;
    struct sigaction before;

    (void)state;
    driver_set_up(driver, VIRTIO_CORE_FEATURES);
    steps = (struct steps){ .driver = driver, .count = 1 };
    steps.state[0] = (struct state){ driver_read(driver, VIRTIO_MMIO_CONFIG_GENERATION), 1 };
    assert_int_equal(sigaction(SIGTRAP, &action, &before), 0);
    trap(true);
    change(0, 10);
    trap(false);
    sigaction(SIGTRAP, &before, NULL);
    last = &steps.state[steps.count - 1];
    assert_in_range(steps.count, 3, STATES_MAX - 1);
    assert_int_equal(last->word, 10);
    for (size_t i = 0; i < steps.count; i++) {
        assert_true(steps.state[i].word == 1 || steps.state[i].word == 10);
        if (steps.state[i].word == 1)
            assert_int_not_equal(steps.state[i].generation, last->generation);
        else
            assert_int_not_equal(steps.state[i].generation, steps.state[0].generation);
    }
    driver_free(driver);
}

static void
test_driver_writes(void **state)
{
    struct driver *driver = plug(&written);

    (void)state;
    driver_write(driver, CONFIG + 4, 77);
    assert_int_equal(driver_read(driver, CONFIG + 4), 77);
    assert_int_equal(plain.config[1], 77);
    driver_write(driver, CONFIG, 78);
    assert_int_equal(driver_read(driver, CONFIG), 1);
    assert_int_equal(plain.writes, 2);
    expect_no_interrupt(driver);
    driver_free(driver);
}

/* Neither past the end, nor across it, nor where a device takes nothing. */
static void
test_driver_writes_beyond(void **state)
{
    static const uint8_t bytes[16] = { 9 };
    struct driver *driver = plug(&written);

    (void)state;
    virtio_mmio_operations.write(driver->mmio, CONFIG + 8, bytes, 8);
    virtio_mmio_operations.write(driver->mmio, CONFIG + 11, bytes, 2);
    virtio_mmio_operations.write(driver->mmio, CONFIG + 12, bytes, 4);
    virtio_mmio_operations.write(driver->mmio, CONFIG + 100, bytes, 1);
    virtio_mmio_operations.write(driver->mmio, CONFIG, bytes, 16);
    virtio_write_config(&plain.device, UINT64_MAX, bytes, 2);
    assert_int_equal(plain.writes, 0);
    driver_free(driver);
    driver = plug(&fixed);
    driver_write(driver, CONFIG + 4, 77);
    assert_int_equal(driver_read(driver, CONFIG + 4), 2);
    assert_int_equal(driver_read(driver, CONFIG + 12), 0);
    driver_free(driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_words_change_whole),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_driver_writes),
        cmocka_unit_test(test_driver_writes_beyond),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
