/*
 * Coalesced writes, on a KVM made of memory: the test is the kernel, which puts them into the ring, and looks at what the plugin is told
 * in the vCPU's channel.
 */
#include "tests/unit/vmproc_fake.h"

#include "vmproc/request.h"

#define RANGE PORT
#define RANGE_LENGTH 0x10
#define OTHER_PORT (RANGE + RANGE_LENGTH)
#define RING_ENTRIES ((4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

static int
ask(struct vm *vm, AddressSpace space, uint64_t start, uint64_t length, bool coalesce)
{
    MainRequest__ReserveRange range = MAIN_REQUEST__RESERVE_RANGE__INIT;
    MainRequest message = MAIN_REQUEST__INIT;
    const struct main_request request = { .message = &message };

    range.space = space;
    range.start = start;
    range.length = length;
    range.coalesce = coalesce;
    message.message_case = MAIN_REQUEST__MESSAGE_RESERVE_RANGE;
    message.reserve_range = &range;
    /* One in sixteen calls of the fake fails. */
    fake_calls = 0;
    return access_reserve_range(vm, &request, NULL);
}

static struct vcpu *
make_vcpu_with_range(void)
{
    struct vcpu *vcpu = make_vcpu();
    struct reply reply = { .new_connection = -1 };

    assert_int_equal(channels_get(vcpu->vm, NULL, &reply), 0);
    assert_int_equal(ask(vcpu->vm, ADDRESS_SPACE__IOPORT, RANGE, RANGE_LENGTH, true), 0);
    return vcpu;
}

static struct kvm_coalesced_mmio_ring *
ring_of(struct vcpu *vcpu)
{
    return (struct kvm_coalesced_mmio_ring *)((uint8_t *)vcpu->run + FAKE_COALESCED_PAGE * 4096);
}

/* As the kernel does it; false: there is no room, and the write exits. */
static bool
put(struct vcpu *vcpu, uint64_t port, uint8_t value)
{
    struct kvm_coalesced_mmio_ring *ring = ring_of(vcpu);
    const uint32_t next = (uint32_t)((ring->last + 1) % RING_ENTRIES);

    if (next == ring->first)
        return false;
    ring->coalesced_mmio[ring->last] = (struct kvm_coalesced_mmio){ .phys_addr = port, .len = 1, .pio = 1, .data = { value } };
    ring->last = next;
    return true;
}

/* The next entry of the channel's ring, which is a write of one byte. */
static void
expect_told(struct vcpu *vcpu, uint64_t port, uint8_t value)
{
    struct vcpu_channel *channel = vcpu->channel;
    const uint32_t head = atomic_load(&channel->ring_head);
    struct vcpu_channel_entry entry;

    assert_int_not_equal(head, atomic_load(&channel->ring_tail));
    memcpy(&entry, channel->ring + head % VCPU_CHANNEL_RING_SIZE, sizeof entry);
    assert_int_equal(entry.space, ADDRESS_SPACE__IOPORT);
    assert_int_equal(entry.address, port);
    assert_int_equal(entry.size, 1);
    assert_int_equal(channel->ring[head % VCPU_CHANNEL_RING_SIZE + sizeof entry], value);
    atomic_store(&channel->ring_head, head + vcpu_channel_entry_space(1));
}

static void
expect_nothing_told(struct vcpu *vcpu)
{
    assert_int_equal(atomic_load(&vcpu->channel->ring_head), atomic_load(&vcpu->channel->ring_tail));
}

/* A read of the same range: its resume lies there already. */
static void
read_port(struct vcpu *vcpu)
{
    struct vcpu_channel_request *request = &vcpu->channel->request;

    request->kind = VCPU_CHANNEL_RESUME;
    request->size = request->states = 0;
    atomic_store(&request->sequence, request->sequence + 1);
    set_access(vcpu, false, 1, 1);
    assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
}

static void
test_told_in_order_and_before_the_exit(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_range();
    uint32_t sequence = 0;
    uint8_t value = 0;

    (void)state;
    /* Over the ring's end, too, and as many as it takes. */
    for (unsigned round = 0; round < 10; round++) {
        uint8_t first = value;

        while (put(vcpu, RANGE + value % RANGE_LENGTH, value))
            value++;
        read_port(vcpu);
        for (; first != value; first++)
            expect_told(vcpu, RANGE + first % RANGE_LENGTH, first);
        expect_nothing_told(vcpu);
        assert_int_equal(vcpu->channel->response.sequence, ++sequence);
        assert_int_equal(vcpu->channel->response.is_write, 0);
        assert_int_equal(vcpu->channel->response.address, PORT);
    }
    destroy(vcpu);
}

/* What KVM had no room for, or does not coalesce. */
static void
test_a_write_that_exits_is_not_waited_for(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_range();

    (void)state;
    put(vcpu, RANGE, 1);
    set_access(vcpu, true, 1, 1);
    ((uint8_t *)vcpu->run)[DATA_OFFSET] = 2;
    assert_int_equal(vcpu_handle_exit(vcpu, 0), 0);
    expect_told(vcpu, RANGE, 1);
    expect_told(vcpu, RANGE, 2);
    expect_nothing_told(vcpu);
    destroy(vcpu);
}

static void
test_what_no_range_has_is_not_told(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_range();

    (void)state;
    assert_int_equal(ask(vcpu->vm, ADDRESS_SPACE__IOPORT, OTHER_PORT, 1, false), 0);
    put(vcpu, OTHER_PORT, 1);
    put(vcpu, RANGE, 2);
    put(vcpu, OTHER_PORT + 1, 3);
    assert_int_equal(vcpu_handle_exit(vcpu, -EINTR), 0);
    expect_told(vcpu, RANGE, 2);
    expect_nothing_told(vcpu);
    /* With no range left the ring is not looked at. */
    put(vcpu, RANGE, 4);
    assert_int_equal(ask(vcpu->vm, ADDRESS_SPACE__IOPORT, RANGE, 0, false), 0);
    assert_int_equal(vcpu_handle_exit(vcpu, -EINTR), 0);
    expect_nothing_told(vcpu);
    destroy(vcpu);
}

static void
test_refusals(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_range();
    struct vm *vm = vcpu->vm;

    (void)state;
    assert_int_equal(ask(vm, ADDRESS_SPACE__IOPORT, RANGE + 1, 1, true), -EPERM);
    assert_int_equal(ask(vm, ADDRESS_SPACE__MMIO, 0x1000, 0, true), -ENOENT);
    assert_int_equal(ask(vm, 2, 0, 1, true), -EINVAL);
    assert_int_equal(ask(vm, 2, 0, 0, true), -EINVAL);
    assert_int_equal(ask(vm, ADDRESS_SPACE__MMIO, 0x1000, 1ULL << 32, true), -EINVAL);
    /* Nothing is left of it. */
    assert_int_equal(ask(vm, ADDRESS_SPACE__MMIO, 0x1000, UINT32_MAX, true), 0);
    assert_int_equal(vm->coalesced.ranges, 2);
    assert_int_equal(ask(vm, ADDRESS_SPACE__MMIO, 0x1000, 0, false), 0);
    assert_int_equal(vm->coalesced.ranges, 1);
    destroy(vcpu);
}

/* Without such a ring, or without one for ports, all of it exits, and is told likewise. */
static void
test_a_kernel_without(void **state)
{
    struct vcpu *vcpu = make_vcpu();

    (void)state;
    vcpu->vm->coalesced.has_ports = false;
    assert_int_equal(ask(vcpu->vm, ADDRESS_SPACE__IOPORT, RANGE, 1, true), 0);
    assert_int_equal(vcpu->vm->coalesced.ranges, 0);
    vcpu->vm->coalesced.page = 0;
    assert_int_equal(ask(vcpu->vm, ADDRESS_SPACE__MMIO, RANGE, 1, true), 0);
    assert_int_equal(vcpu->vm->coalesced.ranges, 0);
    assert_int_equal(coalesced_attend(vcpu->vm), -1);
    assert_int_equal(ask(vcpu->vm, ADDRESS_SPACE__MMIO, RANGE, 0, true), 0);
    destroy(vcpu);
}

static void
test_the_server_attends(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_range();
    struct vm *vm = vcpu->vm;
    int64_t interval = LIMIT_COALESCED_MS_MIN;

    (void)state;
    while (interval < LIMIT_COALESCED_MS_MAX) {
        interval *= 2;
        assert_int_equal(coalesced_attend(vm), interval);
    }
    assert_int_equal(coalesced_attend(vm), LIMIT_COALESCED_MS_MAX);
    assert_int_equal(vcpu->run->immediate_exit, 0);
    put(vcpu, RANGE, 1);
    assert_int_equal(coalesced_attend(vm), LIMIT_COALESCED_MS_MIN);
    assert_int_equal(vcpu->run->immediate_exit, 1);
    assert_int_equal(vcpu_handle_exit(vcpu, -EINTR), 0);
    expect_told(vcpu, RANGE, 1);
    assert_int_equal(coalesced_attend(vm), 2 * LIMIT_COALESCED_MS_MIN);
    destroy(vcpu);
}

/* Who takes tells the plugin, and the plugin may be full: the VM's end is the end of that. */
static void
test_the_end(void **state)
{
    struct vcpu *vcpu = make_vcpu_with_range();

    (void)state;
    for (unsigned i = 0; i < VCPU_CHANNEL_RING_SIZE / VCPU_CHANNEL_RING_UNIT; i++) {
        put(vcpu, RANGE, (uint8_t)i);
        assert_int_equal(vcpu_handle_exit(vcpu, -EINTR), 0);
    }
    put(vcpu, RANGE, 1);
    vm_stop(vcpu->vm);
    assert_int_equal(vcpu_handle_exit(vcpu, -EINTR), -ESHUTDOWN);
    destroy(vcpu);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_in_order_and_before_the_exit),
        cmocka_unit_test(test_a_write_that_exits_is_not_waited_for),
        cmocka_unit_test(test_what_no_range_has_is_not_told),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_kernel_without),
        cmocka_unit_test(test_the_server_attends),
        cmocka_unit_test(test_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
