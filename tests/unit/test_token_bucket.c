/* The bucket that says how often something may happen, with a clock of the test's. */
#include "supervisor/token_bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
test_bucket(void **state)
{
    struct token_bucket bucket;
    int64_t time = 1000;
    int taken = 0;

    (void)state;
    token_bucket_init(&bucket, 3, 10, time);
    for (int i = 0; i < 3; i++)
        assert_true(token_bucket_take(&bucket, time));
    assert_false(token_bucket_take(&bucket, time));
    assert_int_equal(token_bucket_wait(&bucket, time), 100);
    assert_false(token_bucket_take(&bucket, time + 99));
    assert_int_equal(token_bucket_wait(&bucket, time + 99), 1);
    assert_true(token_bucket_take(&bucket, time + 100));
    assert_false(token_bucket_take(&bucket, time + 100));
    /* A clock that goes back gives nothing, and a long time no more than the burst. */
    assert_false(token_bucket_take(&bucket, time));
    time = INT64_MAX;
    for (int i = 0; i < 3; i++)
        assert_true(token_bucket_take(&bucket, time));
    assert_false(token_bucket_take(&bucket, time));
    /* In the long run the rate, exactly. */
    token_bucket_init(&bucket, 1, 7, 0);
    for (time = 1; time <= 10000; time++)
        taken += token_bucket_take(&bucket, time);
    assert_in_range(taken, 70, 71);
}

int
main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_bucket) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
