/* A vCPU's pipes: what may be asked when, what is answered, and hostile bytes. */
#include "tests/unit/vmproc_driver_vcpu.h"

static void
begin_at_init(struct driver *driver)
{
    driver_start(driver, 1);
    driver_get_vcpus(driver);
    driver_make_guest(driver, 0x10000, reading_code, sizeof reading_code);
    assert_int_equal(driver_start_vm(driver), 0);
}

static void
test_pipes_are_exactly_as_large_as_they_must_be(void **state)
{
    struct driver driver;

    (void)state;
    driver_start(&driver, 2);
    driver_get_vcpus(&driver);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fcntl(driver.vcpu[i].write, F_GETPIPE_SZ), 0x40000);
        assert_int_equal(fcntl(driver.vcpu[i].read, F_GETPIPE_SZ), 0x40000);
        assert_int_equal(fcntl(driver.vcpu[i].write, F_GETFL) & O_ACCMODE, O_WRONLY);
        assert_int_equal(fcntl(driver.vcpu[i].read, F_GETFL) & O_ACCMODE, O_RDONLY);
    }
    driver_stop(&driver);
}

static void
test_nothing_but_wait_before_init_is_read(void **state)
{
    VcpuRequest__Wait wait = VCPU_REQUEST__WAIT__INIT;
    VcpuRequest__Shutdown shutdown_request = VCPU_REQUEST__SHUTDOWN__INIT;
    VcpuRequest__Resume resume = VCPU_REQUEST__RESUME__INIT;
    struct kvm_regs regs = { 0 };
    struct driver driver;

    (void)state;
    begin_at_init(&driver);
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), EPROTO);
    assert_int_equal(driver_vcpu_set(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), EPROTO);
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_RESUME, &resume, NULL), EPROTO);
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_SHUTDOWN, &shutdown_request, NULL), EPROTO);
    driver_vcpu_send_wait(&driver, 0);
    driver_vcpu_event(&driver, 0, VCPU_RESPONSE__WAIT__EXIT_INIT);
    /* It has been read. */
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_WAIT, &wait, NULL), EPROTO);
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
    driver_stop(&driver);
}

static void
test_all_state_can_be_read_and_set(void **state)
{
    static const size_t sizes[] = {
        [VCPU_REQUEST__STATE_SET__REGS] = sizeof(struct kvm_regs),
        [VCPU_REQUEST__STATE_SET__SREGS] = sizeof(struct kvm_sregs),
        [VCPU_REQUEST__STATE_SET__FPU] = sizeof(struct kvm_fpu),
        [VCPU_REQUEST__STATE_SET__DEBUGREGS] = sizeof(struct kvm_debugregs),
        [VCPU_REQUEST__STATE_SET__LAPIC] = sizeof(struct kvm_lapic_state),
        [VCPU_REQUEST__STATE_SET__MP] = sizeof(struct kvm_mp_state),
        [VCPU_REQUEST__STATE_SET__XCREGS] = sizeof(struct kvm_xcrs),
        [VCPU_REQUEST__STATE_SET__EVENTS] = sizeof(struct kvm_vcpu_events),
    };
    static _Alignas(8) uint8_t buffer[2048], again[2048];
    struct kvm_fpu fpu;
    struct driver driver;

    (void)state;
    begin_reading_guest(&driver);
    for (int set = 0; set < (int)(sizeof sizes / sizeof sizes[0]); set++) {
        VcpuRequest__StateSet which = (VcpuRequest__StateSet)set;

        assert_int_equal(driver_vcpu_get(&driver, 0, which, buffer, sizes[set]), 0);
        /* A processor without XSAVE has none to set. */
        if (which == VCPU_REQUEST__STATE_SET__XCREGS && ((const struct kvm_xcrs *)(const void *)buffer)->nr_xcrs == 0) {
            assert_int_equal(driver_vcpu_set(&driver, 0, which, buffer, sizes[set]), EINVAL);
            continue;
        }
        assert_int_equal(driver_vcpu_set(&driver, 0, which, buffer, sizes[set]), 0);
        assert_int_equal(driver_vcpu_get(&driver, 0, which, again, sizes[set]), 0);
        if (which != VCPU_REQUEST__STATE_SET__LAPIC)
            assert_memory_equal(buffer, again, sizes[set]);
        assert_int_equal(driver_vcpu_set(&driver, 0, which, buffer, sizes[set] - 1), EINVAL);
        assert_int_equal(driver_vcpu_set(&driver, 0, which, buffer, sizes[set] + 1), EINVAL);
        assert_int_equal(driver_vcpu_set(&driver, 0, which, buffer, 0), EINVAL);
    }
    assert_int_equal(driver_vcpu_get(&driver, 0, (VcpuRequest__StateSet)8, buffer, 0), EINVAL);
    assert_int_equal(driver_vcpu_get(&driver, 0, (VcpuRequest__StateSet)-1, buffer, 0), EINVAL);
    assert_int_equal(driver_vcpu_set(&driver, 0, (VcpuRequest__StateSet)8, buffer, 8), EINVAL);
    /* What is set is there. */
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__FPU, &fpu, sizeof fpu), 0);
    fpu.fpr[3][2] = 0x5a;
    assert_int_equal(driver_vcpu_set(&driver, 0, VCPU_REQUEST__STATE_SET__FPU, &fpu, sizeof fpu), 0);
    memset(&fpu, 0, sizeof fpu);
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__FPU, &fpu, sizeof fpu), 0);
    assert_int_equal(fpu.fpr[3][2], 0x5a);
    driver_stop(&driver);
}

#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_NONE 0xdead0000

static void
test_msrs_as_far_as_they_go(void **state)
{
    VcpuRequest__SetMsrs set = VCPU_REQUEST__SET_MSRS__INIT;
    VcpuRequest__GetMsrs get = VCPU_REQUEST__GET_MSRS__INIT;
    VcpuRequest__MsrEntry entry[3], *entries[3];
    uint32_t index[256] = { MSR_STAR, MSR_NONE, MSR_LSTAR };
    const VcpuResponse *response;
    struct driver driver;

    (void)state;
    begin_reading_guest(&driver);
    for (size_t i = 0; i < 3; i++) {
        vcpu_request__msr_entry__init(&entry[i]);
        entry[i].index = index[i];
        entry[i].data = 0x1000 + i;
        entries[i] = &entry[i];
    }
    set.n_entries = 3;
    set.entries = entries;
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_SET_MSRS, &set, &response), 0);
    assert_int_equal(response->message_case, VCPU_RESPONSE__MESSAGE_SET_MSRS);
    get.n_entry_indices = 3;
    get.entry_indices = index;
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_GET_MSRS, &get, &response), 0);
    assert_int_equal(response->get_msrs->n_entry_data, 1);
    assert_int_equal(response->get_msrs->entry_data[0], 0x1000);
    /* What came after the bad one is unset. */
    index[1] = MSR_LSTAR;
    get.n_entry_indices = 2;
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_GET_MSRS, &get, &response), 0);
    assert_int_equal(response->get_msrs->n_entry_data, 2);
    assert_int_equal(response->get_msrs->entry_data[1], 0);
    get.n_entry_indices = 256;
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_GET_MSRS, &get, &response), E2BIG);
    get.n_entry_indices = 0;
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_GET_MSRS, &get, &response), 0);
    driver_stop(&driver);
}

/* Repeated numbers arrive packed or not. */
static void
test_msr_indices_packed_or_not(void **state)
{
    static const uint8_t packed[] = {
        0x2a, 0x0c, 0x0a, 0x0a, 0x81, 0x81, 0x80, 0x80, 0x0c, 0x82, 0x81, 0x80, 0x80, 0x0c
    };
    static const uint8_t loose[] = {
        0x2a, 0x0c, 0x08, 0x81, 0x81, 0x80, 0x80, 0x0c, 0x08, 0x82, 0x81, 0x80, 0x80, 0x0c
    };
    const VcpuResponse *response;
    struct driver driver;

    (void)state;
    begin_reading_guest(&driver);
    driver_vcpu_write(&driver, 0, packed, sizeof packed);
    response = driver_vcpu_receive(&driver, 0);
    assert_int_equal(response->error, 0);
    assert_int_equal(response->get_msrs->n_entry_data, 2);
    driver_vcpu_write(&driver, 0, loose, sizeof loose);
    response = driver_vcpu_receive(&driver, 0);
    assert_int_equal(response->error, 0);
    assert_int_equal(response->get_msrs->n_entry_data, 2);
    driver_stop(&driver);
}

static void
test_capabilities_other_than_synic_are_refused(void **state)
{
    VcpuRequest__EnableCapability enable = VCPU_REQUEST__ENABLE_CAPABILITY__INIT;
    VcpuRequest__CpuidRequest cpuid = VCPU_REQUEST__CPUID_REQUEST__INIT;
    const VcpuResponse *response;
    struct driver driver;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int error;

    (void)state;
    begin_reading_guest(&driver);
    enable.capability = KVM_CAP_ENABLE_CAP;
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_ENABLE_CAPABILITY, &enable, NULL), EINVAL);
    /* KVM itself has the last word on these. */
    enable.capability = KVM_CAP_HYPERV_SYNIC;
    error = driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_ENABLE_CAPABILITY, &enable, NULL);
    assert_int_equal(error == 0, ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC) > 0);
    error = driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_GET_HYPERV_CPUID, &cpuid, &response);
    assert_int_equal(error == 0, ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_CPUID) > 0);
    if (error == 0)
        assert_true(response->get_hyperv_cpuid->n_entries > 0);
    fd_close(&kvm);
    driver_stop(&driver);
}

static void
test_unknown_requests_are_answered(void **state)
{
    static const uint8_t unknown_message[] = { 0x5a, 0x00 }, unknown_number[] = { 0x58, 0x07 },
                         unknown_within[] = { 0x1a, 0x02, 0x48, 0x01 };
    struct driver driver;

    (void)state;
    begin_reading_guest(&driver);
    driver_vcpu_write(&driver, 0, unknown_message, sizeof unknown_message);
    assert_int_equal(driver_vcpu_receive(&driver, 0)->error, ENOTTY);
    driver_vcpu_write(&driver, 0, unknown_number, sizeof unknown_number);
    assert_int_equal(driver_vcpu_receive(&driver, 0)->error, ENOTTY);
    driver_vcpu_write(&driver, 0, unknown_within, sizeof unknown_within);
    assert_int_equal(driver_vcpu_receive(&driver, 0)->error, EINVAL);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_access(&driver, IOPORT, 0x60, false, 1);
    driver_stop(&driver);
}

static void
test_requests_coalesced_and_cut(void **state)
{
    uint8_t buffer[4096], answer[200] = { 0 };
    size_t size = 0;
    VcpuRequest__Resume resume = VCPU_REQUEST__RESUME__INIT;
    VcpuRequest__GetState get = VCPU_REQUEST__GET_STATE__INIT;
    struct driver driver;

    (void)state;
    begin_reading_guest(&driver);
    /* Two questions and a resume in one write. */
    get.set = VCPU_REQUEST__STATE_SET__MP;
    size += driver_pack_vcpu(VCPU_REQUEST__MESSAGE_GET_STATE, &get, buffer, sizeof buffer);
    get.set = VCPU_REQUEST__STATE_SET__REGS;
    size += driver_pack_vcpu(VCPU_REQUEST__MESSAGE_GET_STATE, &get, buffer + size, sizeof buffer - size);
    resume.data.data = answer;
    resume.data.len = sizeof answer;
    size += driver_pack_vcpu(VCPU_REQUEST__MESSAGE_RESUME, &resume, buffer + size, sizeof buffer - size);
    driver_vcpu_write(&driver, 0, buffer, size);
    assert_int_equal(driver_vcpu_receive(&driver, 0)->get_state->state.len, sizeof(struct kvm_mp_state));
    assert_int_equal(driver_vcpu_receive(&driver, 0)->get_state->state.len, sizeof(struct kvm_regs));
    expect_access(&driver, IOPORT, 0x60, false, 1);
    /* The same, byte by byte. */
    for (size_t i = 0; i < size; i++) {
        driver_vcpu_write(&driver, 0, buffer + i, 1);
        usleep(50);
    }
    assert_int_equal(driver_vcpu_receive(&driver, 0)->get_state->state.len, sizeof(struct kvm_mp_state));
    assert_int_equal(driver_vcpu_receive(&driver, 0)->get_state->state.len, sizeof(struct kvm_regs));
    expect_access(&driver, IOPORT, 0x60, false, 1);
    driver_stop(&driver);
}

static void
test_bytes_that_are_no_request_end_the_vm(void **state)
{
    static const struct {
        uint8_t bytes[8];
        size_t size;
    } bad[] = {
        { { 0x0b }, 1 },                                           /* a group */
        { { 0x00, 0x00 }, 2 },                                     /* field number 0 */
        { { 0x12, 0xff, 0xff, 0xff, 0x7f }, 5 },                   /* longer than a request can be */
        { { 0x12, 0x02, 0x0a, 0x7f }, 4 },                         /* data longer than its message */
        { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 8 }, /* no number */
        { { 0x12, 0x02, 0x48, 0x01 }, 4 },                         /* a resume with an unknown field */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct driver driver;

        begin_reading_guest(&driver);
        driver_vcpu_write(&driver, 0, bad[i].bytes, bad[i].size);
        if (bad[i].size == 8)
            driver_vcpu_write(&driver, 0, bad[i].bytes, bad[i].size);
        driver_expect_ended(&driver, CONTROL_ENDED__KIND__PLUGIN_PROTOCOL);
        assert_null(driver_vcpu_receive(&driver, 0));
        driver_stop(&driver);
    }
}

/* 256 KiB of the smallest entries unpack into more than a request may take. */
static void
test_a_request_that_unpacks_into_too_much_ends_the_vm(void **state)
{
    static uint8_t buffer[WIRE_VCPU_MESSAGE_MAX];
    size_t size = sizeof buffer - 8, at = 0;
    struct driver driver;

    (void)state;
    begin_reading_guest(&driver);
    buffer[at++] = 6 << 3 | 2;
    at += wire_put_varint(size, buffer + at);
    for (size_t i = 0; i < size; i += 2) {
        buffer[at + i] = 0x0a;
        buffer[at + i + 1] = 0;
    }
    driver_vcpu_write(&driver, 0, buffer, at + size);
    driver_expect_ended(&driver, CONTROL_ENDED__KIND__PLUGIN_PROTOCOL);
    driver_stop(&driver);
}

/* Writes requests until the pipe has been full for a while: how many went in. */
static size_t
flood(struct driver *driver, const uint8_t *request, size_t size)
{
    size_t count = 0;

    assert_int_equal(fcntl(driver->vcpu[0].write, F_SETFL, O_WRONLY | O_NONBLOCK), 0);
    for (int patience = 0; patience < 100;) {
        ssize_t written = write(driver->vcpu[0].write, request, size);

        if (written < 0) {
            assert_int_equal(errno, EAGAIN);
            usleep(1000);
            patience++;
            continue;
        }
        assert_int_equal(written, size);
        patience = 0;
        assert_true(++count < 1000000);
    }
    assert_int_equal(fcntl(driver->vcpu[0].write, F_SETFL, O_WRONLY), 0);
    return count;
}

/* Both pipes are full then: nobody else is kept waiting, nothing is lost, and where nobody reads on, the VM ends. */
static void
test_a_flood_with_unread_answers_stops_and_drains(void **state)
{
    static const uint8_t get_lapic[] = { 0x1a, 0x02, 0x08, 0x04 };
    struct driver driver;
    size_t count;

    (void)state;
    begin_reading_guest(&driver);
    count = flood(&driver, get_lapic, sizeof get_lapic);
    assert_true(count > WIRE_VCPU_PIPE_SIZE / sizeof(struct kvm_lapic_state));
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x70, 1, false), 0);
    assert_int_equal(driver_pause(&driver, 1, 3), 0);
    for (size_t i = 0; i < count; i++) {
        const VcpuResponse *response = driver_vcpu_receive(&driver, 0);

        assert_int_equal(response->message_case, VCPU_RESPONSE__MESSAGE_GET_STATE);
        assert_int_equal(response->get_state->state.len, sizeof(struct kvm_lapic_state));
    }
    assert_false(driver_readable(driver.vcpu[0].read, 20));
    driver_vcpu_resume(&driver, 0, NULL, 0);
    assert_int_equal(driver_vcpu_event(&driver, 0, VCPU_RESPONSE__WAIT__EXIT_USER)->user->user, 3);
    assert_true(flood(&driver, get_lapic, sizeof get_lapic) > 0);
    driver_stop(&driver);
}

static void
test_a_plugin_can_shut_one_vcpu_down(void **state)
{
    VcpuRequest__Shutdown shutdown_request = VCPU_REQUEST__SHUTDOWN__INIT;
    struct driver driver;

    (void)state;
    begin_reading_guest(&driver);
    driver_vcpu_send(&driver, 0, VCPU_REQUEST__MESSAGE_SHUTDOWN, &shutdown_request);
    assert_null(driver_vcpu_receive(&driver, 0));
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x70, 1, false), 0);
    assert_int_equal(driver_pause(&driver, 1, 1), 0);
    driver_expect_control(&driver, FROM_VMPROC__MESSAGE_RUNNING);
    assert_false(driver_readable(driver.control, 20));
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipes_are_exactly_as_large_as_they_must_be),
        cmocka_unit_test(test_nothing_but_wait_before_init_is_read),
        cmocka_unit_test(test_all_state_can_be_read_and_set),
        cmocka_unit_test(test_msrs_as_far_as_they_go),
        cmocka_unit_test(test_msr_indices_packed_or_not),
        cmocka_unit_test(test_capabilities_other_than_synic_are_refused),
        cmocka_unit_test(test_unknown_requests_are_answered),
        cmocka_unit_test(test_requests_coalesced_and_cut),
        cmocka_unit_test(test_bytes_that_are_no_request_end_the_vm),
        cmocka_unit_test(test_a_request_that_unpacks_into_too_much_ends_the_vm),
        cmocka_unit_test(test_a_flood_with_unread_answers_stops_and_drains),
        cmocka_unit_test(test_a_plugin_can_shut_one_vcpu_down),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    signal(SIGPIPE, SIG_DFL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
