/* Datagrams with descriptors, unpacking into an arena, and the framing of a vCPU's pipe. */
#include "common/fd.h"
#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "proto/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void
make_pair(int sockets[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
}

/* The lowest free descriptor: unchanged where nothing has leaked. */
static int
lowest_free_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), lowest = fd;

    assert_true(fd >= 0);
    fd_close(&fd);
    return lowest;
}

static void
test_datagram_and_descriptors_arrive(void **state)
{
    int sockets[2], sent[2];
    struct message_fds fds;
    char buffer[16];

    (void)state;
    make_pair(sockets);
    sent[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sent[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(message_send(sockets[0], "abc", 3, sent, 2, 0), 0);
    assert_int_equal(message_receive(sockets[1], buffer, sizeof buffer, &fds, 2, 0), 3);
    assert_memory_equal(buffer, "abc", 3);
    assert_int_equal(fds.count, 2);
    assert_int_equal(fcntl(fds.fd[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(read(fds.fd[1], buffer, 1), 1);
    assert_int_equal(buffer[0], 0);
    message_close_fds(&fds);
    fd_close_all(sent, 2);
    fd_close_all(sockets, 2);
}

static void
test_too_many_descriptors_are_refused_and_closed(void **state)
{
    int sockets[2], sent[MESSAGE_FDS_MAX], before;
    struct message_fds fds;
    char buffer[16];

    (void)state;
    make_pair(sockets);
    before = lowest_free_fd();
    sent[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (size_t i = 1; i < MESSAGE_FDS_MAX; i++)
        sent[i] = sent[0];
    assert_int_equal(message_send(sockets[0], "abc", 3, sent, 2, 0), 0);
    assert_int_equal(message_receive(sockets[1], buffer, sizeof buffer, &fds, 1, 0), -EMSGSIZE);
    assert_int_equal(fds.count, 0);
    assert_int_equal(message_send(sockets[0], "abc", 3, sent, MESSAGE_FDS_MAX, 0), 0);
    assert_int_equal(message_receive(sockets[1], buffer, sizeof buffer, &fds, 0, 0), -EMSGSIZE);
    assert_int_equal(message_send(sockets[0], "abc", 3, sent, MESSAGE_FDS_MAX + 1, 0), -EINVAL);
    fd_close(&sent[0]);
    assert_int_equal(lowest_free_fd(), before);
    fd_close_all(sockets, 2);
}

static void
test_cut_datagram_is_refused(void **state)
{
    struct message_fds fds;
    char buffer[4];
    int sockets[2];

    (void)state;
    make_pair(sockets);
    assert_int_equal(message_send(sockets[0], "abcde", 5, NULL, 0, 0), 0);
    assert_int_equal(message_receive(sockets[1], buffer, sizeof buffer, &fds, 0, 0), -EMSGSIZE);
    fd_close_all(sockets, 2);
}

static void
test_hang_up_and_empty_socket(void **state)
{
    struct message_fds fds;
    char buffer[4];
    int sockets[2];

    (void)state;
    make_pair(sockets);
    assert_int_equal(message_receive(sockets[1], buffer, sizeof buffer, &fds, 0, MSG_DONTWAIT), -EAGAIN);
    fd_close(&sockets[0]);
    assert_int_equal(message_receive(sockets[1], buffer, sizeof buffer, &fds, 0, 0), 0);
    assert_int_equal(message_send(sockets[1], "a", 1, NULL, 0, 0), -EPIPE);
    fd_close_all(sockets, 2);
}

static void
test_credentials_are_refused(void **state)
{
    struct message_fds fds;
    char buffer[4];
    int sockets[2], on = 1;

    (void)state;
    make_pair(sockets);
    assert_int_equal(setsockopt(sockets[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    assert_int_equal(message_send(sockets[0], "a", 1, NULL, 0, 0), 0);
    assert_int_equal(message_receive(sockets[1], buffer, sizeof buffer, &fds, 0, 0), -EBADMSG);
    fd_close_all(sockets, 2);
}

static void
test_unpacked_messages_are_bounded_by_the_arena(void **state)
{
    MainRequest request = MAIN_REQUEST__INIT;
    MainRequest__SetIrqRouting routing = MAIN_REQUEST__SET_IRQ_ROUTING__INIT;
    MainRequest__SetIrqRouting__Route route = MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__INIT, *routes[1000];
    uint8_t buffer[4096];
    struct arena arena;
    MainRequest *read;
    ssize_t size;

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        routes[i] = &route;
    routing.n_routes = 1000;
    routing.routes = routes;
    request.message_case = MAIN_REQUEST__MESSAGE_SET_IRQ_ROUTING;
    request.set_irq_routing = &routing;
    size = message_pack(&request.base, buffer, sizeof buffer);
    assert_true(size > 0);
    assert_int_equal(message_pack(&request.base, buffer, 10), -EMSGSIZE);

    assert_int_equal(arena_create(&arena, 1 << 20), 0);
    read = message_unpack(&arena, &main_request__descriptor, buffer, (size_t)size);
    assert_non_null(read);
    assert_int_equal(read->set_irq_routing->n_routes, 1000);
    arena_destroy(&arena);

    assert_int_equal(arena_create(&arena, 1 << 14), 0);
    assert_null(message_unpack(&arena, &main_request__descriptor, buffer, (size_t)size));
    arena_reset(&arena);
    assert_int_equal(arena.used, 0);
    arena_destroy(&arena);
}

static void
test_unknown_fields_are_seen_at_any_depth(void **state)
{
    /* Start {}; Start { 5: 1 }; field 99 beside Start; a route with a field of its own making. */
    static const uint8_t plain[] = { 0x92, 0x01, 0x00 };
    static const uint8_t inner[] = { 0x92, 0x01, 0x02, 0x28, 0x01 };
    static const uint8_t beside[] = { 0x92, 0x01, 0x00, 0x98, 0x06, 0x01 };
    static const uint8_t repeated[] = { 0x62, 0x04, 0x0a, 0x02, 0x78, 0x01 };
    static const struct {
        const uint8_t *data;
        size_t size;
        bool unknown;
    } cases[] = {
        { plain, sizeof plain, false },
        { inner, sizeof inner, true },
        { beside, sizeof beside, true },
        { repeated, sizeof repeated, true },
    };
    struct arena arena;

    (void)state;
    assert_int_equal(arena_create(&arena, 1 << 16), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        MainRequest *read = message_unpack(&arena, &main_request__descriptor, cases[i].data, cases[i].size);

        assert_non_null(read);
        assert_int_equal(message_has_unknown_fields(&read->base), cases[i].unknown);
    }
    arena_destroy(&arena);
}

static void
test_varints(void **state)
{
    static const uint64_t values[] = { 0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x40000, UINT32_MAX, UINT64_MAX };
    static const uint8_t endless[] = { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01 };
    static const uint8_t too_large[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 };
    uint64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint8_t buffer[WIRE_VARINT_MAX];
        size_t length = wire_put_varint(values[i], buffer);

        for (size_t part = 0; part < length; part++)
            assert_int_equal(wire_get_varint(buffer, part, &value), 0);
        assert_int_equal(wire_get_varint(buffer, length, &value), length);
        assert_true(value == values[i]);
    }
    assert_int_equal(wire_get_varint(endless, sizeof endless, &value), -EBADMSG);
    assert_int_equal(wire_get_varint(too_large, sizeof too_large, &value), -EBADMSG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_datagram_and_descriptors_arrive),
        cmocka_unit_test(test_too_many_descriptors_are_refused_and_closed),
        cmocka_unit_test(test_cut_datagram_is_refused),
        cmocka_unit_test(test_hang_up_and_empty_socket),
        cmocka_unit_test(test_credentials_are_refused),
        cmocka_unit_test(test_unpacked_messages_are_bounded_by_the_arena),
        cmocka_unit_test(test_unknown_fields_are_seen_at_any_depth),
        cmocka_unit_test(test_varints),
    };

    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
