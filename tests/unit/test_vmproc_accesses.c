/*
 * Accesses and Hyper-V calls as events, on a KVM made of memory: their lengths, what is given back, and that nothing is
 * allocated on the way.
 */
#include "tests/unit/vmproc_fake.h"

#include <stdlib.h>

/* Of the thread that handles exits: another may just be beginning. */
static _Thread_local unsigned long allocations;

#ifdef VMSUP_SANITIZED
int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void *, size_t),
                                              void (*freed)(const volatile void *));

static void
note_allocation(const volatile void *memory, size_t size)
{
    (void)memory;
    (void)size;
    allocations++;
}

static void
note_free(const volatile void *memory)
{
    (void)memory;
}

static void
count_allocations(void)
{
    assert_true(__sanitizer_install_malloc_and_free_hooks(note_allocation, note_free) > 0);
}
#else
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

void *
malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *
realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}

static void
count_allocations(void)
{
}
#endif

/* Puts a resume into the request pipe, to be found once the event is out. */
static void
put_resume(struct vcpu *vcpu, const void *data, size_t size)
{
    static uint8_t buffer[WIRE_VCPU_MESSAGE_MAX];
    VcpuRequest__Resume resume = VCPU_REQUEST__RESUME__INIT;
    VcpuRequest request = VCPU_REQUEST__INIT;
    ssize_t packed;

    resume.data = (ProtobufCBinaryData){ size, (uint8_t *)(uintptr_t)data };
    request.message_case = VCPU_REQUEST__MESSAGE_RESUME;
    request.resume = &resume;
    packed = message_pack(&request.base, buffer, sizeof buffer);
    assert_true(packed > 0);
    assert_int_equal(write(vcpu->plugin_write, buffer, (size_t)packed), packed);
}

/* The event that came out: in memory of `arena`. */
static const VcpuResponse__Wait *
take_event(struct vcpu *vcpu, struct arena *arena)
{
    static uint8_t buffer[WIRE_VCPU_PIPE_SIZE];
    const VcpuResponse *response;
    uint64_t length;
    ssize_t size = read(vcpu->plugin_read, buffer, sizeof buffer), taken;

    assert_true(size > 0);
    taken = wire_get_varint(buffer, (size_t)size, &length);
    assert_true(taken > 0 && (uint64_t)(size - taken) == length);
    arena_reset(arena);
    response = message_unpack(arena, &vcpu_response__descriptor, buffer + taken, length);
    assert_non_null(response);
    assert_int_equal(response->message_case, VCPU_RESPONSE__MESSAGE_WAIT);
    return response->wait;
}

static void
test_string_accesses_are_as_long_as_size_times_count(void **state)
{
    static const struct {
        uint8_t size;
        uint32_t count;
    } strings[] = { { 1, 1 }, { 1, 4096 }, { 2, 300 }, { 4, 256 }, { 4, 1024 } };
    static uint8_t pattern[2 * 4096], zeroes[4096];
    struct vcpu *vcpu = make_vcpu();
    uint8_t *data = (uint8_t *)vcpu->run + DATA_OFFSET;
    const VcpuResponse__Wait *event;
    struct arena arena;

    (void)state;
    assert_int_equal(arena_create(&arena, 1 << 20), 0);
    assert_int_equal(ranges_add(&vcpu->vm->ranges, ADDRESS_SPACE__IOPORT, PORT, 1, RANGE_AWAITED), 0);
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        const size_t length = (size_t)strings[i].size * strings[i].count;

        /* What is answered beyond the access goes nowhere, and what is left out reads as zero. */
        set_access(vcpu, false, strings[i].size, strings[i].count);
        memset(data, 0xee, 2 * 4096);
        put_resume(vcpu, pattern, sizeof pattern);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        event = take_event(vcpu, &arena);
        assert_int_equal(event->io->data.len, length);
        assert_memory_equal(event->io->data.data, zeroes, length);
        assert_false(event->io->is_write);
        assert_memory_equal(data, pattern, length);
        assert_int_equal(data[length], 0xee);
        put_resume(vcpu, pattern, length / 2);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        take_event(vcpu, &arena);
        assert_memory_equal(data, pattern, length / 2);
        assert_memory_equal(data + length / 2, zeroes, length - length / 2);
        /* What a resume brings for a write is ignored. */
        set_access(vcpu, true, strings[i].size, strings[i].count);
        memcpy(data, pattern, length);
        put_resume(vcpu, zeroes, length);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        event = take_event(vcpu, &arena);
        assert_int_equal(event->io->data.len, length);
        assert_memory_equal(event->io->data.data, pattern, length);
        assert_true(event->io->is_write);
        assert_memory_equal(data, pattern, length);
    }
    arena_destroy(&arena);
    destroy(vcpu);
}

static void
test_hyperv_calls_are_given_eight_bytes(void **state)
{
    static const uint8_t answer[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
    static const struct {
        size_t size;
        uint64_t result;
    } answers[] = { { 0, 0 }, { 2, 0x0201 }, { 8, 0x0807060504030201 }, { 10, 0x0807060504030201 } };
    struct vcpu *vcpu = make_vcpu();
    struct kvm_hyperv_exit *hyperv = &vcpu->run->hyperv;
    const VcpuResponse__Wait *event;
    struct arena arena;

    (void)state;
    assert_int_equal(arena_create(&arena, 1 << 20), 0);
    vcpu->run->exit_reason = KVM_EXIT_HYPERV;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        hyperv->type = KVM_EXIT_HYPERV_HCALL;
        hyperv->u.hcall.input = 0x5c;
        hyperv->u.hcall.params[0] = UINT64_MAX;
        hyperv->u.hcall.params[1] = 7;
        hyperv->u.hcall.result = 0xdead;
        put_resume(vcpu, answer, answers[i].size);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        event = take_event(vcpu, &arena);
        assert_int_equal(event->exit_case, VCPU_RESPONSE__WAIT__EXIT_HYPERV_CALL);
        assert_int_equal(event->hyperv_call->input, 0x5c);
        assert_int_equal(event->hyperv_call->params0, UINT64_MAX);
        assert_int_equal(event->hyperv_call->params1, 7);
        assert_int_equal(hyperv->u.hcall.result, answers[i].result);
    }
    hyperv->type = KVM_EXIT_HYPERV_SYNIC;
    hyperv->u.synic.msr = 0x40000080;
    hyperv->u.synic.control = 1;
    hyperv->u.synic.evt_page = 0x2001;
    hyperv->u.synic.msg_page = 0x3001;
    put_resume(vcpu, NULL, 0);
    assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    event = take_event(vcpu, &arena);
    assert_int_equal(event->exit_case, VCPU_RESPONSE__WAIT__EXIT_HYPERV_SYNIC);
    assert_int_equal(event->hyperv_synic->msr, 0x40000080);
    assert_int_equal(event->hyperv_synic->control, 1);
    assert_int_equal(event->hyperv_synic->evt_page, 0x2001);
    assert_int_equal(event->hyperv_synic->msg_page, 0x3001);
    arena_destroy(&arena);
    destroy(vcpu);
}

/* Accesses of every kind, with hints, with registers asked for and set, and pauses. */
static void
test_no_exit_allocates(void **state)
{
    static const uint8_t get_regs[] = { 0x1a, 0x00 };
    static uint8_t buffer[WIRE_VCPU_PIPE_SIZE];
    struct hint hint = { .address = PORT, .detail_count = 1 };
    unsigned long before;
    struct vcpu *vcpu;

    (void)state;
    count_allocations();
    vcpu = make_vcpu();
    hint.detail[0] = (struct hint_detail){ .send_sregs = true, .send_debugregs = true };
    vcpu->vm->hint = hint;
    assert_int_equal(ranges_add(&vcpu->vm->ranges, ADDRESS_SPACE__IOPORT, PORT, 1, RANGE_AWAITED), 0);
    before = allocations;
    assert_true(before > 0);
    for (unsigned round = 0; round < 100; round++) {
        /* One in sixteen calls of the fake fails, which would end the VM. */
        fake_calls = 0;
        set_access(vcpu, (round & 1) != 0, 1, 1);
        assert_int_equal(write(vcpu->plugin_write, get_regs, sizeof get_regs), sizeof get_regs);
        put_resume(vcpu, "x", 1);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        assert_true(read(vcpu->plugin_read, buffer, sizeof buffer) > 0);
        vcpu_pause(vcpu, round);
        put_resume(vcpu, NULL, 0);
        assert_int_equal(vcpu_handle_exit(vcpu, -EINTR), 0);
        assert_true(read(vcpu->plugin_read, buffer, sizeof buffer) > 0);
    }
    assert_int_equal(allocations, before);
    destroy(vcpu);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_string_accesses_are_as_long_as_size_times_count),
        cmocka_unit_test(test_hyperv_calls_are_given_eight_bytes),
        cmocka_unit_test(test_no_exit_allocates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
