/*
 * The second half of the driver (see vmproc_driver.h): the vCPUs' pipes, and a guest in real mode to run on them.
 */
#ifndef VMSUP_TESTS_UNIT_VMPROC_DRIVER_VCPU_H
#define VMSUP_TESTS_UNIT_VMPROC_DRIVER_VCPU_H

#include "tests/unit/vmproc_driver.h"

/* --- a plugin's side: a vCPU's pipes */

static UNUSED void
driver_vcpu_write(struct driver *driver, unsigned id, const void *data, size_t size)
{
    assert_int_equal(write(driver->vcpu[id].write, data, size), (ssize_t)size);
}

static UNUSED size_t
driver_pack_vcpu(VcpuRequest__MessageCase kind, void *body, uint8_t *buffer, size_t capacity)
{
    VcpuRequest request = VCPU_REQUEST__INIT;
    ssize_t size;

    request.message_case = kind;
    request.wait = body;
    size = message_pack(&request.base, buffer, capacity);
    assert_true(size > 0);
    return (size_t)size;
}

static UNUSED void
driver_vcpu_send(struct driver *driver, unsigned id, VcpuRequest__MessageCase kind, void *body)
{
    static uint8_t buffer[WIRE_VCPU_MESSAGE_MAX];

    driver_vcpu_write(driver, id, buffer, driver_pack_vcpu(kind, body, buffer, sizeof buffer));
}

/* The next response, as the original library reads it; NULL where the pipe has ended. */
static UNUSED const VcpuResponse *
driver_vcpu_receive(struct driver *driver, unsigned id)
{
    uint8_t *held = driver->vcpu[id].held;
    size_t *held_size = &driver->vcpu[id].held_size;
    const VcpuResponse *response;
    ssize_t got, length_size;
    uint64_t length;

    if (*held_size == 0) {
        assert_true(driver_readable(driver->vcpu[id].read, DRIVER_TIMEOUT_MS));
        got = read(driver->vcpu[id].read, held, WIRE_VCPU_PIPE_SIZE);
        if (got == 0)
            return NULL;
        assert_true(got > 0);
        *held_size = (size_t)got;
    }
    length_size = wire_get_varint(held, *held_size, &length);
    assert_true(length_size > 0);
    /* Length and message came out in one write. */
    assert_true((size_t)length_size + length <= *held_size);
    arena_reset(&driver->arena);
    response = message_unpack(&driver->arena, &vcpu_response__descriptor, held + length_size, length);
    assert_non_null(response);
    *held_size -= (size_t)length_size + length;
    memmove(held, held + length_size + length, *held_size);
    return response;
}

/* Asks, and gives the errno. */
static UNUSED int
driver_vcpu_call(struct driver *driver, unsigned id, VcpuRequest__MessageCase kind, void *body,
                 const VcpuResponse **response)
{
    const VcpuResponse *answer;

    driver_vcpu_send(driver, id, kind, body);
    answer = driver_vcpu_receive(driver, id);
    assert_non_null(answer);
    if (answer->error != 0)
        assert_int_equal(answer->message_case, VCPU_RESPONSE__MESSAGE__NOT_SET);
    if (response != NULL)
        *response = answer;
    return answer->error;
}

static UNUSED void
driver_vcpu_send_wait(struct driver *driver, unsigned id)
{
    VcpuRequest__Wait wait = VCPU_REQUEST__WAIT__INIT;

    driver_vcpu_send(driver, id, VCPU_REQUEST__MESSAGE_WAIT, &wait);
}

/* The next event. */
static UNUSED const VcpuResponse__Wait *
driver_vcpu_event(struct driver *driver, unsigned id, VcpuResponse__Wait__ExitCase kind)
{
    const VcpuResponse *response = driver_vcpu_receive(driver, id);

    assert_non_null(response);
    assert_int_equal(response->error, 0);
    assert_int_equal(response->message_case, VCPU_RESPONSE__MESSAGE_WAIT);
    assert_int_equal(response->wait->exit_case, kind);
    return response->wait;
}

static UNUSED void
driver_vcpu_resume(struct driver *driver, unsigned id, const void *data, size_t size)
{
    VcpuRequest__Resume resume = VCPU_REQUEST__RESUME__INIT;

    resume.data.data = (uint8_t *)(uintptr_t)data;
    resume.data.len = size;
    driver_vcpu_send(driver, id, VCPU_REQUEST__MESSAGE_RESUME, &resume);
}

static UNUSED int
driver_vcpu_get(struct driver *driver, unsigned id, VcpuRequest__StateSet set, void *state, size_t size)
{
    VcpuRequest__GetState get = VCPU_REQUEST__GET_STATE__INIT;
    const VcpuResponse *response;
    int error;

    get.set = set;
    error = driver_vcpu_call(driver, id, VCPU_REQUEST__MESSAGE_GET_STATE, &get, &response);
    if (error != 0)
        return error;
    assert_int_equal(response->message_case, VCPU_RESPONSE__MESSAGE_GET_STATE);
    assert_int_equal(response->get_state->state.len, size);
    memcpy(state, response->get_state->state.data, size);
    return 0;
}

static UNUSED int
driver_vcpu_set(struct driver *driver, unsigned id, VcpuRequest__StateSet set, const void *state, size_t size)
{
    VcpuRequest__SetState request = VCPU_REQUEST__SET_STATE__INIT;

    request.set = set;
    request.state.data = (uint8_t *)(uintptr_t)state;
    request.state.len = size;
    return driver_vcpu_call(driver, id, VCPU_REQUEST__MESSAGE_SET_STATE, &request, NULL);
}

/* --- a guest in real mode */

/* Memory from 0 on, with code at GUEST_CODE; object 0. */
static UNUSED void
driver_make_guest(struct driver *driver, size_t size, const void *code, size_t code_size)
{
    int memfd = driver_make_memfd(size, F_SEAL_SHRINK);

    driver->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    assert_true(driver->memory != MAP_FAILED);
    driver->memory_size = size;
    memcpy(driver->memory + GUEST_CODE, code, code_size);
    assert_int_equal(driver_create_memory(driver, 0, memfd, &(MainRequest__Create__Memory){ .length = size }), 0);
    fd_close(&memfd);
}

/* The vCPU is at INIT: it is to begin at `ip`, with flat segments. */
static UNUSED void
driver_set_entry(struct driver *driver, unsigned id, uint64_t ip)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = { .rip = ip, .rsp = 0x8000, .rflags = 2 };

    assert_int_equal(driver_vcpu_get(driver, id, VCPU_REQUEST__STATE_SET__SREGS, &sregs, sizeof sregs), 0);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    assert_int_equal(driver_vcpu_set(driver, id, VCPU_REQUEST__STATE_SET__SREGS, &sregs, sizeof sregs), 0);
    assert_int_equal(driver_vcpu_set(driver, id, VCPU_REQUEST__STATE_SET__REGS, &regs, sizeof regs), 0);
}

/* One vCPU with `code`, at its first instruction; ranges are to be reserved before. */
static UNUSED void
driver_begin_guest(struct driver *driver, const void *code, size_t code_size)
{
    driver_get_vcpus(driver);
    driver_make_guest(driver, 0x10000, code, code_size);
    assert_int_equal(driver_start_vm(driver), 0);
    driver_vcpu_send_wait(driver, 0);
    driver_vcpu_event(driver, 0, VCPU_RESPONSE__WAIT__EXIT_INIT);
    driver_set_entry(driver, 0, GUEST_CODE);
    driver_vcpu_resume(driver, 0, NULL, 0);
}

/* The next event of vCPU 0 is this access; gives it. */
static UNUSED const VcpuResponse__Wait__Io *
expect_access(struct driver *driver, AddressSpace space, uint64_t address, bool is_write, size_t length)
{
    const VcpuResponse__Wait *event = driver_vcpu_event(driver, 0, VCPU_RESPONSE__WAIT__EXIT_IO);

    assert_int_equal(event->io->space, space);
    assert_int_equal(event->io->address, address);
    assert_int_equal(event->io->is_write, is_write);
    assert_int_equal(event->io->data.len, length);
    return event->io;
}

/* The next event is a write to `port` of the value given, which is then resumed from. */
static UNUSED void
expect_out(struct driver *driver, uint16_t port, size_t length, uint32_t value)
{
    const VcpuResponse__Wait__Io *io = expect_access(driver, IOPORT, port, true, length);

    assert_false(io->no_resume);
    assert_memory_equal(io->data.data, &value, length);
    driver_vcpu_resume(driver, 0, NULL, 0);
}

/* The next event is a read of `port`, which is answered so. */
static UNUSED void
expect_in(struct driver *driver, uint16_t port, size_t length, uint32_t value)
{
    const VcpuResponse__Wait__Io *io = expect_access(driver, IOPORT, port, false, length);

    for (size_t i = 0; i < length; i++)
        assert_int_equal(io->data.data[i], 0);
    driver_vcpu_resume(driver, 0, &value, length);
}

/* again: in al, 0x60; jmp again */
static UNUSED const uint8_t reading_code[] = { 0xe4, 0x60, 0xeb, 0xfc };

static UNUSED void
begin_reading_guest(struct driver *driver)
{
    driver_start(driver, 1);
    assert_int_equal(driver_reserve(driver, IOPORT, 0x60, 1, false), 0);
    driver_begin_guest(driver, reading_code, sizeof reading_code);
    expect_access(driver, IOPORT, 0x60, false, 1);
}

/* Past INIT: at `ip`, or, where that is 0, left to wait for another vCPU to start it. */
static UNUSED void
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

#endif
