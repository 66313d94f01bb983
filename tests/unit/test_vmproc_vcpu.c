/*
 * A vCPU's pipes: what may be asked when, pauses, the start of several vCPUs, hostile bytes, and every way in which a
 * VM ends.
 */
#include "tests/unit/vmproc_driver.h"

/* again: in al, 0x60; jmp again */
static const uint8_t reading_code[] = { 0xe4, 0x60, 0xeb, 0xfc };

static void
begin_reading_guest(struct driver *driver)
{
    driver_start(driver, 1);
    assert_int_equal(driver_reserve(driver, IOPORT, 0x60, 1, false), 0);
    driver_begin_guest(driver, reading_code, sizeof reading_code);
    expect_access(driver, IOPORT, 0x60, false, 1);
}

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
    static uint8_t buffer[2048], again[2048];
    struct kvm_fpu fpu;
    struct driver driver;

    (void)state;
    begin_reading_guest(&driver);
    for (int set = 0; set < (int)(sizeof sizes / sizeof sizes[0]); set++) {
        VcpuRequest__StateSet which = (VcpuRequest__StateSet)set;

        assert_int_equal(driver_vcpu_get(&driver, 0, which, buffer, sizes[set]), 0);
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

/* --- pauses */

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
pass_init(struct driver *driver, unsigned id, uint64_t ip)
{
    struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };

    driver_vcpu_send_wait(driver, id);
    driver_vcpu_event(driver, id, VCPU_RESPONSE__WAIT__EXIT_INIT);
    if (ip != 0) {
        driver_set_entry(driver, id, ip);
        assert_int_equal(driver_vcpu_set(driver, id, VCPU_REQUEST__STATE_SET__MP, &runnable, sizeof runnable), 0);
    }
    driver_vcpu_resume(driver, id, NULL, 0);
}

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

/* --- endings */

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
        cmocka_unit_test(test_a_plugin_can_shut_one_vcpu_down),
        cmocka_unit_test(test_pause_interrupts_a_running_vcpu),
        cmocka_unit_test(test_pause_while_an_event_is_held),
        cmocka_unit_test(test_pause_does_not_lose_registers_of_the_resume),
        cmocka_unit_test(test_pause_before_start_is_remembered),
        cmocka_unit_test(test_no_vcpu_runs_before_all_are_resumed),
        cmocka_unit_test(test_registers_given_to_a_waiting_vcpu_are_kept),
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
