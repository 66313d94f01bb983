/*
 * What each way out of KVM_RUN leads to, one by one, on a KVM made of memory: most of them no guest can be made to take
 * at will.
 */
#include "tests/fuzz/fake_kvm.h"

#include "common/log.h"
#include "vmproc/vcpu.h"
#include "vmproc/vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA_OFFSET 4096
#define PORT 0x60

static unsigned long allocations;

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

/* A VM with one vCPU that has come back from KVM_RUN. */
static struct vcpu *
make_vcpu(void)
{
    struct vm_config config = { .kvm = eventfd(0, EFD_CLOEXEC), .vcpu_count = 1, .network = { .tap = -1 } };
    char text[LIMIT_ENDED_TEXT];
    struct vm *vm;

    fake_has_vcpus = true;
    fake_calls = 0;
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(vm_create(&config, &vm, text, sizeof text), 0);
    assert_int_equal(vcpu_open(vm->vcpu[0]), 0);
    vm->vcpu[0]->init_unread = vm->vcpu[0]->at_init = false;
    return vm->vcpu[0];
}

static void
destroy(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    vm_stop(vm);
    vm_destroy(vm);
}

/* --- endings */

static void
expect_end(struct vcpu *vcpu, int result, ControlEnded__Kind kind, uint64_t code, const char *word)
{
    const struct vm_end *end;

    assert_int_equal(vcpu_handle_exit(vcpu, result), -ESHUTDOWN);
    end = vm_get_end(vcpu->vm);
    assert_non_null(end);
    assert_int_equal(end->kind, kind);
    assert_int_equal(end->code, code);
    assert_int_equal(end->vcpu, 0);
    assert_non_null(strstr(end->text, "vCPU 0"));
    if (strstr(end->text, word) == NULL)
        print_message("\"%s\" does not say \"%s\"\n", end->text, word);
    assert_non_null(strstr(end->text, word));
    destroy(vcpu);
}

static void
test_exits_that_are_not_known_end_the_vm_and_are_named(void **state)
{
    static const struct {
        uint32_t reason;
        const char *name;
    } unknown[] = {
        { KVM_EXIT_UNKNOWN, "KVM_EXIT_UNKNOWN" },
        { KVM_EXIT_EXCEPTION, "KVM_EXIT_EXCEPTION" },
        { KVM_EXIT_HYPERCALL, "KVM_EXIT_HYPERCALL" },
        { KVM_EXIT_DEBUG, "KVM_EXIT_DEBUG" },
        { KVM_EXIT_HLT, "KVM_EXIT_HLT" },
        { KVM_EXIT_SET_TPR, "KVM_EXIT_SET_TPR" },
        { KVM_EXIT_TPR_ACCESS, "KVM_EXIT_TPR_ACCESS" },
        { KVM_EXIT_NMI, "KVM_EXIT_NMI" },
        { KVM_EXIT_IOAPIC_EOI, "KVM_EXIT_IOAPIC_EOI" },
        { KVM_EXIT_X86_RDMSR, "KVM_EXIT_X86_RDMSR" },
        { KVM_EXIT_X86_WRMSR, "KVM_EXIT_X86_WRMSR" },
        { KVM_EXIT_DIRTY_RING_FULL, "KVM_EXIT_DIRTY_RING_FULL" },
        { KVM_EXIT_AP_RESET_HOLD, "KVM_EXIT_AP_RESET_HOLD" },
        { KVM_EXIT_XEN, "KVM_EXIT_XEN" },
        /* Of another architecture, and of a kernel to come. */
        { KVM_EXIT_S390_RESET, "number 14" },
        { 38, "number 38" },
        { 39, "number 39" },
        { UINT32_MAX, "number 4294967295" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        struct vcpu *vcpu = make_vcpu();

        vcpu->run->exit_reason = unknown[i].reason;
        expect_end(vcpu, 0, CONTROL_ENDED__KIND__UNKNOWN_EXIT, unknown[i].reason, unknown[i].name);
    }
}

static void
test_ends_of_the_guest(void **state)
{
    static const struct {
        uint32_t type;
        ControlEnded__Kind kind;
        const char *word;
    } events[] = {
        { KVM_SYSTEM_EVENT_SHUTDOWN, CONTROL_ENDED__KIND__GUEST_SHUTDOWN, "shut down" },
        { KVM_SYSTEM_EVENT_RESET, CONTROL_ENDED__KIND__GUEST_RESET, "reset" },
        { KVM_SYSTEM_EVENT_CRASH, CONTROL_ENDED__KIND__INTERNAL_ERROR, "crash" },
        { KVM_SYSTEM_EVENT_WAKEUP, CONTROL_ENDED__KIND__UNKNOWN_EXIT, "KVM_EXIT_SYSTEM_EVENT, number 4" },
        { 77, CONTROL_ENDED__KIND__UNKNOWN_EXIT, "KVM_EXIT_SYSTEM_EVENT, number 77" },
    };
    struct vcpu *vcpu;

    (void)state;
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        vcpu = make_vcpu();
        vcpu->run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
        vcpu->run->system_event.type = events[i].type;
        expect_end(vcpu, 0, events[i].kind, events[i].type, events[i].word);
    }
    vcpu = make_vcpu();
    vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
    expect_end(vcpu, 0, CONTROL_ENDED__KIND__GUEST_SHUTDOWN, KVM_EXIT_SHUTDOWN, "triple fault");
}

static void
test_failures_of_the_processor(void **state)
{
    static const struct {
        uint32_t error;
        const char *word;
    } internal[] = {
        { KVM_INTERNAL_ERROR_EMULATION, "cannot emulate" },
        { KVM_INTERNAL_ERROR_SIMUL_EX, "an exception while" },
        { KVM_INTERNAL_ERROR_DELIVERY_EV, "an event was delivered" },
        { KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, "does not know" },
        { 0, "internal error 0" },
        { UINT32_MAX, "internal error 4294967295" },
    };
    struct vcpu *vcpu;

    (void)state;
    for (size_t i = 0; i < sizeof internal / sizeof internal[0]; i++) {
        vcpu = make_vcpu();
        vcpu->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
        vcpu->run->internal.suberror = internal[i].error;
        expect_end(vcpu, 0, CONTROL_ENDED__KIND__INTERNAL_ERROR, internal[i].error, internal[i].word);
    }
    vcpu = make_vcpu();
    vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
    vcpu->run->fail_entry.hardware_entry_failure_reason = 0x80000021;
    expect_end(vcpu, 0, CONTROL_ENDED__KIND__INTERNAL_ERROR, 0x80000021, "0x80000021");
    vcpu = make_vcpu();
    vcpu->run->exit_reason = KVM_EXIT_NOTIFY;
    vcpu->run->notify.flags = KVM_NOTIFY_CONTEXT_INVALID;
    expect_end(vcpu, 0, CONTROL_ENDED__KIND__INTERNAL_ERROR, KVM_EXIT_NOTIFY, "its state is lost");
    vcpu = make_vcpu();
    vcpu->run->exit_reason = KVM_EXIT_HYPERV;
    vcpu->run->hyperv.type = KVM_EXIT_HYPERV_SYNDBG;
    expect_end(vcpu, 0, CONTROL_ENDED__KIND__UNKNOWN_EXIT, KVM_EXIT_HYPERV_SYNDBG, "KVM_EXIT_HYPERV, number 3");
}

static void
test_failures_of_kvm_run(void **state)
{
    struct vcpu *vcpu = make_vcpu();

    (void)state;
    /* Woken, or kicked for nothing: on into the guest. */
    vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
    assert_int_equal(vcpu_handle_exit(vcpu, -EAGAIN), 0);
    assert_int_equal(vcpu_handle_exit(vcpu, -EINTR), 0);
    /* Registers of a resume that KVM does not like are dropped, once. */
    vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
    assert_int_equal(vcpu_handle_exit(vcpu, -EINVAL), 0);
    assert_int_equal(vcpu->run->kvm_dirty_regs, 0);
    assert_null(vm_get_end(vcpu->vm));
    expect_end(vcpu, -EINVAL, CONTROL_ENDED__KIND__KVM_FAILED, EINVAL, "KVM_RUN: Invalid argument");
    vcpu = make_vcpu();
    /* With it newer kernels give KVM_EXIT_MEMORY_FAULT as the reason. */
    vcpu->run->exit_reason = 39;
    expect_end(vcpu, -EFAULT, CONTROL_ENDED__KIND__OUT_OF_MEMORY, EFAULT, "no page");
    expect_end(make_vcpu(), -ENOMEM, CONTROL_ENDED__KIND__OUT_OF_MEMORY, ENOMEM, "no memory");
    expect_end(make_vcpu(), -EIO, CONTROL_ENDED__KIND__KVM_FAILED, EIO, "KVM_RUN");
}

/* --- exits after which the guest goes on */

static double
seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
set_access(struct vcpu *vcpu, bool is_write, uint8_t size, uint32_t count)
{
    struct kvm_run *run = vcpu->run;

    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = is_write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
    run->io.size = size;
    run->io.port = PORT;
    run->io.count = count;
    run->io.data_offset = DATA_OFFSET;
}

static void
test_exits_that_need_nothing(void **state)
{
    static const uint32_t reasons[] = {
        KVM_EXIT_INTR, KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_NOTIFY, KVM_EXIT_X86_BUS_LOCK,
    };
    struct vcpu *vcpu = make_vcpu();

    (void)state;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        vcpu->run->exit_reason = reasons[i];
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    }
    assert_null(vm_get_end(vcpu->vm));
    destroy(vcpu);
}

/* Whatever else the exit is about: a locked access may be one to a device. */
static void
test_locking_the_bus_costs_time(void **state)
{
    const unsigned rounds = 50;
    struct vcpu *vcpu = make_vcpu();
    double begin = seconds();

    (void)state;
    vcpu->run->exit_reason = KVM_EXIT_X86_BUS_LOCK;
    for (unsigned i = 0; i < rounds; i++)
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_true(seconds() - begin >= rounds * LIMIT_BUS_LOCK_DELAY_MS / 1e3);
    set_access(vcpu, true, 1, 1);
    vcpu->run->flags = KVM_RUN_X86_BUS_LOCK;
    begin = seconds();
    for (unsigned i = 0; i < rounds; i++)
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_true(seconds() - begin >= rounds * LIMIT_BUS_LOCK_DELAY_MS / 1e3);
    vcpu->run->flags = 0;
    begin = seconds();
    for (unsigned i = 0; i < rounds; i++)
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_true(seconds() - begin < rounds * LIMIT_BUS_LOCK_DELAY_MS / 1e3);
    destroy(vcpu);
}

/* --- accesses */

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
    assert_int_equal(ranges_add(&vcpu->vm->ranges, ADDRESS_SPACE__IOPORT, PORT, 1, false), 0);
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
    assert_int_equal(ranges_add(&vcpu->vm->ranges, ADDRESS_SPACE__IOPORT, PORT, 1, false), 0);
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
        cmocka_unit_test(test_exits_that_are_not_known_end_the_vm_and_are_named),
        cmocka_unit_test(test_ends_of_the_guest),
        cmocka_unit_test(test_failures_of_the_processor),
        cmocka_unit_test(test_failures_of_kvm_run),
        cmocka_unit_test(test_exits_that_need_nothing),
        cmocka_unit_test(test_locking_the_bus_costs_time),
        cmocka_unit_test(test_string_accesses_are_as_long_as_size_times_count),
        cmocka_unit_test(test_hyperv_calls_are_given_eight_bytes),
        cmocka_unit_test(test_no_exit_allocates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
