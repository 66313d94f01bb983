/* Rate limits under a clock of the test's own: what passes in which time, held against what the rate says. */
#include "plugin/microvm/rate_limit.h"
#include "tests/unit/scratch.h"

#include <sys/param.h>

#define SECOND UINT64_C(1000000000)
#define START (12345 * SECOND + 678)
/* What the manual promises: one in twenty. */
#define IS_EXACT(is, should) ((is) * 20 >= (should) * 19 && (is) * 20 <= (should) * 21)

/* As a queue does it: goes when it may, waits for as long as it is told, and a little longer since no timer is exact. Bytes until `end`. */
static uint64_t
run(struct rate_limit *limit, uint64_t *now, uint64_t end, uint64_t size, uint64_t late, uint64_t *operations)
{
    uint64_t bytes = 0;

    while (*now < end) {
        uint64_t delay = rate_limit_delay(limit, *now);

        if (delay > 0) {
            *now += delay + late;
            continue;
        }
        rate_limit_charge(limit, *now, size, 1);
        bytes += size;
        (*operations)++;
    }
    return bytes;
}

static void
test_long_run(void **state)
{
    static const struct {
        uint64_t rate, burst, size, late;
    } table[] = {
        { 1000000, 1, 512, 0 },           { 1000000, 100000, 4096, 0 },       { 1000000, 100000, 4096, 777777 },
        { 1, 1, 1, 12345 },               { 7, 3, 2, 1 },                     { 999999937, 65536, 1500, 50000 },
        { 100 << 20, 10 << 20, 1 << 20, 50000 }, { UINT64_C(10) << 30, 1 << 20, 65554, 50000 },
        /* Each request is many times the burst. */
        { 1 << 20, 4096, 8 << 20, 0 },    { 1 << 20, 1, 1 << 20, 3333333 },
    };

    (void)*state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rate_limit_settings settings = { .bandwidth = { table[i].rate, table[i].burst } };
        /* Long enough that neither the burst nor one request weighs. */
        uint64_t span = MAX(10 * SECOND, (table[i].burst + table[i].size) * 40 / table[i].rate * SECOND);
        uint64_t now = START, operations = 0, bytes;
        struct rate_limit limit;

        /* Few and long spans for fast rates would take long here. */
        if (span / SECOND * table[i].rate / table[i].size > 20000000)
            span = 20000000 * table[i].size / table[i].rate * SECOND;
        rate_limit_init(&limit, &settings, now);
        bytes = run(&limit, &now, now + span, table[i].size, table[i].late, &operations);
        if (!IS_EXACT((double)bytes, (double)table[i].rate * (double)span / (double)SECOND))
            fail_msg("line %zu: %ju bytes in %ju s", i, (uintmax_t)bytes, (uintmax_t)(span / SECOND));
    }
}

/* At once no more than the burst, and a request that began within it; then the rate, to the nanosecond. */
static void
test_burst(void **state)
{
    struct rate_limit_settings settings = { .bandwidth = { 1000, 5000 }, .operations = { 10, 8 } };
    struct rate_limit limit;

    (void)*state;
    rate_limit_init(&limit, &settings, START);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(rate_limit_delay(&limit, START), 0);
        rate_limit_charge(&limit, START, 100, 1);
    }
    assert_int_equal(rate_limit_delay(&limit, START), SECOND / 10);
    assert_int_equal(rate_limit_delay(&limit, START + SECOND / 10 - 1), 1);
    assert_int_equal(rate_limit_delay(&limit, START + SECOND / 10), 0);
    /* Rest fills no more than the burst. */
    for (int i = 0; i < 8; i++) {
        assert_int_equal(rate_limit_delay(&limit, START + 100 * SECOND), 0);
        rate_limit_charge(&limit, START + 100 * SECOND, 0, 1);
    }
    assert_int_equal(rate_limit_delay(&limit, START + 100 * SECOND), SECOND / 10);
}

/* A request that is larger than the burst goes, and what comes after it waits until it is paid for. */
static void
test_debt(void **state)
{
    struct rate_limit_settings settings = { .bandwidth = { 1000, 500 } };
    struct rate_limit limit;

    (void)*state;
    rate_limit_init(&limit, &settings, START);
    assert_int_equal(rate_limit_delay(&limit, START), 0);
    rate_limit_charge(&limit, START, 10500, 1);
    assert_int_equal(rate_limit_delay(&limit, START), 10 * SECOND + SECOND / 1000);
    /* What turns out to have been more is paid for, too. */
    rate_limit_charge(&limit, START + SECOND, 1000, 0);
    assert_int_equal(rate_limit_delay(&limit, START + SECOND), 10 * SECOND + SECOND / 1000);
    assert_int_equal(rate_limit_delay(&limit, START + 11 * SECOND + SECOND / 1000), 0);
}

/* Looked at a million times within a unit's time: its parts add up. And in steps of every size, back too. */
static void
test_odd_steps(void **state)
{
    struct rate_limit_settings settings = { .operations = { 3, 1 } };
    uint64_t now = START, random = 1, passed = 0, back;
    struct rate_limit limit;

    (void)*state;
    rate_limit_init(&limit, &settings, now);
    rate_limit_charge(&limit, now, 0, 1);
    for (int i = 0; i < 1000000; i++)
        assert_true(rate_limit_delay(&limit, now += 333) > 0);
    assert_int_equal(rate_limit_delay(&limit, START + SECOND / 3), 1);
    assert_int_equal(rate_limit_delay(&limit, START + SECOND / 3 + 1), 0);
    rate_limit_init(&limit, &settings, now = START);
    while (now < START + 10000 * SECOND) {
        random = random * 6364136223846793005 + 1442695040888963407;
        now += (random >> 33) % (SECOND / 10);
        back = (random >> 20) % 1000;
        if (rate_limit_delay(&limit, now - back) == 0) {
            rate_limit_charge(&limit, now, 0, 1);
            passed++;
        }
    }
    /* A bucket of one that is looked at too late each time overflows: never more than the rate, and near it. */
    assert_true(passed <= 30000 && passed > 25000);
}

/* Both must agree, and the stricter one rules. */
static void
test_both(void **state)
{
    struct rate_limit_settings settings = { .bandwidth = { 1 << 20, 1 << 16 }, .operations = { 100, 10 } };
    uint64_t now = START, operations = 0;
    struct rate_limit limit;

    (void)*state;
    rate_limit_init(&limit, &settings, now);
    run(&limit, &now, now + 100 * SECOND, 512, 0, &operations);
    assert_true(IS_EXACT(operations, UINT64_C(10000)));
    operations = 0;
    assert_true(IS_EXACT(run(&limit, &now, now + 100 * SECOND, 65536, 0, &operations), UINT64_C(100) << 20));
}

static void
test_none(void **state)
{
    struct rate_limit_settings settings = { .bandwidth = { 0, 0 } };
    struct rate_limit limit;

    (void)*state;
    rate_limit_init(&limit, &settings, 0);
    assert_false(limit.is_set);
    for (int i = 0; i < 1000; i++) {
        rate_limit_charge(&limit, 0, UINT64_MAX, UINT64_MAX);
        assert_int_equal(rate_limit_delay(&limit, 0), 0);
    }
}

/* The largest of everything; with -fsanitize=undefined an overflow ends the test. */
static void
test_extremes(void **state)
{
    struct rate_limit_settings fastest = { { RATE_LIMIT_MAX, RATE_LIMIT_MAX }, { RATE_LIMIT_MAX, RATE_LIMIT_MAX } };
    struct rate_limit_settings slowest = { { 1, 1 }, { 1, RATE_LIMIT_MAX } };
    struct rate_limit limit;

    (void)*state;
    rate_limit_init(&limit, &fastest, 0);
    rate_limit_charge(&limit, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    assert_int_equal(rate_limit_delay(&limit, UINT64_MAX), 3 * SECOND);
    rate_limit_init(&limit, &fastest, 0);
    for (int i = 0; i < 1000; i++)
        rate_limit_charge(&limit, 0, UINT64_MAX, UINT64_MAX);
    /* The debt has a floor: four seconds' worth of this rate. */
    assert_true(rate_limit_delay(&limit, 0) <= 4 * SECOND + 1);
    assert_int_equal(rate_limit_delay(&limit, UINT64_MAX), 0);
    rate_limit_init(&limit, &slowest, 0);
    rate_limit_charge(&limit, 0, UINT64_MAX, 1);
    /* More nanoseconds than there are numbers for. */
    assert_int_equal(rate_limit_delay(&limit, 1), UINT64_MAX);
    assert_int_equal(rate_limit_delay(&limit, UINT64_MAX), UINT64_MAX);
}

struct sharer {
    struct rate_limit *limit;
    pthread_t thread;
};

static void *
share(void *argument)
{
    const struct sharer *sharer = argument;

    for (int i = 0; i < 10000; i++)
        rate_limit_charge(sharer->limit, START, 10, 1);
    return NULL;
}

/* What several threads take is all counted. */
static void
test_shared(void **state)
{
    struct rate_limit_settings settings = { .bandwidth = { 1, 400001 } };
    struct rate_limit limit;
    struct sharer sharer[4];

    (void)*state;
    rate_limit_init(&limit, &settings, START);
    for (int i = 0; i < 4; i++) {
        sharer[i].limit = &limit;
        assert_int_equal(pthread_create(&sharer[i].thread, NULL, share, &sharer[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(sharer[i].thread, NULL);
    assert_int_equal(rate_limit_delay(&limit, START), 0);
    rate_limit_charge(&limit, START, 1, 1);
    assert_int_equal(rate_limit_delay(&limit, START), SECOND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_run), cmocka_unit_test(test_burst), cmocka_unit_test(test_debt),     cmocka_unit_test(test_odd_steps),
        cmocka_unit_test(test_both),     cmocka_unit_test(test_none),  cmocka_unit_test(test_extremes), cmocka_unit_test(test_shared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
