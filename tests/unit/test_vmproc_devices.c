/* A real vmproc and a real guest: interrupts, io events, read-only memory and the dirty log. */
#include "tests/unit/vmproc_driver_vcpu.h"

#include "vmproc/limits.h"

#include <sys/resource.h>

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
    /* Lines without a route, one that a route could have and two that none can. */
    assert_int_equal(set_irq(&driver, 200, true), 0);
    assert_int_equal(set_irq(&driver, 4096, true), 0);
    assert_int_equal(set_irq(&driver, UINT32_MAX, true), 0);
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

/* To the limits of the interface, which are reached before KVM's; and what is destroyed can be made again. */
static void
test_events_are_limited_and_reused(void **state)
{
    struct message_fds fds;
    struct driver driver;
    uint32_t ids = 0;

    (void)state;
    driver_start(&driver, 1);
    for (uint64_t i = 0; i < LIMIT_IO_EVENTS; i++)
        assert_int_equal(create_io_event(&driver, ids++, IOPORT, i, 0, NULL, NULL), 0);
    assert_int_equal(create_io_event(&driver, ids, MMIO, 0x10000, 0, NULL, NULL), ENOSPC);
    for (uint32_t i = 0; i < LIMIT_IRQ_EVENTS; i++) {
        assert_int_equal(create_irq_event(&driver, ids++, i, &fds), 0);
        message_close_fds(&fds);
    }
    assert_int_equal(create_irq_event(&driver, ids, 1, &fds), ENOSPC);
    assert_int_equal(driver_destroy_object(&driver, 0), 0);
    assert_int_equal(create_irq_event(&driver, ids, 1, &fds), ENOSPC);
    assert_int_equal(create_io_event(&driver, ids, IOPORT, 0, 0, NULL, NULL), 0);
    assert_int_equal(driver_destroy_object(&driver, LIMIT_IO_EVENTS), 0);
    assert_int_equal(create_irq_event(&driver, 0, LIMIT_GSI, &fds), EINVAL);
    assert_int_equal(create_irq_event(&driver, 0, LIMIT_GSI - 1, &fds), 0);
    message_close_fds(&fds);
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
        cmocka_unit_test(test_set_irq_interrupts_the_guest),
        cmocka_unit_test(test_irq_event_interrupts_and_is_resampled),
        cmocka_unit_test(test_io_events_count_matching_writes),
        cmocka_unit_test(test_io_events_of_any_length),
        cmocka_unit_test(test_events_are_limited_and_reused),
        cmocka_unit_test(test_memory_read_only_and_dirty_log),
    };

    struct rlimit files;

    /* As many as vmproc may have: a limit of the VM's own is to be met first. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
