/* Bytes carried between descriptors: all of them, in order, however slow the reader; from pipes and files, to pipes and to nobody. */
#include "common/fd.h"
#include "supervisor/pump.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define BIG (256 * 1024)
#define ENOUGH_MS 5000

struct test {
    struct loop *loop;
    struct loop_source *reader, *writer, *timeout;
    struct pump pump;
    int from[2], to[2];
    uint8_t sent[BIG], received[BIG];
    size_t sent_size, received_size, to_send;
    int ends;
};

static void
on_timeout(void *context)
{
    const struct test *test = context;

    fail_msg("nothing more happens: %zu bytes sent, %zu received", test->sent_size, test->received_size);
}

static void
on_pause_over(void *context)
{
    loop_stop(context);
}

static int
set_up(void **state)
{
    struct test *test = calloc(1, sizeof *test);

    signal(SIGPIPE, SIG_IGN);
    test->loop = loop_create();
    assert_non_null(test->loop);
    assert_int_equal(pipe2(test->from, O_CLOEXEC), 0);
    assert_int_equal(pipe2(test->to, O_CLOEXEC), 0);
    for (size_t i = 0; i < BIG; i++)
        test->sent[i] = (uint8_t)(i * 31 + i / 251);
    test->timeout = loop_add_timer(test->loop, on_timeout, test);
    loop_set_timer(test->timeout, ENOUGH_MS);
    *state = test;
    return 0;
}

static int
tear_down(void **state)
{
    struct test *test = *state;

    pump_stop(&test->pump);
    loop_remove(&test->reader);
    loop_remove(&test->writer);
    loop_remove(&test->timeout);
    loop_destroy(test->loop);
    for (int i = 0; i < 2; i++) {
        fd_close(&test->from[i]);
        fd_close(&test->to[i]);
    }
    free(test);
    return 0;
}

static void
on_end(void *context)
{
    struct test *test = context;

    test->ends++;
    if (test->reader == NULL)
        loop_stop(test->loop);
}

/* As much as goes in; then the end. */
static void
on_writable(void *context, uint32_t events)
{
    struct test *test = context;
    ssize_t written = write(test->from[1], test->sent + test->sent_size, test->to_send - test->sent_size);

    (void)events;
    assert_true(written > 0 || errno == EAGAIN);
    test->sent_size += written > 0 ? (size_t)written : 0;
    if (test->sent_size == test->to_send) {
        loop_remove(&test->writer);
        fd_close(&test->from[1]);
    }
}

/* Slowly, in odd pieces. */
static void
on_readable(void *context, uint32_t events)
{
    struct test *test = context;
    ssize_t got = read(test->to[0], test->received + test->received_size, 777);

    (void)events;
    assert_true(got > 0);
    test->received_size += (size_t)got;
    if (test->received_size == test->to_send)
        loop_stop(test->loop);
}

static void
write_all(struct test *test, size_t size)
{
    test->to_send = size;
    fcntl(test->from[1], F_SETFL, O_NONBLOCK);
    test->writer = loop_add(test->loop, test->from[1], EPOLLOUT, on_writable, test);
    assert_non_null(test->writer);
}

static void
read_all(struct test *test)
{
    test->reader = loop_add(test->loop, test->to[0], EPOLLIN, on_readable, test);
    assert_non_null(test->reader);
}

static void
test_slow_reader(void **state)
{
    struct test *test = *state;

    assert_int_equal(pump_begin(&test->pump, test->loop, test->from[0], test->to[1], NULL, on_end, test), 0);
    write_all(test, BIG);
    read_all(test);
    assert_int_equal(loop_run(test->loop), 0);
    assert_memory_equal(test->received, test->sent, BIG);
    pump_drain(&test->pump, 1);
    assert_int_equal(test->ends, 1);
}

/* Nobody reads: the writer stands still, and a buffer is all that is held. */
static void
test_no_reader(void **state)
{
    struct test *test = *state;
    size_t room = (size_t)fcntl(test->from[1], F_GETPIPE_SZ) + (size_t)fcntl(test->to[1], F_GETPIPE_SZ);

    assert_true(room + PIPE_BUF < BIG);
    assert_int_equal(pump_begin(&test->pump, test->loop, test->from[0], test->to[1], NULL, on_end, test), 0);
    write_all(test, BIG);
    /* The loop has nothing to do any more, and its time runs out. */
    loop_remove(&test->timeout);
    test->timeout = loop_add_timer(test->loop, on_pause_over, test->loop);
    loop_set_timer(test->timeout, 200);
    assert_int_equal(loop_run(test->loop), 0);
    assert_true(test->sent_size > 0 && test->sent_size <= room + PIPE_BUF);
    assert_int_equal(test->ends, 0);
    /* Whoever reads later gets it all. */
    loop_remove(&test->timeout);
    test->timeout = loop_add_timer(test->loop, on_timeout, test);
    loop_set_timer(test->timeout, ENOUGH_MS);
    read_all(test);
    assert_int_equal(loop_run(test->loop), 0);
    assert_memory_equal(test->received, test->sent, BIG);
}

/* The reader is gone: what comes is dropped, and its writer goes on. */
static void
test_reader_gone(void **state)
{
    struct test *test = *state;

    fd_close(&test->to[0]);
    assert_int_equal(pump_begin(&test->pump, test->loop, test->from[0], test->to[1], NULL, on_end, test), 0);
    write_all(test, BIG);
    assert_int_equal(loop_run(test->loop), 0);
    assert_int_equal(test->sent_size, BIG);
    assert_int_equal(test->ends, 1);
}

/* A file cannot be waited for; it is read as the other side takes it. */
static void
test_from_file(void **state)
{
    struct test *test = *state;
    int file = memfd_create("input", MFD_CLOEXEC);

    assert_int_equal(write(file, test->sent, BIG), BIG);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    test->to_send = BIG;
    assert_int_equal(pump_begin(&test->pump, test->loop, file, test->to[1], NULL, on_end, test), 0);
    read_all(test);
    assert_int_equal(loop_run(test->loop), 0);
    assert_memory_equal(test->received, test->sent, BIG);
    pump_drain(&test->pump, 1);
    assert_int_equal(test->ends, 1);
    pump_stop(&test->pump);
    close(file);
}

static void
test_to_null(void **state)
{
    struct test *test = *state;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    assert_int_equal(pump_begin(&test->pump, test->loop, test->from[0], null, NULL, on_end, test), 0);
    write_all(test, BIG);
    assert_int_equal(loop_run(test->loop), 0);
    assert_int_equal(test->ends, 1);
    pump_stop(&test->pump);
    close(null);
}

static size_t
cut_to_three(void *context, char *data, size_t size)
{
    (void)context;
    (void)data;
    return size < 3 ? size : 3;
}

static void
test_filter(void **state)
{
    struct test *test = *state;
    char got[16];

    assert_int_equal(pump_begin(&test->pump, test->loop, test->from[0], test->to[1], cut_to_three, on_end, test), 0);
    assert_int_equal(write(test->from[1], "abcdef", 6), 6);
    pump_drain(&test->pump, BIG);
    assert_int_equal(read(test->to[0], got, sizeof got), 3);
    assert_memory_equal(got, "abc", 3);
}

/* The last words of somebody who never stops: so many, and no more. */
static void
test_drain_has_a_limit(void **state)
{
    struct test *test = *state;
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    test->pump = (struct pump){ .loop = test->loop, .from = zero, .to = null };
    pump_drain(&test->pump, 10 * PIPE_BUF);
    assert_false(test->pump.ended);
    assert_int_equal(test->pump.size, 0);
    close(zero);
    close(null);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_slow_reader), TEST(test_no_reader), TEST(test_reader_gone),       TEST(test_from_file),
        TEST(test_to_null),     TEST(test_filter),    TEST(test_drain_has_a_limit),
    };

    return cmocka_run_group_tests_name("pump", tests, NULL, NULL);
}
