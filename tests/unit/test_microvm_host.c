/* microvm's end of the supervisor's channel: the test is the supervisor. */
#include "common/fd.h"
#include "common/log.h"
#include "plugin/microvm/host.h"
#include "proto/host.h"
#include "proto/host.pb-c.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 5000

/* What was heard, told from the channel's thread by a pipe. */
enum kind { BUTTON, SET, ASK, CONNECTED };
struct heard {
    enum kind kind;
    uint64_t number;
    int result;
};

static int heard_pipe[2];
static struct host host;
static int supervisor;

static void
hear(struct heard heard)
{
    assert_int_equal(write(heard_pipe[1], &heard, sizeof heard), sizeof heard);
}

static void
button(void *context)
{
    assert_ptr_equal(context, &host);
    hear((struct heard){ .kind = BUTTON });
}

static void
set_balloon(void *context, uint64_t size)
{
    assert_ptr_equal(context, &host);
    hear((struct heard){ .kind = SET, .number = size });
}

static void
ask_balloon(void *context)
{
    assert_ptr_equal(context, &host);
    hear((struct heard){ .kind = ASK });
}

static void
connected(void *context, uint64_t token, int result)
{
    assert_ptr_equal(context, &host);
    hear((struct heard){ .kind = CONNECTED, .number = token, .result = result });
}

static bool
is_readable(int fd, int milliseconds)
{
    struct pollfd wait = { .fd = fd, .events = POLLIN };

    return poll(&wait, 1, milliseconds) == 1;
}

static struct heard
next(void)
{
    struct heard heard;

    assert_true(is_readable(heard_pipe[0], PATIENCE_MS));
    assert_int_equal(read(heard_pipe[0], &heard, sizeof heard), sizeof heard);
    return heard;
}

static FromMachine *
receive(void)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    struct message_fds fds;
    FromMachine *message;
    ssize_t size;

    assert_true(is_readable(supervisor, PATIENCE_MS));
    size = message_receive(supervisor, buffer, sizeof buffer, &fds, 0, 0);
    assert_true(size > 0);
    message = from_machine__unpack(NULL, (size_t)size, buffer);
    assert_non_null(message);
    return message;
}

static void
say(const ToMachine *message, const int *fds, size_t count)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    ssize_t size = message_pack(&message->base, buffer, sizeof buffer);

    assert_true(size > 0);
    assert_int_equal(message_send(supervisor, buffer, (size_t)size, fds, count, 0), 0);
}

static void
say_connected(uint64_t token, uint32_t error, const int *fds, size_t count)
{
    HostVsockConnected answer = HOST_VSOCK_CONNECTED__INIT;
    ToMachine message = TO_MACHINE__INIT;

    answer.token = token;
    answer.error = error;
    message.message_case = TO_MACHINE__MESSAGE_VSOCK_CONNECTED;
    message.vsock_connected = &answer;
    say(&message, fds, count);
}

static void
begin(bool with_balloon)
{
    const struct host_balloon balloon = { .set = set_balloon, .ask = ask_balloon, .context = &host };
    int pair[2];
    FromMachine *message;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    supervisor = pair[0];
    assert_int_equal(host_init(&host, pair[1]), 0);
    host_on_power_button(&host, button, &host);
    host_on_vsock(&host, connected, &host);
    if (with_balloon)
        host_on_balloon(&host, &balloon);
    assert_int_equal(host_start(&host), 0);
    message = receive();
    assert_int_equal(message->message_case, FROM_MACHINE__MESSAGE_READY);
    assert_int_equal(message->ready->has_balloon, with_balloon);
    from_machine__free_unpacked(message, NULL);
}

/* The thread ends, and only then may its socket go. */
static void
end(void)
{
    fd_close(&supervisor);
    for (int waited = 0; !__atomic_load_n(&host.closed, __ATOMIC_ACQUIRE); waited++) {
        assert_true(waited < PATIENCE_MS);
        usleep(1000);
    }
    assert_int_equal(host_vsock_connect(&host, 1, 1), -ECONNREFUSED);
    usleep(10000);
    fd_close(&host.socket);
    arena_destroy(&host.arena);
}

/* The supervisor's end sees that microvm has closed it. */
static void
assert_closed(void)
{
    char byte;

    assert_true(is_readable(supervisor, PATIENCE_MS));
    assert_int_equal(recv(supervisor, &byte, 1, 0), 0);
    end();
}

static void
test_requests(void **state)
{
    HostPowerButton pressed = HOST_POWER_BUTTON__INIT;
    HostSetBalloon set = HOST_SET_BALLOON__INIT;
    HostAskBalloon ask = HOST_ASK_BALLOON__INIT;
    ToMachine message = TO_MACHINE__INIT;
    struct heard heard;

    (void)state;
    begin(true);
    message.message_case = TO_MACHINE__MESSAGE_POWER_BUTTON;
    message.power_button = &pressed;
    say(&message, NULL, 0);
    assert_int_equal(next().kind, BUTTON);
    message.message_case = TO_MACHINE__MESSAGE_SET_BALLOON;
    message.set_balloon = &set;
    set.size = UINT64_C(5) << 30;
    say(&message, NULL, 0);
    heard = next();
    assert_int_equal(heard.kind, SET);
    assert_true(heard.number == UINT64_C(5) << 30);
    message.message_case = TO_MACHINE__MESSAGE_ASK_BALLOON;
    message.ask_balloon = &ask;
    say(&message, NULL, 0);
    assert_int_equal(next().kind, ASK);
    end();
}

/* Who has not said that he wants to hear is not called. */
static void
test_nobody_wants_to_hear(void **state)
{
    HostSetBalloon set = HOST_SET_BALLOON__INIT;
    HostPowerButton pressed = HOST_POWER_BUTTON__INIT;
    ToMachine message = TO_MACHINE__INIT;

    (void)state;
    begin(false);
    message.message_case = TO_MACHINE__MESSAGE_SET_BALLOON;
    message.set_balloon = &set;
    say(&message, NULL, 0);
    message.message_case = TO_MACHINE__MESSAGE_POWER_BUTTON;
    message.power_button = &pressed;
    say(&message, NULL, 0);
    assert_int_equal(next().kind, BUTTON);
    end();
}

static void
test_connections(void **state)
{
    int pair[2];
    struct heard heard;
    FromMachine *message;
    char byte;

    (void)state;
    begin(false);
    assert_int_equal(host_vsock_connect(&host, 1024, UINT64_MAX), 0);
    message = receive();
    assert_int_equal(message->message_case, FROM_MACHINE__MESSAGE_VSOCK_CONNECT);
    assert_int_equal(message->vsock_connect->port, 1024);
    assert_true(message->vsock_connect->token == UINT64_MAX);
    from_machine__free_unpacked(message, NULL);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    say_connected(UINT64_MAX, 0, &pair[0], 1);
    heard = next();
    assert_int_equal(heard.kind, CONNECTED);
    assert_true(heard.number == UINT64_MAX);
    assert_true(heard.result >= 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    assert_int_equal(read(heard.result, &byte, 1), 1);
    fd_close(&heard.result);
    fd_close(&pair[0]);
    fd_close(&pair[1]);

    say_connected(7, ECONNREFUSED, NULL, 0);
    heard = next();
    assert_true(heard.number == 7);
    assert_int_equal(heard.result, -ECONNREFUSED);
    end();
}

static void
test_wrong_answers(void **state)
{
    static const uint8_t garbage[] = { 0xff, 0xff, 0xff };
    static uint8_t large[HOST_MESSAGE_MAX + 1];

    (void)state;
    begin(false);
    say_connected(1, 0, NULL, 0); /* no socket */
    assert_closed();
    begin(false);
    say_connected(1, ENOENT, &heard_pipe[0], 1); /* a socket that is none of it */
    assert_closed();
    begin(false);
    say_connected(1, 4096, NULL, 0);
    assert_closed();
    begin(false);
    assert_int_equal(message_send(supervisor, garbage, sizeof garbage, NULL, 0, 0), 0);
    assert_closed();
    begin(false);
    assert_int_equal(message_send(supervisor, large, sizeof large, NULL, 0, 0), 0);
    assert_closed();
    assert_false(is_readable(heard_pipe[0], 0));
}

/* A supervisor that does not read makes nobody wait. */
static void
test_full(void **state)
{
    int result = 0;

    (void)state;
    begin(false);
    for (int i = 0; i < 100000 && result == 0; i++)
        result = host_vsock_connect(&host, 1, 1);
    assert_int_equal(result, -EAGAIN);
    end();
}

static void
test_statistics(void **state)
{
    uint64_t values[HOST_STATISTICS_MAX + 4];
    FromMachine *message;

    (void)state;
    begin(true);
    for (size_t i = 0; i < HOST_STATISTICS_MAX + 4; i++)
        values[i] = UINT64_MAX - i;
    host_tell_balloon(&host, 4096, values, HOST_STATISTICS_MAX + 4, UINT32_MAX);
    message = receive();
    assert_int_equal(message->message_case, FROM_MACHINE__MESSAGE_BALLOON);
    assert_int_equal(message->balloon->size, 4096);
    assert_int_equal(message->balloon->present, (1 << HOST_STATISTICS_MAX) - 1);
    assert_int_equal(message->balloon->n_value, HOST_STATISTICS_MAX);
    assert_true(message->balloon->value[2] == UINT64_MAX - 2);
    from_machine__free_unpacked(message, NULL);
    end();
}

static void
test_no_channel(void **state)
{
    (void)state;
    assert_int_equal(host_init(&host, -ENOENT), 0);
    assert_int_equal(host_start(&host), 0);
    assert_int_equal(host_vsock_connect(&host, 1, 1), -ECONNREFUSED);
    host_tell_balloon(&host, 0, NULL, 0, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests), cmocka_unit_test(test_nobody_wants_to_hear), cmocka_unit_test(test_connections),
        cmocka_unit_test(test_wrong_answers), cmocka_unit_test(test_full), cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_no_channel),
    };

    log_set_level(LOG_LEVEL_ERROR);
    if (pipe(heard_pipe) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
