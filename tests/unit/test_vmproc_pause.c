/* Pauses, and the start of several vCPUs. */
#include "tests/unit/vmproc_driver_vcpu.h"

static void
expect_pause(struct driver *driver, unsigned id, uint64_t user)
{
    assert_int_equal(driver_vcpu_event(driver, id, VCPU_RESPONSE__WAIT__EXIT_USER)->user->user, user);
}

static void
test_pause_interrupts_a_running_vcpu(void **state)
{
    static const uint8_t code[] = { 0xeb, 0xfe };
    struct kvm_regs regs;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    driver_begin_guest(&driver, code, sizeof code);
    driver_expect_control(&driver, FROM_VMPROC__MESSAGE_RUNNING);
    for (uint64_t user = 1; user < 50; user++) {
        assert_int_equal(driver_pause(&driver, UINT64_MAX, user << 40), 0);
        expect_pause(&driver, 0, user << 40);
        assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
        assert_int_equal(regs.rip, GUEST_CODE);
        driver_vcpu_resume(&driver, 0, NULL, 0);
    }
    /* Bits of vCPUs that are not there. */
    assert_int_equal(driver_pause(&driver, UINT64_MAX - 1, 1), 0);
    assert_false(driver_readable(driver.vcpu[0].read, 20));
    driver_stop(&driver);
}

static void
test_pause_while_an_event_is_held(void **state)
{
    /* in al, 0x60; out 0x61, al; jmp self */
    static const uint8_t code[] = { 0xe4, 0x60, 0xe6, 0x61, 0xeb, 0xfe };
    struct kvm_regs regs;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 2, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    expect_access(&driver, IOPORT, 0x60, false, 1);
    assert_int_equal(driver_pause(&driver, 1, 1), 0);
    assert_int_equal(driver_pause(&driver, 1, 2), 0);
    /* The kick has not ended the wait for the plugin. */
    assert_false(driver_readable(driver.vcpu[0].read, 20));
    driver_vcpu_resume(&driver, 0, "\x7e", 1);
    expect_pause(&driver, 0, 2);
    /* The read is complete: its value has arrived, and the next instruction is the write. */
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
    assert_int_equal(regs.rax & 0xff, 0x7e);
    assert_int_equal(regs.rip, GUEST_CODE + 2);
    assert_int_equal(driver_pause(&driver, 1, 3), 0);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_pause(&driver, 0, 3);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_out(&driver, 0x61, 1, 0x7e);
    driver_stop(&driver);
}

/* A resume carries registers while a pause is pending: both take effect. */
static void
test_pause_does_not_lose_registers_of_the_resume(void **state)
{
    /* again: out 0x61, al; in al, 0x60; jmp again */
    static const uint8_t code[] = { 0xe6, 0x61, 0xe4, 0x60, 0xeb, 0xfa };
    VcpuRequest__Resume resume = VCPU_REQUEST__RESUME__INIT;
    struct kvm_regs regs;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 2, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    for (unsigned round = 0; round < 200; round++) {
        expect_access(&driver, IOPORT, 0x61, true, 1);
        assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
        assert_int_equal(driver_pause(&driver, 1, round), 0);
        regs.rbx = 0x12340000 + round;
        resume.regs.data = (uint8_t *)&regs;
        resume.regs.len = sizeof regs;
        driver_vcpu_send(&driver, 0, VCPU_REQUEST__MESSAGE_RESUME, &resume);
        expect_pause(&driver, 0, round);
        assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
        assert_int_equal(regs.rbx, 0x12340000 + round);
        driver_vcpu_resume(&driver, 0, NULL, 0);
        expect_in(&driver, 0x60, 1, round);
        /* Long without a look at the registers: they are right all the same. */
        for (unsigned i = 0; round == 100 && i < 200; i++) {
            expect_out(&driver, 0x61, 1, (round + i) & 0xff);
            expect_in(&driver, 0x60, 1, (round + i + 1) & 0xff);
        }
    }
    driver_stop(&driver);
}

static void
test_pause_before_start_is_remembered(void **state)
{
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 1, false), 0);
    assert_int_equal(driver_pause(&driver, 1, 8), 0);
    assert_int_equal(driver_pause(&driver, 3, 9), 0);
    driver_begin_guest(&driver, reading_code, sizeof reading_code);
    expect_pause(&driver, 0, 9);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_access(&driver, IOPORT, 0x60, false, 1);
    driver_stop(&driver);
}

/* --- several vCPUs */

static void
test_no_vcpu_runs_before_all_are_resumed(void **state)
{
    struct driver driver;

    (void)state;
    driver_start(&driver, 3);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 1, false), 0);
    driver_get_vcpus(&driver);
    driver_make_guest(&driver, 0x10000, reading_code, sizeof reading_code);
    /* A wait before the start waits. */
    driver_vcpu_send_wait(&driver, 1);
    assert_false(driver_readable(driver.vcpu[1].read, 20));
    assert_int_equal(driver_start_vm(&driver), 0);
    driver_vcpu_event(&driver, 1, VCPU_RESPONSE__WAIT__EXIT_INIT);
    pass_init(&driver, 0, GUEST_CODE);
    pass_init(&driver, 2, GUEST_CODE);
    assert_false(driver_readable(driver.vcpu[0].read, 50));
    assert_false(driver_readable(driver.vcpu[2].read, 0));
    assert_false(driver_readable(driver.control, 0));
    /* The last, which nobody starts: it waits in KVM for another to wake it. */
    driver_vcpu_resume(&driver, 1, NULL, 0);
    driver_expect_control(&driver, FROM_VMPROC__MESSAGE_RUNNING);
    expect_access(&driver, IOPORT, 0x60, false, 1);
    driver_vcpu_event(&driver, 2, VCPU_RESPONSE__WAIT__EXIT_IO);
    /* A pause reaches it there. */
    assert_int_equal(driver_pause(&driver, 1 << 1, 5), 0);
    expect_pause(&driver, 1, 5);
    driver_vcpu_resume(&driver, 1, NULL, 0);
    assert_false(driver_readable(driver.vcpu[1].read, 20));
    assert_int_equal(driver_start_vm(&driver), EINVAL);
    driver_stop(&driver);
}

static void
test_registers_given_to_a_waiting_vcpu_are_kept(void **state)
{
    VcpuRequest__Resume resume = VCPU_REQUEST__RESUME__INIT;
    struct kvm_regs regs = { .rbx = 0x1122, .rip = 0x3000, .rflags = 2 };
    struct driver driver;

    (void)state;
    driver_start(&driver, 2);
    driver_get_vcpus(&driver);
    driver_make_guest(&driver, 0x10000, reading_code, sizeof reading_code);
    assert_int_equal(driver_start_vm(&driver), 0);
    pass_init(&driver, 0, GUEST_CODE);
    pass_init(&driver, 1, 0);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(driver_pause(&driver, 2, round), 0);
        expect_pause(&driver, 1, round);
        resume.regs.data = (uint8_t *)&regs;
        resume.regs.len = round == 0 ? sizeof regs : 0;
        driver_vcpu_send(&driver, 1, VCPU_REQUEST__MESSAGE_RESUME, &resume);
    }
    memset(&regs, 0, sizeof regs);
    assert_int_equal(driver_pause(&driver, 2, 7), 0);
    expect_pause(&driver, 1, 7);
    assert_int_equal(driver_vcpu_get(&driver, 1, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
    assert_int_equal(regs.rbx, 0x1122);
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pause_interrupts_a_running_vcpu),
        cmocka_unit_test(test_pause_while_an_event_is_held),
        cmocka_unit_test(test_pause_does_not_lose_registers_of_the_resume),
        cmocka_unit_test(test_pause_before_start_is_remembered),
        cmocka_unit_test(test_no_vcpu_runs_before_all_are_resumed),
        cmocka_unit_test(test_registers_given_to_a_waiting_vcpu_are_kept),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
