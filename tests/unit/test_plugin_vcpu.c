/* The plugin library's vCPUs: events and resumes as they go over the pipes, and what is wrong with them. */
#include "tests/unit/plugin_host.h"

/* The response with its length before it. */
static void
give(struct host *host, const uint8_t *bytes, size_t size)
{
    uint8_t whole[256];

    assert_true(size < 128);
    whole[0] = (uint8_t)size;
    memcpy(whole + 1, bytes, size);
    assert_int_equal(write(host->responses, whole, size + 1), (ssize_t)size + 1);
}

static void
expect_vcpu_request(struct host *host, const uint8_t *bytes, size_t size)
{
    uint8_t buffer[4096];
    ssize_t got;

    fcntl(host->requests, F_SETFL, O_NONBLOCK);
    got = read(host->requests, buffer, sizeof buffer);
    assert_int_equal(got, (ssize_t)size);
    assert_memory_equal(buffer, bytes, size);
}

static void
expect_no_vcpu_request(struct host *host)
{
    fcntl(host->requests, F_SETFL, O_NONBLOCK);
    assert_int_equal(read(host->requests, &(uint8_t){ 0 }, 1), -1);
}

static void
take_init(struct host *host)
{
    struct vmsup_vcpu_event event;

    give(host, BYTES(0x12, 2, 0x0a, 0));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(event.kind, VMSUP_VCPU_EVENT_KIND_INIT);
    expect_vcpu_request(host, BYTES(0x0a, 0));
}

static void
test_events(void **state)
{
    struct host *host = *state;
    struct vmsup_vcpu_event event;

    take_init(host);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPROTO);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_vcpu_request(host, BYTES(0x12, 0));
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), -EPROTO);
    /* Two at once: an async write, which needs no resume, and a read. No wait is asked for again. */
    give(host, BYTES(0x12, 13, 0x12, 11, 0x10, 0x80, 0x0a, 0x18, 1, 0x20, 1, 0x2a, 2, 0x61, 0x62));
    give(host, BYTES(0x12, 12, 0x12, 10, 0x08, 1, 0x10, 0x07, 0x2a, 4, 0, 0, 0, 0));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(event.kind, VMSUP_VCPU_EVENT_KIND_IO_ACCESS);
    assert_int_equal(event.io_access.address, 0x500);
    assert_int_equal(event.io_access.is_write, 1);
    assert_int_equal(event.io_access.no_resume, 1);
    assert_int_equal(event.io_access.length, 2);
    assert_memory_equal(event.io_access.data, "ab", 2);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(event.io_access.address_space, VMSUP_ADDRESS_SPACE_MMIO);
    assert_int_equal(event.io_access.is_write, 0);
    assert_int_equal(event.io_access.length, 4);
    memcpy(event.io_access.data, "wxyz", 4);
    expect_no_vcpu_request(host);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_vcpu_request(host, BYTES(0x12, 6, 0x0a, 4, 'w', 'x', 'y', 'z'));
    give(host, BYTES(0x12, 5, 0x1a, 3, 0x08, 0x81, 0x01));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(event.kind, VMSUP_VCPU_EVENT_KIND_PAUSED);
    assert_ptr_equal(event.user, (void *)(uintptr_t)0x81);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_vcpu_request(host, BYTES(0x12, 0));
    give(host, BYTES(0x12, 8, 0x22, 6, 0x08, 0x5c, 0x10, 1, 0x18, 2));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(event.kind, VMSUP_VCPU_EVENT_KIND_HYPERV_HCALL);
    assert_int_equal(event.hyperv_call.input, 0x5c);
    assert_int_equal(event.hyperv_call.params[1], 2);
    *event.hyperv_call.result = 0x0102;
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_vcpu_request(host, BYTES(0x12, 10, 0x0a, 8, 2, 1, 0, 0, 0, 0, 0, 0));
}

/* State is for the time between an event and its resume: at any other nothing is asked, since an event would come for the answer. */
static void
test_state_out_of_turn(void **state)
{
    struct host *host = *state;
    struct kvm_msr_entry entry = { .index = 0x10 };
    uint32_t count;
    struct kvm_fpu fpu;
    struct kvm_regs regs = { 0 };

    assert_int_equal(vmsup_vcpu_get_fpu(host->vcpu, &fpu), -EPROTO);
    assert_int_equal(vmsup_vcpu_get_regs(host->vcpu, &regs), -EPROTO);
    expect_no_vcpu_request(host);
    take_init(host);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_vcpu_request(host, BYTES(0x12, 0));
    assert_int_equal(vmsup_vcpu_get_sregs(host->vcpu, &(struct kvm_sregs){ 0 }), -EPROTO);
    assert_int_equal(vmsup_vcpu_set_fpu(host->vcpu, &(struct kvm_fpu){ 0 }), -EPROTO);
    assert_int_equal(vmsup_vcpu_get_msrs(host->vcpu, 1, &entry, &count), -EPROTO);
    assert_int_equal(vmsup_get_hyperv_cpuid(host->vcpu, 0, NULL, &count), -EPROTO);
    expect_no_vcpu_request(host);
    /* An async write wants no resume: the guest runs. */
    give(host, BYTES(0x12, 11, 0x12, 9, 0x10, 0x07, 0x18, 1, 0x20, 1, 0x2a, 1, 0x61));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &(struct vmsup_vcpu_event){ 0 }), 0);
    assert_int_equal(vmsup_vcpu_get_regs(host->vcpu, &regs), -EPROTO);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), -EPROTO);
    expect_no_vcpu_request(host);
}

/* Registers that come with an event are known. What is set needs nobody to answer, and all of it goes along with the resume. */
static void
test_carried(void **state)
{
    struct host *host = *state;
    struct kvm_regs regs = { .rip = 0x1122334455667788, .rflags = 2 }, got_regs;
    struct kvm_sregs sregs = { .cr0 = 0x11 };
    struct kvm_debugregs debugregs = { .dr7 = 0x400 };
    VcpuResponse__Wait__Io io = VCPU_RESPONSE__WAIT__IO__INIT;
    VcpuResponse__Wait wait = VCPU_RESPONSE__WAIT__INIT;
    VcpuResponse response = VCPU_RESPONSE__INIT;
    struct vmsup_vcpu_event event;
    VcpuRequest *request;
    uint8_t buffer[1024];
    size_t size, prefix;
    ssize_t got;

    take_init(host);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_vcpu_request(host, BYTES(0x12, 0));
    io.data = (ProtobufCBinaryData){ .len = 1, .data = (uint8_t *)"z" };
    io.regs = (ProtobufCBinaryData){ .len = sizeof regs, .data = (uint8_t *)&regs };
    wait.exit_case = VCPU_RESPONSE__WAIT__EXIT_IO;
    wait.io = &io;
    response.message_case = VCPU_RESPONSE__MESSAGE_WAIT;
    response.wait = &wait;
    size = protobuf_c_message_get_packed_size(&response.base);
    prefix = wire_put_varint(size, buffer);
    assert_int_equal(message_pack(&response.base, buffer + prefix, sizeof buffer - prefix), (ssize_t)size);
    assert_int_equal(write(host->responses, buffer, prefix + size), (ssize_t)(prefix + size));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(vmsup_vcpu_get_regs(host->vcpu, &got_regs), 0);
    assert_memory_equal(&got_regs, &regs, sizeof regs);
    expect_no_vcpu_request(host);
    regs.rax = 7;
    assert_int_equal(vmsup_vcpu_set_regs(host->vcpu, &regs), 0);
    assert_int_equal(vmsup_vcpu_set_sregs(host->vcpu, &sregs), 0);
    assert_int_equal(vmsup_vcpu_set_debugregs(host->vcpu, &debugregs), 0);
    expect_no_vcpu_request(host);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    got = read(host->requests, buffer, sizeof buffer);
    assert_true(got > 0);
    request = vcpu_request__unpack(NULL, (size_t)got, buffer);
    assert_non_null(request);
    assert_int_equal(request->message_case, VCPU_REQUEST__MESSAGE_RESUME);
    assert_int_equal(request->resume->regs.len, sizeof regs);
    assert_memory_equal(request->resume->regs.data, &regs, sizeof regs);
    assert_int_equal(request->resume->sregs.len, sizeof sregs);
    assert_memory_equal(request->resume->sregs.data, &sregs, sizeof sregs);
    assert_int_equal(request->resume->debugregs.len, sizeof debugregs);
    assert_memory_equal(request->resume->debugregs.data, &debugregs, sizeof debugregs);
    vcpu_request__free_unpacked(request, NULL);
}

/* Registers that are set go along with the resume; a get after a set sets first. */
static void
test_registers(void **state)
{
    struct host *host = *state;
    struct kvm_debugregs registers = { .dr7 = 0x400 }, got;
    uint8_t request[6 + sizeof registers], response[256];
    uint8_t buffer[512];
    ssize_t size;

    take_init(host);
    assert_int_equal(vmsup_vcpu_set_debugregs(host->vcpu, &registers), 0);
    expect_no_vcpu_request(host);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    size = read(host->requests, buffer, sizeof buffer);
    /* Resume.debugregs is field 4, and its 128 bytes are the structure. */
    assert_int_equal(size, 3 + 3 + (ssize_t)sizeof registers);
    memcpy(request, ((const uint8_t[]){ 0x12, 0x83, 0x01, 0x22, 0x80, 0x01 }), 6);
    memcpy(request + 6, &registers, sizeof registers);
    assert_memory_equal(buffer, request, sizeof request);

    give(host, BYTES(0x12, 4, 0x1a, 2, 0x08, 1));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &(struct vmsup_vcpu_event){ 0 }), 0);
    assert_int_equal(vmsup_vcpu_set_debugregs(host->vcpu, &registers), 0);
    give(host, BYTES(0x2a, 0)); /* set_state */
    memcpy(response, ((const uint8_t[]){ 0x86, 0x01, 0x22, 0x83, 0x01, 0x0a, 0x80, 0x01 }), 8);
    registers.dr6 = 0xffff0ff0; /* as KVM sees it */
    memcpy(response + 8, &registers, sizeof registers);
    assert_int_equal(write(host->responses, response, 8 + sizeof registers), 8 + (ssize_t)sizeof registers);
    assert_int_equal(vmsup_vcpu_get_debugregs(host->vcpu, &got), 0);
    assert_memory_equal(&got, &registers, sizeof got);
    size = read(host->requests, buffer, sizeof buffer);
    /* SetState { set DEBUGREGS, 128 bytes }, then GetState { set DEBUGREGS }. */
    assert_int_equal(size, 3 + 5 + (ssize_t)sizeof registers + 4);
    assert_memory_equal(buffer, ((const uint8_t[]){ 0x22, 0x85, 0x01, 0x08, 3, 0x12, 0x80, 0x01 }), 8);
    assert_memory_equal(buffer + size - 4, ((const uint8_t[]){ 0x1a, 2, 0x08, 3 }), 4);
    /* Known now: nothing is asked, and nothing goes along. */
    assert_int_equal(vmsup_vcpu_get_debugregs(host->vcpu, &got), 0);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_vcpu_request(host, BYTES(0x12, 0));
}

static void
test_msrs(void **state)
{
    struct host *host = *state;
    struct kvm_msr_entry entries[3] = { { .index = 0x10 }, { .index = 0x11 }, { .index = 0xc0000080 } };
    uint32_t count = 0;

    take_init(host);
    /* Two of three were read; the answer's list is packed. */
    give(host, BYTES(0x32, 4, 0x0a, 2, 7, 8));
    assert_int_equal(vmsup_vcpu_get_msrs(host->vcpu, 3, entries, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(entries[1].data, 8);
    expect_vcpu_request(host, BYTES(0x2a, 9, 0x0a, 7, 0x10, 0x11, 0x80, 0x81, 0x80, 0x80, 0x0c));
    /* More than was asked for. */
    give(host, BYTES(0x32, 6, 0x0a, 4, 1, 2, 3, 4));
    assert_int_equal(vmsup_vcpu_get_msrs(host->vcpu, 3, entries, &count), -EPROTO);
    expect_vcpu_request(host, BYTES(0x2a, 9, 0x0a, 7, 0x10, 0x11, 0x80, 0x81, 0x80, 0x80, 0x0c));
    give(host, BYTES(0x3a, 0));
    entries[2].data = 1;
    assert_int_equal(vmsup_vcpu_set_msrs(host->vcpu, 1, entries + 2), 0);
    expect_vcpu_request(host, BYTES(0x32, 10, 0x0a, 8, 0x08, 0x80, 0x81, 0x80, 0x80, 0x0c, 0x10, 1));
    assert_int_equal(vmsup_vcpu_get_msrs(host->vcpu, 20000, entries, &count), -E2BIG);
    expect_no_vcpu_request(host);
}

static void
test_wrong_events(void **state)
{
    struct host *host = *state;
    struct vmsup_vcpu_event event;
    struct kvm_fpu fpu;

    take_init(host);
    /* State of another size. */
    give(host, BYTES(0x22, 4, 0x0a, 2, 1, 2));
    assert_int_equal(vmsup_vcpu_get_fpu(host->vcpu, &fpu), -EPROTO);
    expect_vcpu_request(host, BYTES(0x1a, 2, 0x08, 2));
    give(host, BYTES(0x08, 0x2a)); /* errno 21 */
    assert_int_equal(vmsup_vcpu_get_fpu(host->vcpu, &fpu), -EISDIR);
    expect_vcpu_request(host, BYTES(0x1a, 2, 0x08, 2));
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    /* An event of no kind. */
    give(host, BYTES(0x12, 0));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPROTO);
    /* A length that no response has. */
    assert_int_equal(write(host->responses, "\xff\xff\xff\x7f", 4), 4);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPROTO);
}

/* The VM is ending: the pipe's other end is closed, in the middle of a response or not. */
static void
test_end(void **state)
{
    struct host *host = *state;
    struct vmsup_vcpu_event event;

    take_init(host);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    assert_int_equal(write(host->responses, "\x04\x12", 2), 2);
    close(host->responses);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPIPE);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPIPE);
    host->responses = -1;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_events), TEST(test_state_out_of_turn), TEST(test_carried), TEST(test_registers), TEST(test_msrs), TEST(test_wrong_events), TEST(test_end),
    };

    return cmocka_run_group_tests_name("plugin_vcpu", tests, NULL, NULL);
}
