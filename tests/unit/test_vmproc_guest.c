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

/* cli; PIC: base 0x20, only IRQ 5 open; sti; l: hlt; jmp l; at 0x2000: out 0x61, al (with 0x20); EOI; iret */
static const uint8_t irq_code[] = { 0xfa, 0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0,
                                    0x01, 0xe6, 0x21, 0xb0, 0xdf, 0xe6, 0x21, 0xe6, 0x61, 0xfb, 0xf4, 0xeb, 0xfd };
static const uint8_t irq_handler[] = { 0xb0, 0x20, 0xe6, 0x61, 0xe6, 0x20, 0xcf };

static void
begin_irq_guest(struct driver *driver)
{
    static const uint8_t vector[] = { 0x00, 0x20, 0x00, 0x00 };

    driver_start(driver, 1);
    assert_int_equal(driver_reserve(driver, IOPORT, 0x61, 1, false), 0);
    driver_begin_guest(driver, irq_code, sizeof irq_code);
    memcpy(driver->memory + 0x2000, irq_handler, sizeof irq_handler);
    memcpy(driver->memory + 0x25 * 4, vector, sizeof vector);
    expect_out(driver, 0x61, 1, 0xdf);
}

static int
set_irq(struct driver *driver, uint32_t irq, bool active)
{
    MainRequest__SetIrq request = MAIN_REQUEST__SET_IRQ__INIT;

    request.irq_id = irq;
    request.active = active;
    return driver_call(driver, REQUEST(SET_IRQ, &request), NULL);
}

static void
test_set_irq_interrupts_the_guest(void **state)
{
    struct driver driver;

    (void)state;
    begin_irq_guest(&driver);
    for (int i = 0; i < 3; i++) {
        assert_false(driver_readable(driver.vcpu[0].read, 20));
        assert_int_equal(set_irq(&driver, 5, true), 0);
        assert_int_equal(set_irq(&driver, 5, false), 0);
        expect_out(&driver, 0x61, 1, 0x20);
    }
    assert_int_equal(set_irq(&driver, 200, true), 0);
    assert_int_equal(set_irq(&driver, 4096, true), EINVAL);
    driver_stop(&driver);
}

static int
create_irq_event(struct driver *driver, uint32_t id, uint32_t irq, struct message_fds *fds)
{
    MainRequest__Create create = MAIN_REQUEST__CREATE__INIT;
    MainRequest__Create__IrqEvent event = MAIN_REQUEST__CREATE__IRQ_EVENT__INIT;

    event.irq_id = irq;
    event.resample = true;
    create.id = id;
    create.object_case = MAIN_REQUEST__CREATE__OBJECT_IRQ_EVENT;
    create.irq_event = &event;
    return driver_call_fds(driver, REQUEST(CREATE, &create), NULL, 0, NULL, fds);
}

static void
test_irq_event_interrupts_and_is_resampled(void **state)
{
    struct message_fds fds, second;
    const uint64_t one = 1;
    struct driver driver;
    uint64_t count;

    (void)state;
    begin_irq_guest(&driver);
    assert_int_equal(create_irq_event(&driver, 7, 5, &fds), 0);
    assert_int_equal(fds.count, 2);
    assert_int_equal(create_irq_event(&driver, 7, 6, &second), EEXIST);
    assert_int_equal(write(fds.fd[0], &one, sizeof one), sizeof one);
    expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_false(driver_readable(fds.fd[1], 20));
    driver_vcpu_resume(&driver, 0, NULL, 0);
    /* The guest's end of interrupt is told. */
    assert_true(driver_readable(fds.fd[1], DRIVER_TIMEOUT_MS));
    assert_int_equal(read(fds.fd[1], &count, sizeof count), sizeof count);
    assert_int_equal(create_irq_event(&driver, 8, 5, &second), 0);
    message_close_fds(&second);
    assert_int_equal(driver_destroy_object(&driver, 7), 0);
    assert_int_equal(driver_destroy_object(&driver, 7), ENOENT);
    assert_int_equal(write(fds.fd[0], &one, sizeof one), sizeof one);
    assert_false(driver_readable(driver.vcpu[0].read, 50));
    message_close_fds(&fds);
    driver_stop(&driver);
}

static int
create_io_event(struct driver *driver, uint32_t id, AddressSpace space, uint64_t address, uint32_t length,
                const uint64_t *match, int *fd)
{
    MainRequest__Create create = MAIN_REQUEST__CREATE__INIT;
    MainRequest__Create__IoEvent event = MAIN_REQUEST__CREATE__IO_EVENT__INIT;
    struct message_fds fds;
    int error;

    event.space = space;
    event.address = address;
    event.length = length;
    event.datamatch = match != NULL ? *match : 0;
    event.any_value = match == NULL;
    create.id = id;
    create.object_case = MAIN_REQUEST__CREATE__OBJECT_IO_EVENT;
    create.io_event = &event;
    error = driver_call_fds(driver, REQUEST(CREATE, &create), NULL, 0, NULL, &fds);
    assert_int_equal(fds.count, error == 0 ? 1 : 0);
    if (error == 0 && fd != NULL)
        *fd = fd_take(&fds.fd[0]);
    message_close_fds(&fds);
    return error;
}

static uint64_t
take_count(int fd)
{
    uint64_t count = 0;

    if (driver_readable(fd, 0))
        assert_int_equal(read(fd, &count, sizeof count), sizeof count);
    return count;
}

static void
test_io_events_count_matching_writes(void **state)
{
    /*
     * mov ax, 0x0105; out 0x90, al; out 0x90, ax; inc al; out 0x90, al; out 0x92, al; mov bx,0xa000; mov es,bx; mov
     * [es:0],al; out 0x61, al; out 0x90, al; out 0x61, al
     */
    static const uint8_t code[] = { 0xb8, 0x05, 0x01, 0xe6, 0x90, 0xe7, 0x90, 0xfe, 0xc0, 0xe6,
                                    0x90, 0xe6, 0x92, 0xbb, 0x00, 0xa0, 0x8e, 0xc3, 0x26, 0xa2,
                                    0x00, 0x00, 0xe6, 0x61, 0xe6, 0x90, 0xe6, 0x61, 0xf4 };
    static const uint64_t five = 5, word = 0x105, wide = 0xff05;
    int byte_fd, word_fd, value_fd, any_fd, mmio_fd;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    assert_int_equal(create_io_event(&driver, 1, IOPORT, 0x90, 1, &five, &byte_fd), 0);
    assert_int_equal(create_io_event(&driver, 2, IOPORT, 0x90, 2, &word, &word_fd), 0);
    assert_int_equal(create_io_event(&driver, 3, IOPORT, 0x92, 1, NULL, &value_fd), 0);
    assert_int_equal(create_io_event(&driver, 4, IOPORT, 0x94, 0, NULL, &any_fd), 0);
    assert_int_equal(create_io_event(&driver, 5, MMIO, 0xa0000, 1, NULL, &mmio_fd), 0);
    assert_int_equal(create_io_event(&driver, 9, IOPORT, 0x90, 1, &five, NULL), EEXIST);
    /* A value is compared on the access's bytes. */
    assert_int_equal(create_io_event(&driver, 9, IOPORT, 0x90, 1, &wide, NULL), EEXIST);
    assert_int_equal(create_io_event(&driver, 9, IOPORT, 0x98, 3, &five, NULL), EINVAL);
    assert_int_equal(create_io_event(&driver, 9, (AddressSpace)2, 0x98, 1, &five, NULL), EINVAL);
    assert_int_equal(create_io_event(&driver, 1, IOPORT, 0x98, 1, &five, NULL), EEXIST);
    driver_begin_guest(&driver, code, sizeof code);
    expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(take_count(byte_fd), 1);
    assert_int_equal(take_count(word_fd), 1);
    assert_int_equal(take_count(value_fd), 1);
    assert_int_equal(take_count(any_fd), 0);
    assert_int_equal(take_count(mmio_fd), 1);
    /* Destroyed while the guest runs. */
    assert_int_equal(driver_destroy_object(&driver, 1), 0);
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(take_count(byte_fd), 0);
    fd_close(&byte_fd);
    fd_close(&word_fd);
    fd_close(&value_fd);
    fd_close(&any_fd);
    fd_close(&mmio_fd);
    driver_stop(&driver);
}

static void
test_io_events_of_any_length(void **state)
{
    /* out 0x94, al; out 0x94, ax; out 0x61, al */
    static const uint8_t code[] = { 0xe6, 0x94, 0xe7, 0x94, 0xe6, 0x61, 0xf4 };
    struct driver driver;
    int fd;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    assert_int_equal(create_io_event(&driver, 0xffffffff, IOPORT, 0x94, 0, NULL, &fd), 0);
    driver_begin_guest(&driver, code, sizeof code);
    expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(take_count(fd), 2);
    fd_close(&fd);
    driver_stop(&driver);
}

static int
get_dirty_log(struct driver *driver, uint32_t id, uint8_t *bitmap, size_t size)
{
    MainRequest__MemoryDirtyLog request = MAIN_REQUEST__MEMORY_DIRTY_LOG__INIT;
    const MainResponse *response;
    int error;

    request.id = id;
    error = driver_call(driver, REQUEST(DIRTY_LOG, &request), &response);
    if (error == 0) {
        assert_int_equal(response->dirty_log->bitmap.len, size);
        memcpy(bitmap, response->dirty_log->bitmap.data, size);
    }
    return error;
}

static void
test_memory_read_only_and_dirty_log(void **state)
{
    /*
     * mov ax,0x2000; mov es,ax; mov al,[es:0]; mov [es:0],al; mov ax,0x3000; mov es,ax; mov [es:0x1000],al; mov
     * [es:0x8000],al; out 0x61,al; hlt
     */
    static const uint8_t code[] = { 0xb8, 0x00, 0x20, 0x8e, 0xc0, 0x26, 0xa0, 0x00, 0x00, 0x26,
                                    0xa2, 0x00, 0x00, 0xb8, 0x00, 0x30, 0x8e, 0xc0, 0x26, 0xa2,
                                    0x00, 0x10, 0x26, 0xa2, 0x00, 0x80, 0xe6, 0x61, 0xf4 };
    int rom = driver_make_memfd(PAGE, F_SEAL_SHRINK | F_SEAL_GROW), ram = driver_make_memfd(9 * PAGE, F_SEAL_SHRINK);
    const VcpuResponse__Wait__Io *io;
    uint8_t bitmap[2] = { 0 };
    struct driver driver;

    (void)state;
    assert_int_equal(pwrite(rom, "R", 1, 0), 1);
    driver_start(&driver, 1);
    assert_int_equal(driver_reserve(&driver, IOPORT, 0x61, 1, false), 0);
    assert_int_equal(driver_reserve(&driver, MMIO, 0x20000, PAGE, false), 0);
    assert_int_equal(
        driver_create_memory(&driver, 1, rom,
                             &(MainRequest__Create__Memory){ .start = 0x20000, .length = PAGE, .read_only = true }),
        0);
    assert_int_equal(
        driver_create_memory(&driver, 2, ram,
                             &(MainRequest__Create__Memory){ .start = 0x30000, .length = 9 * PAGE, .dirty_log = true }),
        0);
    driver_begin_guest(&driver, code, sizeof code);
    io = expect_access(&driver, MMIO, 0x20000, true, 1);
    assert_int_equal(io->data.data[0], 'R');
    driver_vcpu_resume(&driver, 0, NULL, 0);
    expect_access(&driver, IOPORT, 0x61, true, 1);
    assert_int_equal(get_dirty_log(&driver, 2, bitmap, 2), 0);
    assert_int_equal(bitmap[0], 1 << 1);
    assert_int_equal(bitmap[1], 1);
    assert_int_equal(get_dirty_log(&driver, 2, bitmap, 2), 0);
    assert_int_equal(bitmap[0] | bitmap[1], 0);
    assert_int_equal(get_dirty_log(&driver, 1, bitmap, 1), ENOENT);
    assert_int_equal(get_dirty_log(&driver, 3, bitmap, 1), ENOENT);
    assert_int_equal(driver_destroy_object(&driver, 2), 0);
    assert_int_equal(get_dirty_log(&driver, 2, bitmap, 1), ENOENT);
    fd_close(&rom);
    fd_close(&ram);
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
        cmocka_unit_test(test_hints_send_registers),
        cmocka_unit_test(test_a_resume_carries_registers),
        cmocka_unit_test(test_registers_refused_at_init_end_the_vm),
        cmocka_unit_test(test_set_state_is_seen_by_the_guest),
        cmocka_unit_test(test_cpuid_is_what_the_plugin_set),
        cmocka_unit_test(test_set_irq_interrupts_the_guest),
        cmocka_unit_test(test_irq_event_interrupts_and_is_resampled),
        cmocka_unit_test(test_io_events_count_matching_writes),
        cmocka_unit_test(test_io_events_of_any_length),
        cmocka_unit_test(test_memory_read_only_and_dirty_log),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
