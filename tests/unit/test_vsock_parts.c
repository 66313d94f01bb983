/* What a vsock device is made of: the arithmetic of credit, the buffer, the lines of clients, and the questions to who makes sockets. */
#include "plugin/microvm/vsock_broker.h"
#include "plugin/microvm/vsock_buffer.h"
#include "plugin/microvm/vsock_credit.h"
#include "plugin/microvm/vsock_line.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
test_credit_of_guest(void **state)
{
    /* Close to where the counters wrap. */
    struct vsock_credit credit = { .sent = UINT32_MAX - 10, .taken = UINT32_MAX - 10 };

    (void)state;
    assert_int_equal(vsock_credit_left(&credit), 0);
    assert_true(vsock_credit_learn(&credit, 100, UINT32_MAX - 10));
    assert_int_equal(vsock_credit_left(&credit), 100);
    vsock_credit_send(&credit, 60);
    assert_int_equal(vsock_credit_left(&credit), 40);
    assert_true(vsock_credit_learn(&credit, 100, 9));
    assert_int_equal(vsock_credit_left(&credit), 60);
    /* An older packet that was overtaken. */
    assert_true(vsock_credit_learn(&credit, 100, UINT32_MAX - 5));
    assert_int_equal(vsock_credit_left(&credit), 60);
    /* More than was sent. */
    assert_false(vsock_credit_learn(&credit, 100, 50));
    assert_true(vsock_credit_learn(&credit, 100, 49));
    assert_int_equal(vsock_credit_left(&credit), 100);
    /* A buffer that became smaller than what is in it. */
    vsock_credit_send(&credit, 100);
    assert_true(vsock_credit_learn(&credit, 10, 49));
    assert_int_equal(vsock_credit_left(&credit), 0);
    assert_true(vsock_credit_learn(&credit, UINT32_MAX, 49));
    assert_int_equal(vsock_credit_left(&credit), UINT32_MAX - 100);
}

static void
test_credit_of_ours(void **state)
{
    struct vsock_credit credit = { .received = UINT32_MAX, .forwarded = UINT32_MAX, .told = UINT32_MAX };
    struct virtio_vsock_hdr header = { 0 };

    (void)state;
    assert_false(vsock_credit_receive(&credit, VSOCK_BUFFER_SIZE + 1));
    assert_true(vsock_credit_receive(&credit, VSOCK_BUFFER_SIZE - 1));
    assert_true(vsock_credit_receive(&credit, 1));
    assert_false(vsock_credit_receive(&credit, 1));
    assert_false(vsock_credit_is_due(&credit));
    vsock_credit_forward(&credit, VSOCK_BUFFER_SIZE / 4);
    assert_true(vsock_credit_is_due(&credit));
    /* There is room, but the guest was not told. */
    assert_false(vsock_credit_receive(&credit, 1));
    vsock_credit_tell(&credit, &header);
    assert_int_equal(header.buf_alloc, VSOCK_BUFFER_SIZE);
    assert_int_equal(header.fwd_cnt, VSOCK_BUFFER_SIZE / 4 - 1);
    assert_false(vsock_credit_is_due(&credit));
    assert_true(vsock_credit_receive(&credit, VSOCK_BUFFER_SIZE / 4));
    assert_false(vsock_credit_receive(&credit, 1));
}

/* Bytes go in and out in pieces of other sizes, round and round, and stay what they are. */
static void
test_buffer(void **state)
{
    struct vsock_buffer buffer = { 0 };
    struct iovec look[2];
    uint8_t out = 0, in = 0;
    size_t total = 0;

    (void)state;
    for (size_t step = 1; total < 8 * VSOCK_BUFFER_SIZE; step = step * 7 % 20011) {
        uint8_t *bytes = malloc(step);
        struct iovec part[2] = { { bytes, step / 2 }, { bytes + step / 2, step - step / 2 } };

        assert_non_null(bytes);
        for (size_t i = 0; i < step; i++)
            bytes[i] = (uint8_t)(in + i);
        if (vsock_buffer_append(&buffer, part, 2) == 0) {
            in = (uint8_t)(in + step);
            total += step;
        } else {
            size_t count = vsock_buffer_look(&buffer, look), size = look[0].iov_len + (count == 2 ? look[1].iov_len : 0);

            assert_int_equal(size, buffer.size);
            assert_true(size + step > VSOCK_BUFFER_SIZE);
            size = size / 3 + 1;
            for (size_t i = 0; i < size; i++, out++)
                assert_int_equal(i < look[0].iov_len ? ((uint8_t *)look[0].iov_base)[i]
                                                     : ((uint8_t *)look[1].iov_base)[i - look[0].iov_len],
                                 out);
            vsock_buffer_consume(&buffer, size);
        }
        free(bytes);
    }
    vsock_buffer_consume(&buffer, buffer.size);
    assert_null(buffer.bytes);
    assert_int_equal(vsock_buffer_look(&buffer, look), 0);
}

static bool
parse(const char *line, uint32_t *port)
{
    return vsock_line_parse(line, strlen(line), port);
}

static void
test_line(void **state)
{
    static const char *const wrong[] = {
        "CONNECT \n",     "CONNECT\n",    "CONNECT 1",  "connect 1\n",          "CONNECT -1\n",           "CONNECT  1\n",
        "CONNECT 1 \n",   "CONNECT 1\r\n", "CONNECT x\n", "CONNECT 4294967295\n", "CONNECT 4294967296\n", "\n", "",
        "CONNECT 0000000000000000000000000000000000001\n",
    };
    char line[VSOCK_LINE_MAX];
    uint32_t port;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(parse(wrong[i], &port));
    assert_true(parse("CONNECT 0\n", &port));
    assert_int_equal(port, 0);
    assert_true(parse("CONNECT 4294967294\n", &port));
    assert_int_equal(port, UINT32_MAX - 1);
    assert_int_equal(vsock_line_answer(line, UINT32_MAX), strlen("OK 4294967295\n"));
    assert_memory_equal(line, "OK 4294967295\n", strlen("OK 4294967295\n"));
}

static int
ask(void *context, uint32_t port, uint64_t token)
{
    (void)context, (void)token;
    return port == 1 ? -EPERM : 0;
}

/* So many are asked for and no more; who was not asked cannot answer; what is not fetched is closed. */
static void
test_broker(void **state)
{
    struct vsock_answer answer[VSOCK_BROKERED_MAX];
    struct vsock_broker broker;
    int pair[2];

    (void)state;
    assert_int_equal(vsock_broker_init(&broker, NULL, NULL), 0);
    assert_int_equal(vsock_broker_ask(&broker, 5, 1), -ECONNREFUSED);
    vsock_broker_destroy(&broker);
    assert_int_equal(vsock_broker_init(&broker, ask, NULL), 0);
    assert_int_equal(vsock_broker_ask(&broker, 1, 1), -EPERM);
    for (uint64_t i = 0; i < VSOCK_BROKERED_MAX; i++)
        assert_int_equal(vsock_broker_ask(&broker, 5, i), 0);
    assert_int_equal(vsock_broker_ask(&broker, 5, 99), -EAGAIN);
    vsock_broker_answer(&broker, 3, -ENOENT);
    vsock_broker_answer(&broker, 2, -EACCES);
    assert_int_equal(vsock_broker_ask(&broker, 5, 99), -EAGAIN);
    assert_int_equal(vsock_broker_take(&broker, answer), 2);
    assert_int_equal(answer[1].token, 2);
    assert_int_equal(answer[1].result, -EACCES);
    assert_int_equal(vsock_broker_take(&broker, answer), 0);
    assert_int_equal(vsock_broker_ask(&broker, 5, 99), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    vsock_broker_answer(&broker, 99, pair[0]);
    vsock_broker_destroy(&broker);
    assert_int_equal(fcntl(pair[0], F_GETFD), -1);
    close(pair[1]);
    assert_int_equal(vsock_broker_init(&broker, ask, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    vsock_broker_answer(&broker, 1, pair[0]);
    assert_int_equal(fcntl(pair[0], F_GETFD), -1);
    assert_int_equal(vsock_broker_take(&broker, answer), 0);
    vsock_broker_destroy(&broker);
    close(pair[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credit_of_guest), cmocka_unit_test(test_credit_of_ours), cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_line),            cmocka_unit_test(test_broker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
