/* A real vmproc and a real guest: what the guest does reaches the plugin, and the plugin's answers reach the guest. */
#include "tests/unit/vmproc_driver.h"

static void
test_port_read_and_write(void **state)
{
    /* again: in al, 0x60; inc al; out 0x61, al; jmp again */
    static const uint8_t code[] = { 0xe4, 0x60, 0xfe, 0xc0, 0xe6, 0x61, 0xeb, 0xf8 };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, ADDRESS_SPACE__IOPORT, 0x60, 2, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    driver_expect_control(&driver, FROM_VMPROC__MESSAGE_RUNNING);
    for (uint8_t value = 0; value < 100; value++) {
        const VcpuResponse__Wait *event = driver_vcpu_event(&driver, 0, VCPU_RESPONSE__WAIT__EXIT_IO);

        assert_int_equal(event->io->space, ADDRESS_SPACE__IOPORT);
        assert_int_equal(event->io->address, 0x60);
        assert_false(event->io->is_write);
        assert_int_equal(event->io->data.len, 1);
        assert_int_equal(event->io->data.data[0], 0);
        driver_vcpu_resume(&driver, 0, &value, 1);
        event = driver_vcpu_event(&driver, 0, VCPU_RESPONSE__WAIT__EXIT_IO);
        assert_int_equal(event->io->address, 0x61);
        assert_true(event->io->is_write);
        assert_int_equal(event->io->data.len, 1);
        assert_int_equal(event->io->data.data[0], value + 1);
        driver_vcpu_resume(&driver, 0, NULL, 0);
    }
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_port_read_and_write),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
