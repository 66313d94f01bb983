/* A real vmproc is asked what its vCPUs have counted: before they start, while a guest exits, and as many vCPUs as there can be. */
#include "tests/unit/vmproc_driver_vcpu.h"

#include "proto/statistics.h"

/* One line of the answer; the number of lines is that of the vCPUs. */
static const uint64_t *
ask(struct driver *driver, unsigned cpu)
{
    static uint64_t row[STATISTICS_COLUMNS];
    const FromVmproc *message;

    driver_send_control(driver, TO_VMPROC__MESSAGE_ASK_STATISTICS, &(ControlAskStatistics)CONTROL_ASK_STATISTICS__INIT, NULL, 0);
    message = driver_receive_control(driver);
    assert_non_null(message);
    assert_int_equal(message->message_case, FROM_VMPROC__MESSAGE_STATISTICS);
    assert_int_equal(message->statistics->n_value, driver->cpus * STATISTICS_COLUMNS);
    memcpy(row, message->statistics->value + (size_t)cpu * STATISTICS_COLUMNS, sizeof row);
    return row;
}

static void
expect_nothing_of_a_channel(const uint64_t *row)
{
    static const unsigned columns[] = { STATISTICS_CHANNEL, STATISTICS_READY,     STATISTICS_SPUN, STATISTICS_SLEPT,
                                        STATISTICS_SPIN,    STATISTICS_SPIN_TIME, STATISTICS_WOKEN };

    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        assert_int_equal(row[columns[i]], 0);
}

static void
test_each_answered_event_counts(void **state)
{
    /* again: in al, 0x60; out 0x61, al; out 0x62, al; jmp again */
    static const uint8_t code[] = { 0xe4, 0x60, 0xe6, 0x61, 0xe6, 0x62, 0xeb, 0xf8 };
    struct driver driver;
    const uint64_t *row;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 2, false), 0);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x62, 1, true), 0);
    row = ask(&driver, 0);
    assert_int_equal(row[STATISTICS_PIPES], 0);
    driver_begin_guest(&driver, code, sizeof code);
    driver_expect_control(&driver, FROM_VMPROC__MESSAGE_RUNNING);
    for (unsigned i = 1; i <= 50; i++) {
        expect_in(&driver, 0x60, 1, 7);
        expect_access(&driver, IOPORT, 0x61, true, 1);
        /* INIT was one more; what is held is not answered yet. */
        row = ask(&driver, 0);
        assert_int_equal(row[STATISTICS_PIPES], 2 * i);
        assert_int_equal(row[STATISTICS_UNAWAITED], i - 1);
        expect_nothing_of_a_channel(row);
        driver_vcpu_resume(&driver, 0, NULL, 0);
        expect_access(&driver, IOPORT, 0x62, true, 1);
    }
    driver_stop(&driver);
}

static void
test_as_many_vcpus_as_there_can_be(void **state)
{
    struct driver driver;

    (void)state;
    driver_start(&driver, DRIVER_VCPUS_MAX);
    assert_int_equal(ask(&driver, DRIVER_VCPUS_MAX - 1)[STATISTICS_PIPES], 0);
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_answered_event_counts),
        cmocka_unit_test(test_as_many_vcpus_as_there_can_be),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
