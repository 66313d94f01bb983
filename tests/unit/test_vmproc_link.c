/* What the supervisor asks of vmproc and takes from it while the VM runs: the test is vmproc, good and bad. */
#include "supervisor/vmproc_statistics.h"

#include "build_id.h"
#include "common/fd.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define CPUS 3
#define NUMBERS ((size_t)CPUS * STATISTICS_COLUMNS)

static const struct options options = { .cpus = CPUS, .exit_spin = 100 };
static struct vmproc_link vm;
static int vmproc;

static void
say(const FromVmproc *message)
{
    uint8_t buffer[VMPROC_LINK_MESSAGE_MAX];
    ssize_t size = message_pack(&message->base, buffer, sizeof buffer);

    assert_true(size > 0);
    assert_int_equal(message_send(vmproc, buffer, (size_t)size, NULL, 0, MSG_DONTWAIT), 0);
}

static void
say_hello(void)
{
    ControlHello hello = CONTROL_HELLO__INIT;
    FromVmproc message = FROM_VMPROC__INIT;

    hello.build_id = (char[]){ VMSUP_BUILD_ID };
    message.message_case = FROM_VMPROC__MESSAGE_HELLO;
    message.hello = &hello;
    say(&message);
}

static void
say_ready(void)
{
    ControlReady ready = CONTROL_READY__INIT;
    FromVmproc message = FROM_VMPROC__INIT;

    message.message_case = FROM_VMPROC__MESSAGE_READY;
    message.ready = &ready;
    say(&message);
}

static void
say_statistics(uint64_t *value, size_t count)
{
    ControlStatistics statistics = CONTROL_STATISTICS__INIT;
    FromVmproc message = FROM_VMPROC__INIT;

    statistics.value = value;
    statistics.n_value = count;
    message.message_case = FROM_VMPROC__MESSAGE_STATISTICS;
    message.statistics = &statistics;
    say(&message);
}

static void
hear(enum vmproc_word expected)
{
    enum vmproc_word word;

    assert_int_equal(vmproc_link_hear(&vm, &word), 0);
    assert_int_equal(word, expected);
}

static void
hear_nonsense(const char *text)
{
    enum vmproc_word word;

    assert_int_equal(vmproc_link_hear(&vm, &word), -EPROTO);
    assert_string_equal(vm.wrong, text);
}

/* How many questions have come since. */
static unsigned
count_questions(void)
{
    uint8_t buffer[VMPROC_LINK_MESSAGE_MAX];
    struct message_fds fds;
    unsigned count = 0;
    ssize_t size;

    while ((size = message_receive(vmproc, buffer, sizeof buffer, &fds, 0, MSG_DONTWAIT)) > 0) {
        ToVmproc *message = to_vmproc__unpack(NULL, (size_t)size, buffer);

        assert_non_null(message);
        assert_int_equal(message->message_case, TO_VMPROC__MESSAGE_ASK_STATISTICS);
        to_vmproc__free_unpacked(message, NULL);
        count++;
    }
    assert_int_equal(size, -EAGAIN);
    return count;
}

static int
begin(void **state)
{
    int sockets[2];

    (void)state;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -1;
    vmproc = sockets[1];
    return vmproc_link_begin(&vm, sockets[0], &options);
}

static int
end(void **state)
{
    (void)state;
    vmproc_link_end(&vm);
    fd_close(&vmproc);
    return 0;
}

static void
become_ready(void)
{
    say_hello();
    hear(VMPROC_HELLO);
    say_ready();
    hear(VMPROC_READY);
}

static void
test_asked_when_it_listens(void **state)
{
    (void)state;
    assert_int_equal(vmproc_link_ask_statistics(&vm, 0), -ENOTCONN);
    say_hello();
    hear(VMPROC_HELLO);
    assert_int_equal(vmproc_link_ask_statistics(&vm, 0), -ENOTCONN);
    assert_int_equal(count_questions(), 0);
    say_ready();
    hear(VMPROC_READY);
    assert_int_equal(vmproc_link_ask_statistics(&vm, 0), 0);
    assert_int_equal(count_questions(), 1);
    fd_close(&vmproc);
    hear(VMPROC_GONE);
    assert_int_equal(vmproc_link_ask_statistics(&vm, 1000), -ENOTCONN);
}

/* One question is open at a time, however long the answer takes; and after an answer there is a pause. */
static void
test_one_question_at_a_time(void **state)
{
    uint64_t value[NUMBERS] = { 0 };

    (void)state;
    become_ready();
    for (int64_t now = 0; now < 1000000; now += 1000)
        assert_int_equal(vmproc_link_ask_statistics(&vm, now), 0);
    assert_int_equal(count_questions(), 1);
    say_statistics(value, NUMBERS);
    hear(VMPROC_STATISTICS);
    assert_int_equal(vmproc_link_ask_statistics(&vm, VMPROC_LINK_STATISTICS_INTERVAL - 1), 0);
    assert_false(vm.asked);
    assert_int_equal(count_questions(), 0);
    assert_int_equal(vmproc_link_ask_statistics(&vm, VMPROC_LINK_STATISTICS_INTERVAL), 0);
    assert_true(vm.asked);
    assert_int_equal(count_questions(), 1);
}

/* Numbers may be any but for the bound, and stay until the next answer. */
static void
test_what_the_admin_is_told(void **state)
{
    AdminStatistics ask = ADMIN_STATISTICS__INIT, look = ADMIN_STATISTICS__INIT;
    AdminReply reply = ADMIN_REPLY__INIT;
    uint64_t value[NUMBERS];

    (void)state;
    ask.ask = true;
    vmproc_statistics_answer(&vm, &ask, &reply);
    assert_int_equal(reply.error, ENOTCONN);
    become_ready();
    vmproc_statistics_answer(&vm, &look, &reply);
    assert_int_equal(reply.error, 0);
    assert_false(reply.statistics->pending);
    assert_int_equal(reply.statistics->count, 0);
    vmproc_statistics_answer(&vm, &ask, &reply);
    assert_int_equal(reply.error, 0);
    assert_true(reply.statistics->pending);
    assert_int_equal(reply.statistics->n_value, 0);
    for (size_t i = 0; i < NUMBERS; i++)
        value[i] = i % STATISTICS_COLUMNS == STATISTICS_SPIN ? 100000 : UINT64_MAX - i;
    say_statistics(value, NUMBERS);
    hear(VMPROC_STATISTICS);
    vmproc_statistics_answer(&vm, &look, &reply);
    assert_false(reply.statistics->pending);
    assert_int_equal(reply.statistics->count, 1);
    assert_int_equal(reply.statistics->n_value, NUMBERS);
    assert_memory_equal(reply.statistics->value, value, sizeof value);
}

static void
test_unasked(void **state)
{
    uint64_t value[NUMBERS] = { 0 };

    (void)state;
    become_ready();
    say_statistics(value, NUMBERS);
    hear_nonsense("vmproc told statistics that it was not asked for");
}

static void
test_twice(void **state)
{
    uint64_t value[NUMBERS] = { 0 };

    (void)state;
    become_ready();
    assert_int_equal(vmproc_link_ask_statistics(&vm, 0), 0);
    say_statistics(value, NUMBERS);
    hear(VMPROC_STATISTICS);
    say_statistics(value, NUMBERS);
    hear_nonsense("vmproc told statistics that it was not asked for");
}

static void
test_too_many_and_too_few(void **state)
{
    static uint64_t value[STATISTICS_MAX];
    static const size_t counts[] = { 0, 1, NUMBERS - 1, NUMBERS + 1, NUMBERS + STATISTICS_COLUMNS, STATISTICS_MAX };
    char text[VMPROC_LINK_TEXT_MAX];

    (void)state;
    become_ready();
    assert_int_equal(vmproc_link_ask_statistics(&vm, 0), 0);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        say_statistics(value, counts[i]);
        snprintf(text, sizeof text, "vmproc told %zu numbers of statistics where %zu belong", counts[i], NUMBERS);
        hear_nonsense(text);
    }
}

static void
test_a_bound_beyond_the_limit(void **state)
{
    uint64_t value[NUMBERS] = { 0 };

    (void)state;
    become_ready();
    assert_int_equal(vmproc_link_ask_statistics(&vm, 0), 0);
    value[NUMBERS - STATISTICS_COLUMNS + STATISTICS_SPIN] = 100001;
    say_statistics(value, NUMBERS);
    hear_nonsense("vmproc told that a vCPU spins longer than it may");
}

/* As many numbers as there can be, each as large as it can be, go both ways. */
static void
test_the_largest_message(void **state)
{
    static const struct options most = { .cpus = WIRE_VCPUS_MAX, .exit_spin = UINT32_MAX };
    static uint64_t value[STATISTICS_MAX];
    static uint8_t buffer[STATISTICS_MESSAGE_MAX];
    AdminStatistics look = ADMIN_STATISTICS__INIT;
    AdminReply reply = ADMIN_REPLY__INIT;

    (void)state;
    vm.options = &most;
    become_ready();
    assert_int_equal(vmproc_link_ask_statistics(&vm, 0), 0);
    for (size_t i = 0; i < STATISTICS_MAX; i++)
        value[i] = i % STATISTICS_COLUMNS == STATISTICS_SPIN ? UINT32_MAX : UINT64_MAX;
    say_statistics(value, STATISTICS_MAX);
    hear(VMPROC_STATISTICS);
    vmproc_statistics_answer(&vm, &look, &reply);
    assert_int_equal(reply.statistics->n_value, STATISTICS_MAX);
    assert_true(message_pack(&reply.base, buffer, sizeof buffer) > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_asked_when_it_listens, begin, end),
        cmocka_unit_test_setup_teardown(test_one_question_at_a_time, begin, end),
        cmocka_unit_test_setup_teardown(test_what_the_admin_is_told, begin, end),
        cmocka_unit_test_setup_teardown(test_unasked, begin, end),
        cmocka_unit_test_setup_teardown(test_twice, begin, end),
        cmocka_unit_test_setup_teardown(test_too_many_and_too_few, begin, end),
        cmocka_unit_test_setup_teardown(test_a_bound_beyond_the_limit, begin, end),
        cmocka_unit_test_setup_teardown(test_the_largest_message, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
