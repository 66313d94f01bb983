/* Lines of vmproc and the plugin: levels, limits of length and number, what is shown and what is left out, the last words. */
#include "supervisor/guest_log.h"

#include "common/fd.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#define LOG_MAX (256 * 1024)

/* Our log goes into a file, and is read from there. */
struct place {
    FILE *file;
    char text[LOG_MAX];
};

static int
begin(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    if (place == NULL || (place->file = tmpfile()) == NULL)
        return -1;
    log_init("test", LOG_STYLE_PIPE, fileno(place->file), LOG_LEVEL_INFO);
    *state = place;
    return 0;
}

static int
end(void **state)
{
    struct place *place = *state;

    log_init("test", LOG_STYLE_TERMINAL, STDERR_FILENO, LOG_LEVEL_INFO);
    fclose(place->file);
    free(place);
    return 0;
}

static const char *
logged(struct place *place)
{
    ssize_t length = pread(fileno(place->file), place->text, sizeof place->text - 1, 0);

    assert_true(length >= 0);
    place->text[length] = '\0';
    return place->text;
}

static size_t
count_lines(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static void
feed(struct guest_log *log, const char *text)
{
    guest_log_feed(log, text, strlen(text));
}

static void
test_lines(void **state)
{
    struct guest_log log = { .name = "plugin", .level = LOG_LEVEL_WARNING, .fd = -1 };

    feed(&log, "one\n\ntw");
    feed(&log, "o\n<3>no level of its own\nno end");
    assert_string_equal(logged(*state), "<4>plugin: one\n<4>plugin: two\n<4>plugin: <3>no level of its own\n");
    guest_log_end(&log);
    assert_string_equal(logged(*state),
                        "<4>plugin: one\n<4>plugin: two\n<4>plugin: <3>no level of its own\n<4>plugin: no end\n");
}

static void
test_levels(void **state)
{
    struct guest_log log = { .name = "vmproc", .level = LOG_LEVEL_WARNING, .has_levels = true, .fd = -1 };

    /* Not louder than an error; what is no level stays text; what is not to be seen is not. */
    feed(&log, "<3>bad\n<6>good to know\n<7>hidden\n<0>an emergency\n<33>x\n<\n");
    assert_string_equal(logged(*state), "<3>vmproc: bad\n<6>vmproc: good to know\n<4>vmproc: <0>an emergency\n"
                                        "<4>vmproc: <33>x\n<4>vmproc: <\n");
}

/* Neither a terminal's escape sequences nor a NUL pass, nor can a line be made to look like two. */
static void
test_hostile_bytes(void **state)
{
    static const char bytes[] = "a\033[2J\0b\rc\x9b" "d\n";
    struct guest_log log = { .name = "plugin", .level = LOG_LEVEL_WARNING, .fd = -1 };
    const char *text;

    guest_log_feed(&log, bytes, sizeof bytes - 1);
    text = logged(*state);
    assert_int_equal(count_lines(text), 1);
    assert_non_null(strstr(text, "?b"));
    for (; *text != '\n'; text++)
        assert_true(*text >= ' ' && *text < 0x7f);
}

static void
test_long_line(void **state)
{
    struct guest_log log = { .name = "plugin", .level = LOG_LEVEL_WARNING, .fd = -1 };
    char block[1000];
    const char *text;

    memset(block, 'x', sizeof block);
    for (int i = 0; i < 1000; i++)
        guest_log_feed(&log, block, sizeof block);
    assert_string_equal(logged(*state), "");
    feed(&log, "\nnext\n");
    text = logged(*state);
    assert_int_equal(count_lines(text), 2);
    assert_int_equal(strspn(text + strlen("<4>plugin: "), "x"), GUEST_LOG_LINE_MAX);
    assert_non_null(strstr(text, " (cut)\n<4>plugin: next\n"));
}

static void
test_many_lines(void **state)
{
    struct guest_log log = { .name = "plugin", .level = LOG_LEVEL_WARNING, .fd = -1 };
    char expected[64];
    const char *text;

    for (int i = 0; i < 10000; i++)
        feed(&log, "again\n");
    assert_int_equal(count_lines(logged(*state)), GUEST_LOG_LINES_MAX);
    guest_log_end(&log);
    text = logged(*state);
    assert_int_equal(count_lines(text), GUEST_LOG_LINES_MAX + 1);
    snprintf(expected, sizeof expected, "<4>plugin: %d more lines were not shown\n", 10000 - GUEST_LOG_LINES_MAX);
    assert_non_null(strstr(text, expected));
}

/* A writer that never rests, for longer than two periods: it waits for its turn, so that reading it costs little. */
struct flood {
    struct loop *loop;
    struct guest_log log;
    int writer;
    size_t written;
    struct loop_source *source, *timer;
};

static void
on_writable(void *context, uint32_t events)
{
    struct flood *flood = context;
    char lines[4096];
    ssize_t written;

    (void)events;
    memset(lines, '\n', sizeof lines);
    for (size_t i = 0; i + 2 < sizeof lines; i += 2)
        lines[i] = 'x';
    written = write(flood->writer, lines, sizeof lines);
    if (written > 0)
        flood->written += (size_t)written;
}

static void
on_end(void *context)
{
    struct flood *flood = context;

    loop_stop(flood->loop);
}

static void
test_flood(void **state)
{
    struct flood flood = { .loop = loop_create() };
    const size_t periods = 3;
    int ends[2];

    assert_non_null(flood.loop);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    flood.writer = ends[1];
    assert_int_equal(fd_set_nonblocking(flood.writer, true), 0);
    assert_int_equal(guest_log_begin(&flood.log, flood.loop, ends[0], "plugin", LOG_LEVEL_WARNING, false), 0);
    flood.source = loop_add(flood.loop, flood.writer, EPOLLOUT, on_writable, &flood);
    flood.timer = loop_add_timer(flood.loop, on_end, &flood);
    assert_int_equal(loop_set_timer(flood.timer, (int64_t)periods * GUEST_LOG_PERIOD - GUEST_LOG_PERIOD / 2), 0);
    assert_int_equal(loop_run(flood.loop), 0);
    /* What was read in each period begun, what the pipe holds, and one block more. */
    assert_in_range(flood.written, GUEST_LOG_READ_MAX * GUEST_LOG_READS_MAX,
                    GUEST_LOG_READ_MAX * GUEST_LOG_READS_MAX * periods + 65536 + 4096);
    loop_remove(&flood.source);
    loop_remove(&flood.timer);
    fd_close(&flood.writer);
    guest_log_end(&flood.log);
    loop_destroy(flood.loop);
    assert_in_range(count_lines(logged(*state)), GUEST_LOG_LINES_MAX, (GUEST_LOG_LINES_MAX + 1) * (periods + 1));
}

/* What was written before the writer died is shown. */
static void
test_last_words(void **state)
{
    struct loop *loop = loop_create();
    struct guest_log log;
    int ends[2];

    assert_non_null(loop);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(guest_log_begin(&log, loop, ends[0], "vmproc", LOG_LEVEL_WARNING, true), 0);
    assert_int_equal(fd_write_all(ends[1], "<3>the last words\n", 18), 0);
    fd_close(&ends[1]);
    guest_log_end(&log);
    assert_int_equal(log.fd, -1);
    loop_destroy(loop);
    assert_string_equal(logged(*state), "<3>vmproc: the last words\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, begin, end),
        cmocka_unit_test_setup_teardown(test_levels, begin, end),
        cmocka_unit_test_setup_teardown(test_hostile_bytes, begin, end),
        cmocka_unit_test_setup_teardown(test_long_line, begin, end),
        cmocka_unit_test_setup_teardown(test_many_lines, begin, end),
        cmocka_unit_test_setup_teardown(test_flood, begin, end),
        cmocka_unit_test_setup_teardown(test_last_words, begin, end),
    };

    return cmocka_run_group_tests_name("guest log", tests, NULL, NULL);
}
