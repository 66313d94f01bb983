/* Every way in which a VM ends, and what is left to the plugin then. */
#include "tests/unit/vmproc_driver_vcpu.h"

static int
get_shutdown_event(struct driver *driver)
{
    struct message_fds fds;

    assert_int_equal(
        driver_call_fds(driver, EMPTY_REQUEST(GET_SHUTDOWN_EVENTFD, get_shutdown_eventfd), NULL, 0, NULL, &fds), 0);
    assert_int_equal(fds.count, 1);
    /* Programs read it blocking. */
    assert_int_equal(fcntl(fds.fd[0], F_GETFL) & O_NONBLOCK, 0);
    return fds.fd[0];
}

/* Every wait fails at once, requests are served, writing a resume is no error. */
static void
expect_ending(struct driver *driver, int shutdown_event)
{
    assert_true(driver_readable(shutdown_event, DRIVER_TIMEOUT_MS));
    for (unsigned i = 0; i < driver->cpus; i++) {
        while (driver_vcpu_receive(driver, i) != NULL)
            continue;
        driver_vcpu_resume(driver, i, NULL, 0);
    }
    assert_int_equal(driver_reserve(driver, IOPORT, 0x7000, 1, false), 0);
    assert_int_equal(driver_pause(driver, UINT64_MAX, 1), 0);
}

static void
test_a_death_of_the_guest_ends_all_waits(void **state)
{
    /* A jump to where there is no memory: KVM cannot emulate what is not there. */
    static const uint8_t code[] = { 0xea, 0x00, 0x00, 0x00, 0x90 };
    const ControlEnded *ended;
    struct driver driver;
    int event;

    (void)state;
    driver_start(&driver, 3);
    event = get_shutdown_event(&driver);
    driver_get_vcpus(&driver);
    driver_make_guest(&driver, 0x10000, code, sizeof code);
    memcpy(driver.memory + 0x2000, reading_code, sizeof reading_code);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 1, false), 0);
    assert_int_equal(driver_start_vm(&driver), 0);
    assert_false(driver_readable(event, 0));
    pass_init(&driver, 0, GUEST_CODE);
    pass_init(&driver, 1, 0x2000);
    pass_init(&driver, 2, 0);
    ended = driver_expect_ended(&driver, CONTROL_ENDED__KIND__INTERNAL_ERROR);
    assert_int_equal(ended->vcpu, 0);
    assert_non_null(strstr(ended->text, "vCPU 0"));
    expect_ending(&driver, event);
    /* The supervisor's word comes after, and is no second ending. */
    driver_send_control(&driver, TO_VMPROC__MESSAGE_STOP, &(ControlStop)CONTROL_STOP__INIT, NULL, 0);
    assert_false(driver_readable(driver.control, 50));
    fd_close(&event);
    driver_stop(&driver);
}

static void
test_stop_reaches_vcpus_wherever_they_are(void **state)
{
    /*
     * At 0x1000: out 0x90, al for ever (async: the pipe fills); 0x2000: reads; 0x3000: jumps on the spot; 0x4000: hlt
     * /
     */
    static const uint8_t flood[] = { 0xe6, 0x90, 0xeb, 0xfc }, spin[] = { 0xeb, 0xfe }, halt[] = { 0xfa, 0xf4 };
    struct driver driver;
    int event;

    (void)state;
    driver_start(&driver, 6);
    event = get_shutdown_event(&driver);
    driver_get_vcpus(&driver);
    driver_make_guest(&driver, 0x10000, flood, sizeof flood);
    memcpy(driver.memory + 0x2000, reading_code, sizeof reading_code);
    memcpy(driver.memory + 0x3000, spin, sizeof spin);
    memcpy(driver.memory + 0x4000, halt, sizeof halt);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 1, false), 0);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x90, 1, true), 0);
    assert_int_equal(driver_start_vm(&driver), 0);
    for (unsigned i = 0; i < 4; i++)
        pass_init(&driver, i, 0x1000 + i * 0x1000);
    pass_init(&driver, 4, 0);
    pass_init(&driver, 5, 0x3000);
    driver_expect_control(&driver, FROM_VMPROC__MESSAGE_RUNNING);
    usleep(200000);
    driver_send_control(&driver, TO_VMPROC__MESSAGE_STOP, &(ControlStop)CONTROL_STOP__INIT, NULL, 0);
    expect_ending(&driver, event);
    assert_false(driver_readable(driver.control, 20));
    fd_close(&event);
    driver_stop(&driver);
}

static void
test_stop_during_init(void **state)
{
    struct driver driver;
    int event;

    (void)state;
    driver_start(&driver, 3);
    event = get_shutdown_event(&driver);
    driver_get_vcpus(&driver);
    assert_int_equal(driver_start_vm(&driver), 0);
    /* One waits for the others, one for its resume, one for its wait. */
    pass_init(&driver, 0, 0);
    driver_vcpu_send_wait(&driver, 1);
    driver_vcpu_event(&driver, 1, VCPU_RESPONSE__WAIT__EXIT_INIT);
    driver_send_control(&driver, TO_VMPROC__MESSAGE_STOP, &(ControlStop)CONTROL_STOP__INIT, NULL, 0);
    expect_ending(&driver, event);
    fd_close(&event);
    driver_stop(&driver);
}

static void
test_stop_before_start(void **state)
{
    struct driver driver;
    int event;

    (void)state;
    driver_start(&driver, 2);
    event = get_shutdown_event(&driver);
    driver_get_vcpus(&driver);
    driver_vcpu_send_wait(&driver, 0);
    driver_send_control(&driver, TO_VMPROC__MESSAGE_STOP, &(ControlStop)CONTROL_STOP__INIT, NULL, 0);
    expect_ending(&driver, event);
    assert_int_equal(driver_start_vm(&driver), ESHUTDOWN);
    fd_close(&event);
    driver_stop(&driver);
}

/* The plugin can fill the eventfd, so that a write to it blocks: nothing else may. */
static void
test_a_full_shutdown_eventfd_blocks_nothing(void **state)
{
    const uint64_t full = UINT64_MAX - 1;
    struct driver driver;
    int event;

    (void)state;
    begin_reading_guest(&driver);
    event = get_shutdown_event(&driver);
    assert_int_equal(write(event, &full, sizeof full), sizeof full);
    driver_send_control(&driver, TO_VMPROC__MESSAGE_STOP, &(ControlStop)CONTROL_STOP__INIT, NULL, 0);
    expect_ending(&driver, event);
    fd_close(&event);
    driver_stop(&driver);
}

static void
test_memory_that_the_host_cannot_give(void **state)
{
    /* mov ax, 0x8000; mov es, ax; mov [es:0], al; hlt */
    static const uint8_t code[] = { 0xb8, 0x00, 0x80, 0x8e, 0xc0, 0x26, 0xa2, 0x00, 0x00, 0xf4 };
    const size_t huge = 2 << 20;
    int memfd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    struct driver driver;
    int error;

    (void)state;
    if (memfd < 0 || ftruncate(memfd, (off_t)huge) < 0 || fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
        fd_close(&memfd);
        skip();
    }
    driver_start(&driver, 1);
    error = driver_create_memory(&driver, 1, memfd, &(MainRequest__Create__Memory){ .start = 0x80000, .length = huge });
    fd_close(&memfd);
    if (error != 0) {
        driver_stop(&driver);
        skip();
    }
    assert_int_equal(driver_reserve(&driver, MMIO, 0x80000, 1, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    driver_expect_control(&driver, FROM_VMPROC__MESSAGE_RUNNING);
    /* A KVM that emulates the guest's kernel takes memory that is not there for a device. */
    if (!driver_readable(driver.control, 200) && driver_readable(driver.vcpu[0].read, 0)) {
        driver_stop(&driver);
        skip();
    }
    driver_expect_ended(&driver, CONTROL_ENDED__KIND__OUT_OF_MEMORY);
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_death_of_the_guest_ends_all_waits),
        cmocka_unit_test(test_stop_reaches_vcpus_wherever_they_are),
        cmocka_unit_test(test_stop_during_init),
        cmocka_unit_test(test_stop_before_start),
        cmocka_unit_test(test_a_full_shutdown_eventfd_blocks_nothing),
        cmocka_unit_test(test_memory_that_the_host_cannot_give),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    signal(SIGPIPE, SIG_DFL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
