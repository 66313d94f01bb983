/*
 * vmproc's end of a vCPU's channel, on a KVM made of memory, against a plugin that the test plays: what it says lies in the channel before
 * it is waited for, so that one thread is enough, but where vmproc is to wait.
 */
#include "tests/unit/vmproc_fake.h"

#include "vmproc/request.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ASYNC_PORT (PORT + 1)
#define PATTERN(i) ((uint8_t)((i)*7 + 1))

static const uint8_t wait_request[] = { 0x0a, 0x00 }, get_regs_request[] = { 0x1a, 0x00 };

static struct vcpu *
make_vcpu_with_channel(void)
{
    struct vcpu *vcpu = make_vcpu();
    struct reply reply = { .new_connection = -1 };

    assert_int_equal(channels_get(vcpu->vm, NULL, &reply), 0);
    assert_int_equal(reply.fd_count, 1);
    assert_non_null(vcpu->channel);
    assert_int_equal(ranges_add(&vcpu->vm->ranges, ADDRESS_SPACE__IOPORT, PORT, 1, RANGE_AWAITED), 0);
    assert_int_equal(ranges_add(&vcpu->vm->ranges, ADDRESS_SPACE__IOPORT, ASYNC_PORT, 1, RANGE_ASYNC), 0);
    return vcpu;
}

static void
say(struct vcpu *vcpu, uint32_t kind, uint32_t size, uint32_t states)
{
    struct vcpu_channel_request *request = &vcpu->channel->request;

    request->kind = kind;
    request->size = size;
    request->states = states;
    request->looked = UINT32_MAX;
    request->cpu = UINT32_MAX;
    /* Any other number is a new one. */
    atomic_store(&request->sequence, request->sequence + 0x7fffffff);
}

static void
say_resume(struct vcpu *vcpu, const uint8_t *data, uint32_t size)
{
    if (size > 0)
        memcpy(size <= VCPU_CHANNEL_INLINE ? vcpu->channel->request.data : vcpu->channel->request_payload, data, size);
    say(vcpu, VCPU_CHANNEL_RESUME, size, 0);
}

static void
say_message(struct vcpu *vcpu, const uint8_t *message, uint32_t size)
{
    memcpy(vcpu->channel->request_payload, message, size);
    say(vcpu, VCPU_CHANNEL_MESSAGE, size, 0);
}

static void
expect_end(struct vcpu *vcpu, ControlEnded__Kind kind, const char *text)
{
    const struct vm_end *end = vm_get_end(vcpu->vm);

    assert_non_null(end);
    assert_int_equal(end->kind, kind);
    assert_non_null(strstr(end->text, text));
}

static void
fill(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        data[i] = PATTERN(i);
}

/* Of every length that there is, both ways; in the line where it fits. */
static void
test_accesses_of_every_length(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_channel();
    const struct vcpu_channel_response *response = &vcpu->channel->response;
    uint8_t *data = (uint8_t *)vcpu->run + DATA_OFFSET, pattern[VCPU_CHANNEL_DATA_MAX], zeroes[VCPU_CHANNEL_DATA_MAX] = { 0 };

    (void)state;
    fill(pattern, sizeof pattern);
    for (uint32_t size = 1; size <= VCPU_CHANNEL_DATA_MAX; size++) {
        const uint32_t said = response->sequence;

        set_access(vcpu, true, 1, size);
        memcpy(data, pattern, size);
        say_resume(vcpu, zeroes, size);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        assert_int_equal(response->sequence, said + 1);
        assert_int_equal(response->kind, VCPU_CHANNEL_ACCESS);
        assert_int_equal(response->size, size);
        assert_int_equal(response->is_write, 1);
        assert_int_equal(response->space, ADDRESS_SPACE__IOPORT);
        assert_int_equal(response->address, PORT);
        assert_memory_equal(size <= VCPU_CHANNEL_INLINE ? response->data : vcpu->channel->response_payload, pattern, size);
        assert_memory_equal(data, pattern, size);

        /* What is answered beyond the access goes nowhere, and what is left out reads as zero. */
        set_access(vcpu, false, 1, size);
        memset(data, 0xee, size + 1);
        say_resume(vcpu, pattern, size < VCPU_CHANNEL_DATA_MAX ? size + 1 : size);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        assert_int_equal(response->is_write, 0);
        assert_memory_equal(data, pattern, size);
        assert_int_equal(data[size], 0xee);
        say_resume(vcpu, pattern, size / 2);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        assert_memory_equal(data, pattern, size / 2);
        assert_memory_equal(data + size / 2, zeroes, size - size / 2);
    }
    destroy(vcpu);
}

struct nonsense {
    uint32_t kind, size, states;
};

static void
test_nonsense_ends_the_vm(void **state)
{
    static const struct nonsense cases[] = {
        { 2, 0, 0 },
        { UINT32_MAX, 0, 0 },
        { VCPU_CHANNEL_MESSAGE, WIRE_VCPU_MESSAGE_MAX + 1, 0 },
        { VCPU_CHANNEL_MESSAGE, UINT32_MAX, 0 },
        { VCPU_CHANNEL_RESUME, VCPU_CHANNEL_DATA_MAX + 1, 0 },
        { VCPU_CHANNEL_RESUME, UINT32_MAX, 0 },
        { VCPU_CHANNEL_RESUME, 0, VCPU_CHANNEL_STATES + 1 },
        { VCPU_CHANNEL_RESUME, 0, UINT32_MAX },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vcpu *vcpu = make_vcpu_with_channel();

        set_access(vcpu, false, 1, 1);
        say(vcpu, cases[i].kind, cases[i].size, cases[i].states);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), -ESHUTDOWN);
        expect_end(vcpu, CONTROL_ENDED__KIND__PLUGIN_PROTOCOL, "no request of the vCPU protocol");
        destroy(vcpu);
    }
}

/* The largest message that there may be is read, and is none. */
static void
test_the_largest_message(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_channel();

    (void)state;
    memset(vcpu->channel->request_payload, 0xff, WIRE_VCPU_MESSAGE_MAX);
    set_access(vcpu, false, 1, 1);
    say(vcpu, VCPU_CHANNEL_MESSAGE, WIRE_VCPU_MESSAGE_MAX, 0);
    assert_int_equal(vcpu_handle_exit(vcpu, 0), -ESHUTDOWN);
    expect_end(vcpu, CONTROL_ENDED__KIND__PLUGIN_PROTOCOL, "no request of the vCPU protocol");
    destroy(vcpu);
}

/* Nothing but a wait is answered before the event has been read, in whichever form a resume comes. */
static void
test_resume_before_the_first_wait(void **state)
{
    static const uint8_t eproto[] = { 0x08, 0x8e, 0x01 } /* 2 * EPROTO */, resume_message[] = { 0x12, 0x00 };
    struct vcpu *vcpu = make_vcpu_with_channel();
    struct vcpu_channel *channel = vcpu->channel;
    struct vcpu_resume resume;

    (void)state;
    for (unsigned form = 0; form < 2; form++) {
        vcpu->init_unread = vcpu->at_init = true;
        if (form == 0)
            say(vcpu, VCPU_CHANNEL_RESUME, 0, 0);
        else
            say_message(vcpu, resume_message, sizeof resume_message);
        assert_int_equal(vcpu_channel_next(vcpu, &resume), VCPU_ANSWERED);
        assert_int_equal(vcpu_channel_send(vcpu, false), 0);
        assert_int_equal(channel->response.kind, VCPU_CHANNEL_MESSAGE);
        assert_int_equal(channel->response.size, sizeof eproto);
        assert_memory_equal(channel->response_payload, eproto, sizeof eproto);
        say_message(vcpu, wait_request, sizeof wait_request);
        assert_int_equal(vcpu_channel_next(vcpu, &resume), VCPU_ANSWERED);
        assert_false(vcpu->init_unread);
        if (form == 0)
            say(vcpu, VCPU_CHANNEL_RESUME, 0, 0);
        else
            say_message(vcpu, resume_message, sizeof resume_message);
        assert_int_equal(vcpu_channel_next(vcpu, &resume), VCPU_RESUMED);
    }
    destroy(vcpu);
}

/* --- states */

/* What is at hand comes along; what is set is there for the next entry. */
static void
test_states(void **state)
{
    static const uint32_t synced = VCPU_CHANNEL_REGS | VCPU_CHANNEL_SREGS | VCPU_CHANNEL_EVENTS;
    struct vcpu *vcpu = make_vcpu_with_channel();
    struct vcpu_channel *channel = vcpu->channel;
    struct kvm_sync_regs *shared = &vcpu->run->s.regs;

    (void)state;
    shared->regs.rip = 0x1234;
    shared->sregs.cr0 = 0x11;
    shared->events.flags = 8;
    vcpu->sync_valid = synced;
    vcpu->sync_can_apply = true;
    channel->request_states.regs.rip = 0x5678;
    channel->request_states.sregs.cr0 = 0x21;
    channel->request_states.events.flags = 1;
    set_access(vcpu, true, 1, 1);
    say(vcpu, VCPU_CHANNEL_RESUME, 0, synced);
    assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_int_equal(channel->response.states, synced);
    assert_int_equal(channel->response_states.regs.rip, 0x1234);
    assert_int_equal(channel->response_states.sregs.cr0, 0x11);
    assert_int_equal(channel->response_states.events.flags, 8);
    assert_int_equal(vcpu->run->kvm_dirty_regs, synced);
    assert_int_equal(shared->regs.rip, 0x5678);
    assert_int_equal(shared->sregs.cr0, 0x21);
    assert_int_equal(shared->events.flags, 1);
    /* Nothing is at hand: nothing comes. */
    vcpu->sync_valid = 0;
    say(vcpu, VCPU_CHANNEL_RESUME, 0, 0);
    assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_int_equal(channel->response.states, 0);
    /* A hint asks for those that KVM never shares. */
    vcpu->vm->hint = (struct hint){ .address = PORT, .on_write = true, .detail_count = 1 };
    vcpu->vm->hint.detail[0] = (struct hint_detail){ .send_debugregs = true };
    say(vcpu, VCPU_CHANNEL_RESUME, 0, 0);
    assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    assert_int_equal(channel->response.states, VCPU_CHANNEL_REGS | VCPU_CHANNEL_DEBUGREGS);
    assert_int_equal(channel->response_states.debugregs.dr7, 0x5a5a5a5a5a5a5a5a);
    destroy(vcpu);
}

/* --- the ring */

static void
set_async(struct vcpu *vcpu, uint32_t size)
{
    set_access(vcpu, true, 1, size);
    vcpu->run->io.port = ASYNC_PORT;
    fill((uint8_t *)vcpu->run + DATA_OFFSET, size);
}

/* As much as there is, and then the plugin takes one: whoever waits goes on. Entries never go across the ring's end. */
static void
test_ring(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_channel();
    struct vcpu_channel *channel = vcpu->channel;
    uint32_t head = 0, passed = 0, size = 1;

    (void)state;
    while (head < 20 * VCPU_CHANNEL_RING_SIZE) {
        struct vcpu_channel_entry entry;
        uint8_t pattern[VCPU_CHANNEL_DATA_MAX];
        const uint8_t *place = channel->ring + head % VCPU_CHANNEL_RING_SIZE;

        set_async(vcpu, size);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
        memcpy(&entry, place, sizeof entry);
        if (entry.size == VCPU_CHANNEL_RING_SKIP) {
            passed++;
            head += VCPU_CHANNEL_RING_SIZE - head % VCPU_CHANNEL_RING_SIZE;
            place = channel->ring;
            memcpy(&entry, place, sizeof entry);
        }
        assert_int_equal(entry.size, size);
        assert_int_equal(entry.space, ADDRESS_SPACE__IOPORT);
        assert_int_equal(entry.address, ASYNC_PORT);
        fill(pattern, size);
        assert_memory_equal(place + sizeof entry, pattern, size);
        head += vcpu_channel_entry_space(size);
        assert_int_equal(channel->ring_tail, head);
        atomic_store(&channel->ring_head, head);
        size = size % VCPU_CHANNEL_DATA_MAX + 37;
        size = size <= VCPU_CHANNEL_DATA_MAX ? size : VCPU_CHANNEL_DATA_MAX;
    }
    assert_true(passed > 0);
    destroy(vcpu);
}

static void *
free_room(void *context)
{
    struct vcpu *vcpu = context;
    struct vcpu_channel *channel = vcpu->channel;
    struct vcpu_channel_wait wait = { 0 };

    /* Once vmproc sleeps. */
    while (atomic_load(&channel->vmproc_sleeps) != VCPU_CHANNEL_ON_FUTEX)
        usleep(1000);
    atomic_fetch_add(&channel->ring_head, VCPU_CHANNEL_RING_UNIT);
    vcpu_channel_wake(&wait, &channel->vmproc_sleeps, -1);
    return NULL;
}

static void
test_full_ring(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_channel();
    pthread_t thread;

    (void)state;
    for (uint32_t i = 0; i < VCPU_CHANNEL_RING_SIZE / VCPU_CHANNEL_RING_UNIT; i++) {
        set_async(vcpu, 1);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    }
    assert_int_equal(vcpu->channel->ring_tail, VCPU_CHANNEL_RING_SIZE);
    assert_int_equal(vcpu->wait.slept, 0);
    assert_int_equal(pthread_create(&thread, NULL, free_room, vcpu), 0);
    assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    pthread_join(thread, NULL);
    assert_int_equal(vcpu->channel->ring_tail, VCPU_CHANNEL_RING_SIZE + VCPU_CHANNEL_RING_UNIT);
    assert_int_equal(vcpu->wait.slept, 1);
    /* Full again, for good: the end of the VM is the end of the wait, and what was not read yet stays. */
    vm_stop(vcpu->vm);
    assert_int_equal(vcpu_handle_exit(vcpu, 0), -ESHUTDOWN);
    assert_int_equal(vcpu->channel->ring_tail, VCPU_CHANNEL_RING_SIZE + VCPU_CHANNEL_RING_UNIT);
    assert_null(vm_get_end(vcpu->vm));
    destroy(vcpu);
}

static void
test_ring_head_ahead(void **state)
{
    static const uint32_t heads[] = { 1, VCPU_CHANNEL_RING_UNIT, 0x7fffffff, UINT32_MAX - VCPU_CHANNEL_RING_SIZE };

    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct vcpu *vcpu = make_vcpu_with_channel();

        atomic_store(&vcpu->channel->ring_head, heads[i]);
        set_async(vcpu, 1);
        assert_int_equal(vcpu_handle_exit(vcpu, 0), -ESHUTDOWN);
        expect_end(vcpu, CONTROL_ENDED__KIND__PLUGIN_PROTOCOL, "took more from the ring");
        assert_int_equal(vcpu->channel->ring_tail, 0);
        destroy(vcpu);
    }
}

/* --- the memory */

static void
test_channels_are_made_once(void **state)
{
    static const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    struct vcpu *vcpu = make_vcpu();
    struct vm *vm = vcpu->vm;
    struct reply reply = { .new_connection = -1 };
    struct vcpu_channel *mapped;

    (void)state;
    vm->started = true;
    assert_int_equal(channels_get(vm, NULL, &reply), -EBUSY);
    assert_int_equal(reply.fd_count, 0);
    assert_null(vcpu->channel);
    vm->started = false;
    vm->exit_spin = 4711;
    assert_int_equal(channels_get(vm, NULL, &reply), 0);
    mapped = vm->channel;
    assert_ptr_equal(vcpu->channel, mapped);
    assert_int_equal(mapped->response.spin_max, 4711);
    /* Asked again, and after the start too: the same. */
    vm->started = true;
    assert_int_equal(channels_get(vm, NULL, &reply), 0);
    assert_ptr_equal(vm->channel, mapped);
    assert_int_equal(reply.fd_count, 2);
    assert_int_equal(reply.fd[0].fd, reply.fd[1].fd);
    assert_int_equal(fcntl(vm->channels, F_GET_SEALS), sealed);
    assert_int_equal(ftruncate(vm->channels, 0), -1);
    assert_int_equal(ftruncate(vm->channels, (off_t)VCPU_CHANNEL_SIZE + 1), -1);
    destroy(vcpu);
}

static void
test_end_is_said(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_channel();
    uint8_t byte;

    (void)state;
    atomic_store(&vcpu->channel->plugin_sleeps, VCPU_CHANNEL_ON_PIPE);
    vcpu_hang_up(vcpu);
    assert_int_equal(vcpu->channel->response.ended, 1);
    assert_int_equal(vcpu->channel->plugin_sleeps, VCPU_CHANNEL_AWAKE);
    assert_int_equal(read(vcpu->plugin_read, &byte, 1), 1);
    assert_int_equal(read(vcpu->plugin_read, &byte, 1), 0);
    destroy(vcpu);
}

/* States are asked for while an event is held, and the answer says the same as over a pipe. */
static void
test_requests(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_channel();
    struct vcpu_channel *channel = vcpu->channel;
    struct vcpu_resume resume;

    (void)state;
    fake_calls = 0;
    say_message(vcpu, get_regs_request, sizeof get_regs_request);
    assert_int_equal(vcpu_channel_next(vcpu, &resume), VCPU_ANSWERED);
    assert_int_equal(vcpu_channel_send(vcpu, false), 0);
    assert_int_equal(channel->response.kind, VCPU_CHANNEL_MESSAGE);
    assert_int_equal(channel->response.states, 0);
    assert_int_equal(channel->response.size, 2 + 1 + 2 + 1 + sizeof(struct kvm_regs));
    assert_int_equal(channel->response_payload[channel->response.size - 1], 0x5a);
    destroy(vcpu);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accesses_of_every_length), cmocka_unit_test(test_nonsense_ends_the_vm),
        cmocka_unit_test(test_the_largest_message),      cmocka_unit_test(test_resume_before_the_first_wait),
        cmocka_unit_test(test_states),                   cmocka_unit_test(test_ring),
        cmocka_unit_test(test_full_ring),                cmocka_unit_test(test_ring_head_ahead),
        cmocka_unit_test(test_channels_are_made_once),   cmocka_unit_test(test_end_is_said),
        cmocka_unit_test(test_requests),
    };

    return cmocka_run_group_tests_name("vmproc_channel", tests, NULL, NULL);
}
