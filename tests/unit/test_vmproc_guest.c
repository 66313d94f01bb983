/* A real vmproc and a real guest: what the guest does reaches the plugin, and the plugin's answers reach the guest. */
#include "tests/unit/vmproc_driver_vcpu.h"

static void
test_port_read_and_write(void **state)
{
    /* again: in al, 0x60; inc al; out 0x61, al; jmp again */
    static const uint8_t code[] = { 0xe4, 0x60, 0xfe, 0xc0, 0xe6, 0x61, 0xeb, 0xf8 };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x60, 2, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    driver_expect_control(&driver, FROM_VMPROC__MESSAGE_RUNNING);
    for (uint8_t value = 0; value < 100; value++) {
        expect_in(&driver, 0x60, 1, value);
        expect_out(&driver, 0x61, 1, value + 1u);
    }
    driver_stop(&driver);
}

static void
test_unclaimed_reads_are_zero_and_writes_are_dropped(void **state)
{
    /*
     * mov al, 0xff; out 0x70, al; in al, 0x70; out 0x61, al; mov ax, 0xa000; mov es, ax; mov [es:0], al; mov al, 0xff;
     * mov al, [es:0]; out 0x61, al
     */
    static const uint8_t code[] = { 0xb0, 0xff, 0xe6, 0x70, 0xe4, 0x70, 0xe6, 0x61, 0xb8, 0x00, 0xa0, 0x8e, 0xc0,
                                    0x26, 0xa2, 0x00, 0x00, 0xb0, 0xff, 0x26, 0xa0, 0x00, 0x00, 0xe6, 0x61, 0xf4 };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    expect_out(&driver, 0x61, 1, 0);
    expect_out(&driver, 0x61, 1, 0);
    driver_stop(&driver);
}

static void
test_an_access_belongs_to_the_range_where_it_starts(void **state)
{
    /* mov dx, 0x5ff; in ax, dx; inc dx; in ax, dx; out dx, ax; hlt */
    static const uint8_t code[] = { 0xba, 0xff, 0x05, 0xed, 0x42, 0xed, 0xef, 0xf4 };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x600, 1, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    expect_in(&driver, 0x600, 2, 0xbeef);
    expect_out(&driver, 0x600, 2, 0xbeef);
    driver_stop(&driver);
}

static void
test_string_access_is_one_event(void **state)
{
    /*
     * cld; mov di, 0x4000; mov cx, 16; mov dx, 0x80; rep insb; mov si, 0x4000; mov cx, 16; rep outsb; mov cx, 4; mov
     * di, 0x5000; rep insd; out 0x81, al
     */
    static const uint8_t code[] = { 0xfc, 0xbf, 0x00, 0x40, 0xb9, 0x10, 0x00, 0xba, 0x80, 0x00, 0xf3,
                                    0x6c, 0xbe, 0x00, 0x40, 0xb9, 0x10, 0x00, 0xf3, 0x6e, 0xb9, 0x04,
                                    0x00, 0xbf, 0x00, 0x50, 0x66, 0xf3, 0x6d, 0xe6, 0x81, 0xf4 };
    static const char text[] = "sixteen letters and more";
    uint8_t expected[16];
    struct driver driver;
    size_t length;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x80, 2, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    memcpy(expected, text, sizeof expected);
    expect_access(&driver, IOPORT, 0x80, false, 16);
    /* Longer than the access: the rest is ignored. */
    driver_vcpu_resume(&driver, 0, text, sizeof text);
    /* KVM may give the bytes of `rep outsb` one by one. */
    for (size_t done = 0; done < 16; done += length) {
        const VcpuResponse__Wait__Io *io = driver_vcpu_event(&driver, 0, VCPU_RESPONSE__WAIT__EXIT_IO)->io;

        length = io->data.len;
        assert_true(io->is_write && length > 0 && done + length <= 16);
        assert_memory_equal(io->data.data, expected + done, length);
        driver_vcpu_resume(&driver, 0, NULL, 0);
    }
    memset(driver.memory + 0x5000, 0xaa, 32);
    expect_access(&driver, IOPORT, 0x80, false, 16);
    /* Shorter: the rest is zero. */
    driver_vcpu_resume(&driver, 0, text, 5);
    expect_access(&driver, IOPORT, 0x81, true, 1);
    memset(expected + 5, 0, sizeof expected - 5);
    assert_memory_equal(driver.memory + 0x5000, expected, 16);
    assert_int_equal(driver.memory[0x5010], 0xaa);
    assert_memory_equal(driver.memory + 0x4000, "sixteen letters ", 16);
    driver_stop(&driver);
}

static void
test_mmio_read_and_write(void **state)
{
    /*
     * mov ax, 0xa000; mov es, ax; mov al, [es:0x10]; inc al; mov [es:0x11], al; mov eax, [es:0x10]; mov [es:0x10], eax;
     * hlt
     */
    static const uint8_t code[] = { 0xb8, 0x00, 0xa0, 0x8e, 0xc0, 0x26, 0xa0, 0x10, 0x00, 0xfe, 0xc0, 0x26, 0xa2,
                                    0x11, 0x00, 0x66, 0x26, 0xa1, 0x10, 0x00, 0x66, 0x26, 0xa3, 0x10, 0x00, 0xf4 };
    const uint32_t value = 0x12345678;
    const VcpuResponse__Wait__Io *io;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, MMIO, 0xa0010, 2, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    expect_access(&driver, MMIO, 0xa0010, false, 1);
    driver_vcpu_resume(&driver, 0, "\x41", 1);
    io = expect_access(&driver, MMIO, 0xa0011, true, 1);
    assert_int_equal(io->data.data[0], 0x42);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_access(&driver, MMIO, 0xa0010, false, 4);
    driver_vcpu_resume(&driver, 0, &value, sizeof value);
    io = expect_access(&driver, MMIO, 0xa0010, true, 4);
    assert_memory_equal(io->data.data, &value, sizeof value);
    driver_stop(&driver);
}

static int
set_hint(struct driver *driver, AddressSpace space, uint64_t address, bool on_write,
         MainRequest__SetCallHint__RegHint *detail)
{
    MainRequest__SetCallHint hint = MAIN_REQUEST__SET_CALL_HINT__INIT;

    hint.space = space;
    hint.address = address;
    hint.on_write = on_write;
    hint.n_hints = detail != NULL ? 1 : 0;
    hint.hints = &detail;
    return driver_call(driver, REQUEST(SET_CALL_HINT, &hint), NULL);
}

static void
test_async_writes_go_on_in_order(void **state)
{
    /* mov al, 0; mov cx, 20; l: out 0x90, al; inc al; loop l; in al, 0x90; out 0x61, al; hlt */
    static const uint8_t code[] = { 0xb0, 0x00, 0xb9, 0x14, 0x00, 0xe6, 0x90, 0xfe,
                                    0xc0, 0xe2, 0xfa, 0xe4, 0x90, 0xe6, 0x61, 0xf4 };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x90, 1, true), 0);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    /* A hint does nothing for them. */
    assert_int_equal(set_hint(&driver, IOPORT, 0x90, true, NULL), 0);
    driver_begin_guest(&driver, code, sizeof code);
    for (uint8_t value = 0; value < 20; value++) {
        const VcpuResponse__Wait__Io *io = expect_access(&driver, IOPORT, 0x90, true, 1);

        assert_true(io->no_resume);
        assert_int_equal(io->data.data[0], value);
        assert_int_equal(io->regs.len, 0);
    }
    /* The read in the range gave zero, with no event. */
    expect_out(&driver, 0x61, 1, 0);
    driver_stop(&driver);
}

static int
coalesce(struct driver *driver, AddressSpace space, uint64_t start, uint64_t length)
{
    MainRequest__ReserveRange range = MAIN_REQUEST__RESERVE_RANGE__INIT;

    range.coalesce = true;
    return driver_ask_range(driver, space, start, length, range);
}

static void
expect_coalesced(struct driver *driver, AddressSpace space, uint64_t address, uint8_t value)
{
    const VcpuResponse__Wait__Io *io = expect_access(driver, space, address, true, 1);

    assert_true(io->no_resume);
    assert_int_equal(io->data.data[0], value);
}

/* More than the kernel's ring holds, in order and before what comes after; the last without anything that comes after. */
static void
test_coalesced_ports(void **state)
{
    /* mov al, 0; mov cx, 400; l: out 0x90, al; inc al; loop l; in al, 0x90; out 0x61, al; out 0x91, al; jmp $ */
    static const uint8_t code[] = { 0xb0, 0x00, 0xb9, 0x90, 0x01, 0xe6, 0x90, 0xfe, 0xc0, 0xe2,
                                    0xfa, 0xe4, 0x90, 0xe6, 0x61, 0xe6, 0x91, 0xeb, 0xfe };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(coalesce(&driver, IOPORT, 0x90, 2), 0);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    for (unsigned i = 0; i < 400; i++)
        expect_coalesced(&driver, IOPORT, 0x90, (uint8_t)i);
    expect_access(&driver, IOPORT, 0x90, false, 1);
    driver_vcpu_resume(&driver, 0, "\x41", 1);
    expect_out(&driver, 0x61, 1, 0x41);
    expect_coalesced(&driver, IOPORT, 0x91, 0x41);
    driver_stop(&driver);
}

/* A range that is released takes no more; one that comes while the guest runs does. */
static void
test_coalesced_memory(void **state)
{
    /*
     * mov ax, 0xa000; mov es, ax; mov byte [es:0x10], 7; out 0x61, al; mov byte [es:0x10], 8; out 0x61, al;
     * mov byte [es:0x10], 9; jmp $
     */
    static const uint8_t code[] = { 0xb8, 0x00, 0xa0, 0x8e, 0xc0, 0x26, 0xc6, 0x06, 0x10, 0x00, 0x07, 0xe6, 0x61, 0x26, 0xc6,
                                    0x06, 0x10, 0x00, 0x08, 0xe6, 0x61, 0x26, 0xc6, 0x06, 0x10, 0x00, 0x09, 0xeb, 0xfe };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(coalesce(&driver, MMIO, 0xa0000, 0x1000), 0);
    assert_int_equal(coalesce(&driver, MMIO, 0xa0010, 1), EPERM);
    assert_int_equal(coalesce(&driver, MMIO, 0x100000000, 0x100000000), EINVAL);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    driver_begin_guest(&driver, code, sizeof code);
    expect_coalesced(&driver, MMIO, 0xa0010, 7);
    expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(driver_reserve(&driver, MMIO, 0xa0000, 0, false), 0);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(coalesce(&driver, MMIO, 0xa0000, 0x1000), 0);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_coalesced(&driver, MMIO, 0xa0010, 9);
    driver_stop(&driver);
}

static void
test_hints_send_registers(void **state)
{
    /* again: mov ax, 0x1234; out 0x61, al; in al, 0x61; jmp again */
    static const uint8_t code[] = { 0xb8, 0x34, 0x12, 0xe6, 0x61, 0xe4, 0x61, 0xeb, 0xf7 };
    MainRequest__SetCallHint__RegHint detail = MAIN_REQUEST__SET_CALL_HINT__REG_HINT__INIT;
    const VcpuResponse__Wait__Io *io;
    struct kvm_regs regs, asked;
    struct kvm_sregs sregs;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    assert_int_equal(set_hint(&driver, IOPORT, 0x61, true, NULL), 0);
    driver_begin_guest(&driver, code, sizeof code);
    io = expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(io->regs.len, sizeof regs);
    assert_int_equal(io->sregs.len, 0);
    assert_int_equal(io->debugregs.len, 0);
    memcpy(&regs, io->regs.data, sizeof regs);
    assert_int_equal(regs.rax & 0xffff, 0x1234);
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &asked, sizeof asked), 0);
    assert_memory_equal(&asked, &regs, sizeof regs);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    /* The other direction is not hinted. */
    assert_int_equal(expect_access(&driver, IOPORT, 0x61, false, 1)->regs.len, 0);
    detail.match_rax = true;
    detail.rax = regs.rax;
    detail.send_sregs = detail.send_debugregs = true;
    assert_int_equal(set_hint(&driver, IOPORT, 0x61, true, &detail), 0);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    io = expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(io->regs.len, sizeof regs);
    assert_int_equal(io->sregs.len, sizeof sregs);
    assert_int_equal(io->debugregs.len, sizeof(struct kvm_debugregs));
    memcpy(&sregs, io->sregs.data, sizeof sregs);
    assert_int_equal(sregs.cs.base, 0);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_in(&driver, 0x61, 1, 0);
    io = expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(io->sregs.len, sizeof sregs);
    /* Address 0 clears it. */
    assert_int_equal(set_hint(&driver, IOPORT, 0, false, NULL), 0);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_in(&driver, 0x61, 1, 0);
    assert_int_equal(expect_access(&driver, IOPORT, 0x61, true, 1)->regs.len, 0);
    driver_stop(&driver);
}

static void
resume_with(struct driver *driver, const void *data, size_t size, const struct kvm_regs *regs,
            const struct kvm_sregs *sregs, const struct kvm_debugregs *debugregs)
{
    VcpuRequest__Resume resume = VCPU_REQUEST__RESUME__INIT;

    resume.data = (ProtobufCBinaryData){ size, (uint8_t *)(uintptr_t)data };
    resume.regs = (ProtobufCBinaryData){ regs != NULL ? sizeof *regs : 0, (uint8_t *)(uintptr_t)regs };
    resume.sregs = (ProtobufCBinaryData){ sregs != NULL ? sizeof *sregs : 0, (uint8_t *)(uintptr_t)sregs };
    resume.debugregs =
        (ProtobufCBinaryData){ debugregs != NULL ? sizeof *debugregs : 0, (uint8_t *)(uintptr_t)debugregs };
    driver_vcpu_send(driver, 0, VCPU_REQUEST__MESSAGE_RESUME, &resume);
}

/* again: out 0x61, ax; out 0x62, al (from bl); mov ax, es; out 0x63, ax; jmp again */
static const uint8_t register_code[] = { 0xe7, 0x61, 0x88, 0xd8, 0xe6, 0x62, 0x8c, 0xc0, 0xe7, 0x63, 0xeb, 0xf4 };

static void
test_a_resume_carries_registers(void **state)
{
    struct kvm_debugregs debugregs = { .db = { 0x1000 }, .dr6 = 0xffff0ff0, .dr7 = 0x400 }, debugregs_now;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 3, false), 0);
    driver_begin_guest(&driver, register_code, sizeof register_code);
    for (unsigned round = 0; round < 3; round++) {
        expect_access(&driver, IOPORT, 0x61, true, 2);
        assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
        assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__SREGS, &sregs, sizeof sregs), 0);
        regs.rbx = 0x50 + round;
        sregs.es.selector = (uint16_t)(0x700 + round);
        resume_with(&driver, NULL, 0, &regs, round > 0 ? &sregs : NULL, round == 2 ? &debugregs : NULL);
        expect_out(&driver, 0x62, 1, 0x50 + round);
        expect_out(&driver, 0x63, 2, round > 0 ? 0x700 + round : 0);
    }
    expect_access(&driver, IOPORT, 0x61, true, 2);
    assert_int_equal(
        driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__DEBUGREGS, &debugregs_now, sizeof debugregs_now), 0);
    assert_int_equal(debugregs_now.db[0], 0x1000);
    /* Refused ones are logged, and the vCPU goes on with what it has. */
    sregs.cr4 = UINT64_MAX;
    regs.rbx = 0x77;
    resume_with(&driver, NULL, 0, &regs, &sregs, NULL);
    expect_out(&driver, 0x62, 1, 0x77);
    expect_out(&driver, 0x63, 2, 0x702);
    expect_access(&driver, IOPORT, 0x61, true, 2);
    resume_with(&driver, NULL, 0, NULL, &sregs, &debugregs);
    expect_access(&driver, IOPORT, 0x62, true, 1);
    driver_stop(&driver);
}

static void
test_registers_refused_at_init_end_the_vm(void **state)
{
    struct kvm_sregs sregs;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    driver_get_vcpus(&driver);
    assert_int_equal(driver_start_vm(&driver), 0);
    driver_vcpu_send_wait(&driver, 0);
    driver_vcpu_event(&driver, 0, VCPU_RESPONSE__WAIT__EXIT_INIT);
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__SREGS, &sregs, sizeof sregs), 0);
    sregs.cr4 = UINT64_MAX;
    resume_with(&driver, NULL, 0, NULL, &sregs, NULL);
    driver_expect_ended(&driver, CONTROL_ENDED__KIND__KVM_FAILED);
    assert_null(driver_vcpu_receive(&driver, 0));
    driver_stop(&driver);
}

static void
test_set_state_is_seen_by_the_guest(void **state)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 3, false), 0);
    driver_begin_guest(&driver, register_code, sizeof register_code);
    expect_access(&driver, IOPORT, 0x61, true, 2);
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
    regs.rbx = 0x33;
    assert_int_equal(driver_vcpu_set(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
    regs.rbx = 0;
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
    assert_int_equal(regs.rbx, 0x33);
    assert_int_equal(driver_vcpu_get(&driver, 0, VCPU_REQUEST__STATE_SET__SREGS, &sregs, sizeof sregs), 0);
    sregs.es.selector = 0x123;
    assert_int_equal(driver_vcpu_set(&driver, 0, VCPU_REQUEST__STATE_SET__SREGS, &sregs, sizeof sregs), 0);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_out(&driver, 0x62, 1, 0x33);
    expect_out(&driver, 0x63, 2, 0x123);
    driver_stop(&driver);
}

static void
test_cpuid_is_what_the_plugin_set(void **state)
{
    /* xor eax, eax; cpuid; mov eax, ebx; out 0x61, eax; hlt */
    static const uint8_t code[] = { 0x66, 0x31, 0xc0, 0x0f, 0xa2, 0x66, 0x89, 0xd8, 0x66, 0xe7, 0x61, 0xf4 };
    VcpuRequest__SetCpuid set = VCPU_REQUEST__SET_CPUID__INIT;
    CpuidEntry entry = CPUID_ENTRY__INIT, *entries = &entry, *many[257];
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    driver_get_vcpus(&driver);
    driver_make_guest(&driver, 0x10000, code, sizeof code);
    assert_int_equal(driver_start_vm(&driver), 0);
    driver_vcpu_send_wait(&driver, 0);
    driver_vcpu_event(&driver, 0, VCPU_RESPONSE__WAIT__EXIT_INIT);
    driver_set_entry(&driver, 0, GUEST_CODE);
    entry.ebx = 0x47554553;
    set.n_entries = 1;
    set.entries = &entries;
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_SET_CPUID, &set, NULL), 0);
    for (size_t i = 0; i < 257; i++)
        many[i] = &entry;
    set.n_entries = 257;
    set.entries = many;
    assert_int_equal(driver_vcpu_call(&driver, 0, VCPU_REQUEST__MESSAGE_SET_CPUID, &set, NULL), E2BIG);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_out(&driver, 0x61, 4, 0x47554553);
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_port_read_and_write),
        cmocka_unit_test(test_unclaimed_reads_are_zero_and_writes_are_dropped),
        cmocka_unit_test(test_an_access_belongs_to_the_range_where_it_starts),
        cmocka_unit_test(test_string_access_is_one_event),
        cmocka_unit_test(test_mmio_read_and_write),
        cmocka_unit_test(test_async_writes_go_on_in_order),
        cmocka_unit_test(test_coalesced_ports),
        cmocka_unit_test(test_coalesced_memory),
        cmocka_unit_test(test_hints_send_registers),
        cmocka_unit_test(test_a_resume_carries_registers),
        cmocka_unit_test(test_registers_refused_at_init_end_the_vm),
        cmocka_unit_test(test_set_state_is_seen_by_the_guest),
        cmocka_unit_test(test_cpuid_is_what_the_plugin_set),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
