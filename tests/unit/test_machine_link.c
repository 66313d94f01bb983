/* The supervisor's end of the channel to microvm: the test is microvm, good and bad. */
#include "common/fd.h"
#include "common/log.h"
#include "proto/host.pb-c.h"
#include "supervisor/machine_balloon.h"
#include "supervisor/machine_link.h"
#include "tests/unit/runtime_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* Of five milliseconds. */
#define ENOUGH_TRIES 1000

static struct loop *loop;
static struct machine_link channel;
static int machine;

static void
stop_loop(void *context)
{
    (void)context;
    loop_stop(loop);
}

/* The supervisor has so much time, in milliseconds. */
static void
turn(int64_t milliseconds)
{
    struct loop_source *timer = loop_add_timer(loop, stop_loop, NULL);

    assert_non_null(timer);
    loop_set_timer(timer, milliseconds);
    assert_int_equal(loop_run(loop), 0);
    loop_remove(&timer);
}

static void
begin(const struct runtime *folder)
{
    int ours;

    loop = loop_create();
    assert_non_null(loop);
    assert_int_equal(machine_link_make(&ours, &machine), 0);
    assert_int_equal(machine_link_begin(&channel, loop, ours, folder), 0);
}

static void
end(void)
{
    machine_link_end(&channel);
    fd_close(&machine);
    loop_destroy(loop);
}

static int
say(const FromMachine *message)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    ssize_t size = message_pack(&message->base, buffer, sizeof buffer);

    assert_true(size > 0);
    return message_send(machine, buffer, (size_t)size, NULL, 0, MSG_DONTWAIT);
}

static int
say_ready(bool has_balloon)
{
    FromMachine message = FROM_MACHINE__INIT;
    HostReady ready = HOST_READY__INIT;

    ready.has_balloon = has_balloon;
    message.message_case = FROM_MACHINE__MESSAGE_READY;
    message.ready = &ready;
    return say(&message);
}

static int
say_connect(uint64_t token, uint32_t port)
{
    FromMachine message = FROM_MACHINE__INIT;
    HostVsockConnect connect = HOST_VSOCK_CONNECT__INIT;

    connect.token = token;
    connect.port = port;
    message.message_case = FROM_MACHINE__MESSAGE_VSOCK_CONNECT;
    message.vsock_connect = &connect;
    return say(&message);
}

/* NULL: there is nothing, or it was hung up; *hung_up says which. */
static ToMachine *
hear(int *fd, bool *hung_up)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    struct message_fds fds;
    ssize_t size = message_receive(machine, buffer, sizeof buffer, &fds, 1, MSG_DONTWAIT);
    ToMachine *message;

    *hung_up = size == 0 || size == -ECONNRESET;
    if (size <= 0)
        return NULL;
    message = to_machine__unpack(NULL, (size_t)size, buffer);
    assert_non_null(message);
    if (fd != NULL)
        *fd = fds.count > 0 ? fds.fd[0] : -1;
    else
        assert_int_equal(fds.count, 0);
    return message;
}

/* The next message, which a busy machine may bring late; NULL where it was hung up instead. */
static ToMachine *
hear_soon(int *fd)
{
    bool hung_up = false;
    ToMachine *message = NULL;

    for (int tries = 0; message == NULL && !hung_up && tries < ENOUGH_TRIES; tries++) {
        message = hear(fd, &hung_up);
        if (message == NULL)
            turn(5);
    }
    return message;
}

static ToMachine__MessageCase
hear_case(void)
{
    ToMachine *message = hear_soon(NULL);
    ToMachine__MessageCase it;

    assert_non_null(message);
    it = message->message_case;
    to_machine__free_unpacked(message, NULL);
    return it;
}

static void
assert_hung_up(void)
{
    ToMachine *message;

    turn(20);
    while ((message = hear_soon(NULL)) != NULL)
        to_machine__free_unpacked(message, NULL);
    assert_int_equal(channel.socket, -1);
    assert_int_equal(machine_link_press_button(&channel), -ENOTCONN);
    turn(5);
    end();
}

/* The answer to a connect: its error, or 0 with *fd. */
static uint32_t
hear_connected(uint64_t token, int *fd)
{
    ToMachine *message = hear_soon(fd);
    uint32_t error;

    assert_non_null(message);
    assert_int_equal(message->message_case, TO_MACHINE__MESSAGE_VSOCK_CONNECTED);
    assert_true(message->vsock_connected->token == token);
    error = message->vsock_connected->error;
    assert_true((error == 0) == (*fd >= 0));
    to_machine__free_unpacked(message, NULL);
    return error;
}

/* A program of the admin's, which listens. */
static int
listen_at(uint32_t port, int queue)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(snprintf(address.sun_path, sizeof address.sun_path, "%.40s/%s/vsock_%u", runtime.path, runtime.name, port) < 108);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, queue), 0);
    return fd;
}

static void
test_button(void **state)
{
    (void)state;
    begin(NULL);
    /* The guest does not run yet. */
    assert_int_equal(machine_link_press_button(&channel), -ENOTCONN);
    assert_int_equal(say_ready(false), 0);
    turn(5);
    assert_int_equal(machine_link_press_button(&channel), 0);
    assert_int_equal(hear_case(), TO_MACHINE__MESSAGE_POWER_BUTTON);
    assert_int_equal(machine_link_set_balloon(&channel, 1), -EOPNOTSUPP);
    assert_int_equal(machine_link_ask_balloon(&channel), -EOPNOTSUPP);
    fd_close(&machine);
    turn(5);
    assert_int_equal(machine_link_press_button(&channel), -ENOTCONN);
    end();
}

/* A microvm that does not read: whoever stops the VM does not wait for it. */
static void
test_unread(void **state)
{
    int pressed = 0;

    (void)state;
    begin(NULL);
    assert_int_equal(say_ready(false), 0);
    turn(5);
    while (machine_link_press_button(&channel) == 0)
        assert_true(++pressed < 64);
    assert_int_equal(machine_link_press_button(&channel), -EAGAIN);
    assert_true(pressed > 0);
    end();
}

static void
test_no_channel(void **state)
{
    (void)state;
    loop = loop_create();
    machine = -1;
    assert_int_equal(machine_link_begin(&channel, loop, -1, NULL), 0);
    assert_int_equal(machine_link_press_button(&channel), -ENOTCONN);
    assert_int_equal(machine_link_ask_balloon(&channel), -ENOTCONN);
    end();
}

static void
test_balloon(void **state)
{
    uint64_t values[3] = { 11, 12, 13 }, many[100] = { 0 };
    FromMachine message = FROM_MACHINE__INIT;
    HostBalloon told = HOST_BALLOON__INIT;
    AdminBalloon request = ADMIN_BALLOON__INIT;
    AdminReply reply = ADMIN_REPLY__INIT;

    (void)state;
    begin(NULL);
    machine_balloon_answer(&channel, &request, &reply);
    assert_int_equal(reply.error, 0);
    request.ask = true;
    machine_balloon_answer(&channel, &request, &reply);
    assert_int_equal(reply.error, ENOTCONN);
    assert_int_equal(say_ready(true), 0);
    turn(5);
    request.set = true;
    request.size = 4096;
    machine_balloon_answer(&channel, &request, &reply);
    assert_int_equal(reply.error, 0);
    assert_int_equal(reply.balloon->target, 4096);
    assert_int_equal(reply.balloon->count, 0);
    assert_int_equal(hear_case(), TO_MACHINE__MESSAGE_SET_BALLOON);
    assert_int_equal(hear_case(), TO_MACHINE__MESSAGE_ASK_BALLOON);

    told.size = 8192;
    told.present = UINT32_MAX & ~2u;
    told.n_value = 3;
    told.value = values;
    message.message_case = FROM_MACHINE__MESSAGE_BALLOON;
    message.balloon = &told;
    assert_int_equal(say(&message), 0);
    turn(5);
    request.set = request.ask = false;
    machine_balloon_answer(&channel, &request, &reply);
    assert_int_equal(reply.balloon->size, 8192);
    assert_int_equal(reply.balloon->count, 1);
    /* Neither what it did not tell nor what it has no value for. */
    assert_int_equal(reply.balloon->present, 5);
    assert_int_equal(reply.balloon->value[0], 11);
    assert_int_equal(reply.balloon->value[1], 0);
    assert_int_equal(reply.balloon->value[2], 13);
    /* More than there are. */
    told.n_value = 100;
    told.value = many;
    assert_int_equal(say(&message), 0);
    turn(5);
    assert_int_equal(channel.balloon.count, 2);
    assert_int_equal(channel.balloon.present, ((1u << HOST_STATISTICS_MAX) - 1) & ~2u);
    end();
}

static void
test_connections(void **state)
{
    int listener = listen_at(1024, 8), fd, other;
    char byte;

    (void)state;
    begin(&runtime);
    assert_int_equal(say_ready(false), 0);
    assert_int_equal(say_connect(UINT64_MAX, 1024), 0);
    assert_int_equal(say_connect(7, 1025), 0);
    turn(20);
    assert_int_equal(hear_connected(UINT64_MAX, &fd), 0);
    other = accept4(listener, NULL, NULL, 0);
    assert_true(other >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(read(other, &byte, 1), 1);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    fd_close(&fd);
    /* The supervisor has kept nothing of it. */
    assert_int_equal(read(other, &byte, 1), 0);
    fd_close(&other);
    assert_int_equal(hear_connected(7, &fd), ENOENT);
    fd_close(&listener);
    assert_int_equal(say_connect(8, 1024), 0);
    turn(20);
    assert_int_equal(hear_connected(8, &fd), ECONNREFUSED);
    end();
}

/* Nobody is found where the VM has no sockets. */
static void
test_no_sockets(void **state)
{
    int listener = listen_at(99, 8), fd;

    (void)state;
    begin(NULL);
    assert_int_equal(say_ready(false), 0);
    assert_int_equal(say_connect(1, 99), 0);
    turn(20);
    assert_int_equal(hear_connected(1, &fd), ECONNREFUSED);
    assert_int_equal(accept4(listener, NULL, NULL, 0), -1);
    fd_close(&listener);
    end();
}

static size_t
count_open(void)
{
    size_t count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Who asks and does not read the answers has few descriptors under way; once it reads, it gets each of them. */
static void
test_answers_wait(void **state)
{
    int listener = listen_at(5, 64), fd, accepted, under_way = 0;
    size_t open_before;

    (void)state;
    begin(&runtime);
    assert_int_equal(say_ready(false), 0);
    turn(5);
    open_before = count_open();
    for (uint64_t i = 0; i < 24; i++)
        assert_int_equal(say_connect(i, 5), 0);
    turn(50);
    while ((accepted = accept4(listener, NULL, NULL, 0)) >= 0) {
        under_way++;
        close(accepted);
    }
    assert_true(under_way > 0 && under_way <= 8);
    /* One of them, at most, is the supervisor's still. */
    assert_true(count_open() <= open_before + 1);
    for (uint64_t i = 0; i < 24; i++) {
        turn(10);
        assert_int_equal(hear_connected(i, &fd), 0);
        fd_close(&fd);
    }
    fd_close(&listener);
    end();
}

/* A flood is read as fast as is allowed, and no faster; the channel stays, and the button works. */
static void
test_flood(void **state)
{
    int sent = 0, answered = 0, fd;
    bool hung_up;
    ToMachine *message;

    (void)state;
    begin(&runtime);
    assert_int_equal(say_ready(false), 0);
    for (int i = 0; i < 50; i++) {
        while (sent < 100000 && say_connect(1, 6) == 0)
            sent++;
        turn(4);
        while ((message = hear(&fd, &hung_up)) != NULL) {
            answered++;
            to_machine__free_unpacked(message, NULL);
        }
        assert_false(hung_up);
    }
    /* 200 ms, and whatever this machine took longer. */
    assert_true(sent > 100);
    assert_true(answered >= MACHINE_LINK_BURST - 1);
    assert_true(answered < sent);
    assert_true(answered <= MACHINE_LINK_BURST + MACHINE_LINK_RATE * 2);
    assert_int_equal(machine_link_press_button(&channel), 0);
    end();
}

/* Gone while nothing is read of it. */
static void
test_flood_and_gone(void **state)
{
    (void)state;
    begin(&runtime);
    assert_int_equal(say_ready(true), 0);
    for (int i = 0; i < 2 * MACHINE_LINK_BURST; i++)
        say_connect(1, 6);
    turn(5);
    fd_close(&machine);
    turn(20);
    assert_int_equal(channel.socket, -1);
    end();
}

static void
test_refused(void **state)
{
    static const uint8_t garbage[] = { 0xff, 0xff, 0xff }, unknown[] = { 0x0a, 0x02, 0x10, 0x01 };
    static uint8_t large[HOST_MESSAGE_MAX + 1];
    FromMachine none = FROM_MACHINE__INIT;
    HostReady ready = HOST_READY__INIT;
    uint8_t buffer[16];

    (void)state;
    begin(NULL);
    assert_int_equal(message_send(machine, garbage, sizeof garbage, NULL, 0, 0), 0);
    assert_hung_up();
    /* A field that there is not, in the message. */
    begin(NULL);
    assert_int_equal(message_send(machine, unknown, sizeof unknown, NULL, 0, 0), 0);
    assert_hung_up();
    begin(NULL);
    assert_int_equal(message_send(machine, large, sizeof large, NULL, 0, 0), 0);
    assert_hung_up();
    /* A request before the guest runs, and two beginnings. */
    begin(NULL);
    assert_int_equal(say_connect(1, 1), 0);
    assert_hung_up();
    begin(NULL);
    assert_int_equal(say_ready(false), 0);
    assert_int_equal(say_ready(false), 0);
    assert_hung_up();
    /* A descriptor is closed, not kept. */
    begin(NULL);
    none.message_case = FROM_MACHINE__MESSAGE_READY;
    none.ready = &ready;
    {
        ssize_t size = message_pack(&none.base, buffer, sizeof buffer);

        assert_int_equal(message_send(machine, buffer, (size_t)size, &machine, 1, 0), 0);
    }
    assert_hung_up();
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_button), TEST(test_unread), TEST(test_no_channel), TEST(test_balloon), TEST(test_connections), TEST(test_no_sockets),
        TEST(test_answers_wait), TEST(test_flood), TEST(test_flood_and_gone), TEST(test_refused),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
