/* The plugin library's connections: requests as they go over the wire, and answers that are wrong in each way that they can be. */
#include "tests/unit/plugin_host.h"

static void
test_environment(void **state)
{
    static const char *const wrong[] = { "", "x", "3x", "-1", "99999999999" };
    struct vmsup *vm;

    (void)state;
    unsetenv("VMSUP_SOCKET");
    unsetenv("CROSVM_SOCKET");
    assert_int_equal(vmsup_connect(&vm), -ENOTCONN);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv("VMSUP_SOCKET", wrong[i], 1);
        setenv("CROSVM_SOCKET", "3", 1);
        assert_int_equal(vmsup_connect(&vm), -EINVAL);
        unsetenv("VMSUP_SOCKET");
        setenv("CROSVM_SOCKET", wrong[i], 1);
        assert_int_equal(vmsup_connect(&vm), -EINVAL);
    }
    setenv("CROSVM_SOCKET", "1000", 1);
    assert_int_equal(vmsup_connect(&vm), -EBADF);
}

static void
answer_success(struct host *host, MainResponse__MessageCase which)
{
    MainResponse__Empty empty = MAIN_RESPONSE__EMPTY__INIT;
    MainResponse response = MAIN_RESPONSE__INIT;

    response.message_case = which;
    response.start = &empty;
    host_answer(host, &response, NULL, 0);
}

static void
test_requests(void **state)
{
    struct host *host = *state;
    const struct vmsup_irq_route routes[] = {
        { .irq_id = 5, .kind = VMSUP_IRQ_ROUTE_IRQCHIP, .irqchip = { .irqchip = 2, .pin = 5 } },
        { .irq_id = 0, .kind = VMSUP_IRQ_ROUTE_MSI, .msi = { .address = 0xfee00000, .data = 0x41 } },
    };
    struct vmsup_hint_detail detail = { .match_rax = true, .match_rdx = true, .rax = 7, .rdx = 0x80, .send_sregs = true };
    const struct vmsup_hint hint = { .address_space = VMSUP_ADDRESS_SPACE_MMIO, .address_flags = VMSUP_HINT_ON_WRITE,
                                     .details_count = 1, .address = 0x1000, .details = &detail };

    answer_success(host, MAIN_RESPONSE__MESSAGE_SET_IRQ);
    assert_int_equal(vmsup_set_irq(host->vm, 5, true), 0);
    host_expect(host, BYTES(0x5a, 4, 0x08, 5, 0x10, 1), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_RESERVE_RANGE);
    assert_int_equal(vmsup_reserve_range(host->vm, VMSUP_ADDRESS_SPACE_IOPORT, 0x500, 8), 0);
    host_expect(host, BYTES(0x52, 5, 0x10, 0x80, 0x0a, 0x18, 8), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_RESERVE_RANGE);
    assert_int_equal(vmsup_reserve_async_write_range(host->vm, VMSUP_ADDRESS_SPACE_MMIO, 1, 2), 0);
    host_expect(host, BYTES(0x52, 8, 0x08, 1, 0x10, 1, 0x18, 2, 0x20, 1), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_RESERVE_RANGE);
    assert_int_equal(vmsup_coalesce_range(host->vm, VMSUP_ADDRESS_SPACE_MMIO, 1, 2), 0);
    host_expect(host, BYTES(0x52, 8, 0x08, 1, 0x10, 1, 0x18, 2, 0x28, 1), 0);
    assert_int_equal(vmsup_reserve_range(host->vm, 2, 1, 2), -EINVAL);
    assert_int_equal(vmsup_coalesce_range(host->vm, 2, 1, 2), -EINVAL);
    answer_success(host, MAIN_RESPONSE__MESSAGE_SET_IRQ_ROUTING);
    assert_int_equal(vmsup_set_irq_routing(host->vm, 2, routes), 0);
    host_expect(host, BYTES(0x62, 22, 0x0a, 8, 0x08, 5, 0x12, 4, 0x08, 2, 0x10, 5, 0x0a, 10, 0x1a, 8, 0x08, 0x80, 0x80, 0x80, 0xf7,
                               0x0f, 0x10, 0x41), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_SET_IRQ_ROUTING);
    assert_int_equal(vmsup_set_irq_routing(host->vm, 0, NULL), 0);
    host_expect(host, BYTES(0x62, 0), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_SET_IDENTITY_MAP_ADDR);
    assert_int_equal(vmsup_set_identity_map_addr(host->vm, 0x1000), 0);
    host_expect(host, BYTES(0x7a, 3, 0x08, 0x80, 0x20), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_PAUSE_VCPUS);
    assert_int_equal(vmsup_pause_vcpus(host->vm, 3, (void *)(uintptr_t)0x81), 0);
    host_expect(host, BYTES(0x82, 0x01, 5, 0x08, 3, 0x10, 0x81, 0x01), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_START);
    assert_int_equal(vmsup_start(host->vm), 0);
    host_expect(host, BYTES(0x92, 0x01, 0), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_SET_CALL_HINT);
    assert_int_equal(vmsup_set_hypercall_hint(host->vm, 1, &hint), 0);
    host_expect(host, BYTES(0x9a, 0x01, 20, 0x08, 1, 0x10, 0x80, 0x20, 0x18, 1, 0x22, 11, 0x08, 1, 0x20, 1, 0x28, 7, 0x40, 0x80, 0x01,
                               0x48, 1), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_SET_CALL_HINT);
    assert_int_equal(vmsup_set_hypercall_hint(host->vm, 0, NULL), 0);
    host_expect(host, BYTES(0x9a, 0x01, 0), 0);
}

static void
test_objects(void **state)
{
    struct host *host = *state;
    MainResponse__Empty body = MAIN_RESPONSE__EMPTY__INIT;
    MainResponse response = MAIN_RESPONSE__INIT;
    struct vmsup_io *io = NULL, *any = NULL;
    struct vmsup_memory *memory = NULL;
    struct vmsup_irq *irq = NULL;
    const uint8_t match[] = { 0x34, 0x12 };
    int memfd = memfd_create("guest", MFD_CLOEXEC), given[2] = { dup(0), dup(0) };

    response.message_case = MAIN_RESPONSE__MESSAGE_CREATE;
    response.create = &body;
    host_answer(host, &response, given, 1);
    assert_int_equal(vmsup_create_io_event(host->vm, VMSUP_ADDRESS_SPACE_IOPORT, 0x10, 2, match, &io), 0);
    /* The first object's number, 0, is left out, as proto3 has it. */
    host_expect(host, BYTES(0x0a, 9, 0x12, 7, 0x10, 0x10, 0x18, 2, 0x20, 0xb4, 0x24), 0);
    assert_true(vmsup_io_event_fd(io) >= 0);
    host_answer(host, &response, given, 1);
    assert_int_equal(vmsup_create_io_event(host->vm, VMSUP_ADDRESS_SPACE_MMIO, 0x10, 4, NULL, &any), 0);
    host_expect(host, BYTES(0x0a, 12, 0x08, 1, 0x12, 8, 0x08, 1, 0x10, 0x10, 0x18, 4, 0x28, 1), 0);
    assert_int_equal(vmsup_create_io_event(host->vm, VMSUP_ADDRESS_SPACE_MMIO, 0x10, 3, NULL, &any), -EINVAL);
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_create_memory(host->vm, memfd, 0x1000, 0x2000, 0x3000, true, true, &memory), 0);
    host_expect(host, BYTES(0x0a, 17, 0x08, 2, 0x1a, 13, 0x08, 0x80, 0x20, 0x10, 0x80, 0x60, 0x18, 0x80, 0x40, 0x20, 1, 0x28, 1), 1);
    assert_int_equal(vmsup_create_memory(host->vm, -1, 0, 0x1000, 0, false, false, &memory), -EBADF);
    host_answer(host, &response, given, 2);
    assert_int_equal(vmsup_create_irq_event(host->vm, 9, &irq), 0);
    host_expect(host, BYTES(0x0a, 8, 0x08, 3, 0x22, 4, 0x08, 9, 0x10, 1), 0);
    assert_true(vmsup_irq_event_get_fd(irq) >= 0 && vmsup_irq_event_get_resample_fd(irq) >= 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_DESTROY);
    assert_int_equal(vmsup_destroy_io_event(host->vm, &io), 0);
    host_expect(host, BYTES(0x12, 0), 0);
    assert_null(io);
    answer_success(host, MAIN_RESPONSE__MESSAGE_DESTROY);
    assert_int_equal(vmsup_destroy_io_event(host->vm, &any), 0);
    host_expect(host, BYTES(0x12, 2, 0x08, 1), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_DESTROY);
    assert_int_equal(vmsup_destroy_memory(host->vm, &memory), 0);
    host_expect(host, BYTES(0x12, 2, 0x08, 2), 0);
    answer_success(host, MAIN_RESPONSE__MESSAGE_DESTROY);
    assert_int_equal(vmsup_destroy_irq_event(host->vm, &irq), 0);
    host_expect(host, BYTES(0x12, 2, 0x08, 3), 0);
    assert_null(irq);
    assert_int_equal(vmsup_destroy_irq_event(host->vm, &irq), -EINVAL);
    host_expect_nothing(host);
    close(memfd);
    close(given[0]);
    close(given[1]);
}

/* What is too long is not sent. */
static void
test_too_long(void **state)
{
    struct host *host = *state;
    struct vmsup_irq_route *routes = calloc(2000, sizeof *routes);

    for (uint32_t i = 0; i < 2000; i++)
        routes[i] = (struct vmsup_irq_route){ .irq_id = i, .kind = VMSUP_IRQ_ROUTE_MSI, .msi = { .address = UINT64_MAX, .data = ~0u } };
    assert_int_equal(vmsup_set_irq_routing(host->vm, 2000, routes), -E2BIG);
    assert_int_equal(vmsup_set_irq_routing(host->vm, 1000, routes), -E2BIG);
    routes[0].kind = 2;
    assert_int_equal(vmsup_set_irq_routing(host->vm, 1, routes), -EINVAL);
    host_expect_nothing(host);
    free(routes);
}

static void
test_wrong_answers(void **state)
{
    struct host *host = *state;
    MainResponse__Empty connection = MAIN_RESPONSE__EMPTY__INIT;
    MainResponse response = MAIN_RESPONSE__INIT;
    struct vmsup *second = NULL;
    int given[3] = { dup(0), dup(0), dup(0) };

    response.error = EBUSY;
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_start(host->vm), -EBUSY);
    /* Descriptors that come with an error are not kept. */
    host_answer(host, &response, given, 3);
    assert_int_equal(vmsup_get_shutdown_eventfd(host->vm), -EBUSY);
    response.error = -EBUSY;
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_start(host->vm), -EPROTO);
    response.error = 4096;
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_start(host->vm), -EPROTO);
    /* Success, and nothing or something else in it. */
    host_answer_bytes(host, BYTES(0x08, 0x00));
    assert_int_equal(vmsup_start(host->vm), -EPROTO);
    answer_success(host, MAIN_RESPONSE__MESSAGE_SET_IRQ);
    assert_int_equal(vmsup_start(host->vm), -EPROTO);
    host_answer_bytes(host, BYTES(0x9a, 0x01, 0x05, 0x00));
    assert_int_equal(vmsup_start(host->vm), -EPROTO);
    /* A descriptor that is not there, and one too many. */
    answer_success(host, MAIN_RESPONSE__MESSAGE_GET_SHUTDOWN_EVENTFD);
    assert_int_equal(vmsup_get_shutdown_eventfd(host->vm), -EPROTO);
    response.error = 0;
    response.message_case = MAIN_RESPONSE__MESSAGE_NEW_CONNECTION;
    response.new_connection = &connection;
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_new_connection(host->vm, &second), -EPROTO);
    host_answer(host, &response, given, 3);
    assert_int_equal(vmsup_new_connection(host->vm, &second), 0);
    assert_int_equal(vmsup_destroy_connection(&second), 0);
    /* The other side is gone. */
    shutdown(host->socket, SHUT_RDWR);
    assert_int_equal(vmsup_start(host->vm), -EPIPE);
    for (size_t i = 0; i < 3; i++)
        close(given[i]);
}

/* Success, but without the descriptors that belong to it, or with a structure of another size. */
static void
test_incomplete_answers(void **state)
{
    struct host *host = *state;
    MainResponse__Empty created = MAIN_RESPONSE__EMPTY__INIT;
    MainResponse__GetNetConfig network = MAIN_RESPONSE__GET_NET_CONFIG__INIT;
    MainResponse__GetState got = MAIN_RESPONSE__GET_STATE__INIT;
    MainResponse__MemoryDirtyLog dirty = MAIN_RESPONSE__MEMORY_DIRTY_LOG__INIT;
    MainResponse response = MAIN_RESPONSE__INIT;
    struct vmsup_memory *memory = NULL;
    struct vmsup_io *io = NULL;
    struct vmsup_irq *irq = NULL;
    struct vmsup_net_config config = { 0 };
    struct kvm_pic_state pic;
    uint8_t bytes[7] = { 0 }, log[2] = { 0, 0x55 };
    int memfd = memfd_create("guest", MFD_CLOEXEC);

    response.message_case = MAIN_RESPONSE__MESSAGE_CREATE;
    response.create = &created;
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_create_io_event(host->vm, VMSUP_ADDRESS_SPACE_MMIO, 0x10, 0, NULL, &io), -EPROTO);
    assert_null(io);
    host_answer(host, &response, &memfd, 1);
    assert_int_equal(vmsup_create_irq_event(host->vm, 1, &irq), -EPROTO);
    assert_null(irq);
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_create_memory(host->vm, memfd, 0, 0x8000, 0, false, true, &memory), 0);
    response.message_case = MAIN_RESPONSE__MESSAGE_DIRTY_LOG;
    response.dirty_log = &dirty;
    dirty.bitmap = (ProtobufCBinaryData){ .len = 2, .data = bytes };
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_memory_get_dirty_log(host->vm, memory, log), -EPROTO);
    dirty.bitmap.len = 1;
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_memory_get_dirty_log(host->vm, memory, log), 0);
    assert_int_equal(log[1], 0x55);
    response.message_case = MAIN_RESPONSE__MESSAGE_GET_NET_CONFIG;
    response.get_net_config = &network;
    network.host_mac_address = (ProtobufCBinaryData){ .len = 6, .data = bytes };
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_net_get_config(host->vm, &config), -EPROTO);
    network.host_mac_address.len = 7;
    host_answer(host, &response, &memfd, 1);
    assert_int_equal(vmsup_net_get_config(host->vm, &config), -EPROTO);
    response.message_case = MAIN_RESPONSE__MESSAGE_GET_STATE;
    response.get_state = &got;
    got.state = (ProtobufCBinaryData){ .len = 7, .data = bytes };
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_get_pic_state(host->vm, true, &pic), -EPROTO);
    answer_success(host, MAIN_RESPONSE__MESSAGE_DESTROY);
    assert_int_equal(vmsup_destroy_memory(host->vm, &memory), 0);
    close(memfd);
}

/* A second host, which says that there are so many descriptors of vCPUs. */
static int
connect_to(size_t descriptors, struct vmsup **out)
{
    MainResponse__Empty body = MAIN_RESPONSE__EMPTY__INIT;
    MainResponse response = MAIN_RESPONSE__INIT;
    struct host host = { 0 };
    int sockets[2], given[MESSAGE_FDS_MAX], result;
    char number[16];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    host.socket = sockets[0];
    for (size_t i = 0; i < descriptors; i++)
        given[i] = sockets[0];
    response.message_case = MAIN_RESPONSE__MESSAGE_GET_VCPUS;
    response.get_vcpus = &body;
    host_answer(&host, &response, given, descriptors);
    snprintf(number, sizeof number, "%d", sockets[1]);
    setenv("VMSUP_SOCKET", number, 1);
    result = vmsup_connect(out);
    close(sockets[0]);
    return result;
}

/* More than the original's 16, and counts that are none. All is closed again: the tear-down counts. */
static void
test_vcpus(void **state)
{
    struct vmsup *vm = NULL;
    struct vmsup_vcpu *vcpu, *last, *again;

    (void)state;
    assert_int_equal(connect_to(0, &vm), -EPROTO);
    assert_int_equal(connect_to(3, &vm), -EPROTO);
    assert_int_equal(connect_to(MESSAGE_FDS_MAX, &vm), -EPROTO);
    assert_null(vm);
    assert_int_equal(connect_to(2 * WIRE_VCPUS_MAX, &vm), 0);
    assert_int_equal(vmsup_get_vcpu(vm, WIRE_VCPUS_MAX - 1, &last), 0);
    assert_int_equal(vmsup_get_vcpu(vm, WIRE_VCPUS_MAX - 1, &again), 0);
    assert_ptr_equal(last, again);
    assert_int_equal(vmsup_get_vcpu(vm, 0, &vcpu), 0);
    assert_ptr_not_equal(vcpu, last);
    assert_int_equal(vmsup_get_vcpu(vm, WIRE_VCPUS_MAX, &vcpu), -ENOENT);
    assert_int_equal(vmsup_get_vcpu(vm, UINT32_MAX, &vcpu), -ENOENT);
    assert_int_equal(vmsup_destroy_connection(&vm), 0);
}

static void
test_cpuid_counts(void **state)
{
    struct host *host = *state;
    CpuidEntry first = CPUID_ENTRY__INIT, second = CPUID_ENTRY__INIT;
    CpuidEntry *both[] = { &first, &second };
    MainResponse__Cpuid body = MAIN_RESPONSE__CPUID__INIT;
    MainResponse response = MAIN_RESPONSE__INIT;
    struct kvm_cpuid_entry2 entries[2];
    uint32_t count = 0;

    first.function = 4;
    first.has_index = 1;
    first.index = 3;
    first.eax = 0xffffffff;
    second.function = 0x80000000;
    body.n_entries = 2;
    body.entries = both;
    response.message_case = MAIN_RESPONSE__MESSAGE_GET_SUPPORTED_CPUID;
    response.get_supported_cpuid = &body;
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_get_supported_cpuid(host->vm, 1, entries, &count), -E2BIG);
    assert_int_equal(count, 2);
    host_answer(host, &response, NULL, 0);
    assert_int_equal(vmsup_get_supported_cpuid(host->vm, 2, entries, &count), 0);
    assert_int_equal(entries[0].index, 3);
    assert_int_equal(entries[0].flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    assert_int_equal(entries[0].eax, 0xffffffff);
    assert_int_equal(entries[1].function, 0x80000000);
    assert_int_equal(entries[1].flags, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment), TEST(test_requests),      TEST(test_objects),
        TEST(test_too_long),                TEST(test_wrong_answers), TEST(test_cpuid_counts),
        TEST(test_incomplete_answers),      TEST(test_vcpus),
    };

    return cmocka_run_group_tests_name("plugin_connection", tests, NULL, NULL);
}
