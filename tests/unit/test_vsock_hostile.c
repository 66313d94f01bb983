/* The socket device among those who keep to no rules: guests that lie, clients that leave or dawdle, sockets that nobody makes. */
#include "tests/unit/vsock_guest.h"

static int
set_up(void **state)
{
    struct guest *guest = guest_make();

    guest_start(guest);
    guest_offer_all(guest);
    *state = guest;
    return 0;
}

static int
tear_down(void **state)
{
    guest_free(*state);
    return 0;
}

/* Nothing comes. */
static void
expect_silence(struct guest *guest)
{
    usleep(20000);
    assert_false(guest_has_packet(guest));
}

static void
expect_reset(struct guest *guest, struct virtio_vsock_hdr header, uint32_t size)
{
    guest_transmit(guest, &header, "payload", size);
    guest_expect(guest, header.src_port, header.dst_port, VIRTIO_VSOCK_OP_RST);
}

/* Packets that nobody has anything to do with are dropped or refused, and RST is never answered. */
static void
test_nobodys(void **state)
{
    struct guest *guest = *state;
    struct virtio_vsock_hdr header = guest_header(7, 52, VIRTIO_VSOCK_OP_REQUEST);
    struct packet packet;

    header.dst_cid = 3;
    guest_transmit(guest, &header, NULL, 0);
    header.dst_cid = GUEST_HOST_CID | 1ULL << 32;
    guest_transmit(guest, &header, NULL, 0);
    header.dst_cid = GUEST_HOST_CID;
    header.src_cid = GUEST_CID + 1;
    guest_transmit(guest, &header, NULL, 0);
    guest_say(guest, 7, 52, VIRTIO_VSOCK_OP_RST, 0);
    expect_silence(guest);
    for (uint16_t operation = 0; operation < 10; operation++) {
        if (operation != VIRTIO_VSOCK_OP_REQUEST && operation != VIRTIO_VSOCK_OP_RST)
            expect_reset(guest, guest_header(7, 52, operation), 0);
    }
    header = guest_header(7, 52, VIRTIO_VSOCK_OP_REQUEST);
    header.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
    guest_transmit(guest, &header, NULL, 0);
    packet = guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(packet.header.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
    header.op = VIRTIO_VSOCK_OP_RST;
    guest_transmit(guest, &header, NULL, 0);
    expect_silence(guest);
    assert_int_equal(guest->asked, 0);
}

/* Each lie costs the connection it is about, on both sides. */
static void
test_lies(void **state)
{
    struct guest *guest = *state;
    struct virtio_vsock_hdr lie[] = {
        guest_header(0, 52, VIRTIO_VSOCK_OP_INVALID),
        guest_header(0, 52, VIRTIO_VSOCK_OP_REQUEST),
        guest_header(0, 52, VIRTIO_VSOCK_OP_RESPONSE),
        guest_header(0, 52, 8),
        guest_header(0, 52, UINT16_MAX),
        guest_header(0, 52, VIRTIO_VSOCK_OP_RW),
        guest_header(0, 52, VIRTIO_VSOCK_OP_RW),
        guest_header(0, 52, VIRTIO_VSOCK_OP_CREDIT_UPDATE),
    };

    lie[5].len = 8;
    lie[6].len = UINT32_MAX;
    lie[7].fwd_cnt = 1;
    for (uint32_t i = 0; i < sizeof lie / sizeof lie[0]; i++) {
        int host = guest_open(guest, i);

        lie[i].src_port = i;
        expect_reset(guest, lie[i], 7);
        guest_expect_end(host);
        /* It is gone: what comes after it is nobody's. */
        expect_reset(guest, guest_header(i, 52, VIRTIO_VSOCK_OP_CREDIT_UPDATE), 0);
    }
    /* A request that has read what was never sent. */
    lie[1].src_port = 100;
    lie[1].fwd_cnt = 1;
    expect_reset(guest, lie[1], 0);
    /* A payload that is longer than it says, and one of nothing, are none. */
    guest_open(guest, 200);
    guest_write(guest, 200, 52, "", 0);
    lie[5].src_port = 200;
    lie[5].len = 3;
    guest_transmit(guest, &lie[5], "payload", 7);
    guest_expect_text(guest->host[guest->made - 1], "pay");
    expect_silence(guest);
}

/* RST for so many packets waits; then no more packets are taken until the guest fetches some. */
static void
test_refusals_are_bounded(void **state)
{
    struct guest *guest = *state;
    struct driver *driver = guest->driver;
    struct virtio_vsock_hdr header = guest_header(7, 52, VIRTIO_VSOCK_OP_RW);

    guest_start(guest);
    for (uint32_t i = 0; i < 64; i++) {
        header.src_port = i;
        guest_transmit(guest, &header, NULL, 0);
    }
    header.src_port = 64;
    guest_transmit_raw(guest, &header, NULL, 0);
    usleep(50000);
    assert_int_equal(driver_used(driver, VIRTIO_VSOCK_TRANSMIT), 64);
    guest_offer_all(guest);
    for (uint32_t i = 0; i <= 64; i++)
        guest_expect(guest, i, 52, VIRTIO_VSOCK_OP_RST);
    driver_wait_used(driver, VIRTIO_VSOCK_TRANSMIT, 65);
}

/* A packet shorter than its header, one that the device would have to write, and buffers with no room or not to be written. */
static void
test_broken_queues(void **state)
{
    struct guest *guest = *state;
    struct driver *driver = guest->driver;
    const struct {
        unsigned queue;
        struct vring_desc descriptor;
    } wrong[] = {
        { VIRTIO_VSOCK_TRANSMIT, { GUEST_TRANSMIT, VSOCK_HEADER_SIZE - 1, 0, 0 } },
        { VIRTIO_VSOCK_TRANSMIT, { GUEST_TRANSMIT, 4096, VRING_DESC_F_WRITE, 0 } },
        { VIRTIO_VSOCK_RECEIVE, { GUEST_RECEIVE, VSOCK_HEADER_SIZE, VRING_DESC_F_WRITE, 0 } },
        { VIRTIO_VSOCK_RECEIVE, { GUEST_RECEIVE, 4096, 0, 0 } },
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        guest_start(guest);
        /* There is something to say. */
        guest_say(guest, 7, 52, VIRTIO_VSOCK_OP_REQUEST, 0);
        driver_describe(driver, wrong[i].queue, 1, wrong[i].descriptor);
        driver_offer(driver, wrong[i].queue, 1);
        driver_ring(driver, wrong[i].queue);
        while ((driver_read(driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) == 0)
            driver_wait(driver);
    }
    guest_start(guest);
    guest_offer_all(guest);
    guest_open(guest, 9);
}

static void
test_clients_that_say_nothing_good(void **state)
{
    static const char *const wrong[] = { "CONNECT\n", "HELLO 1\n", "CONNECT 4294967295\n",
                                         "CONNECT 11111111111111111111111111111111111111111111\n" };
    struct guest *guest = *state;
    int client, host;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        client = guest_client(guest, wrong[i]);
        guest_expect_end(client);
        close(client);
    }
    /* One that leaves, one that never ends its line. */
    close(guest_client(guest, "CONN"));
    client = guest_client(guest, "CONNECT 1");
    guest_expect_end(client);
    close(client);
    assert_false(guest_has_packet(guest));
    host = guest_open(guest, 7);
    guest_write(guest, 7, 52, "works", 5);
    guest_expect_text(host, "works");
}

/* A line may come in pieces. */
static void
test_slow_line(void **state)
{
    struct guest *guest = *state;
    const char *rest = "ECT 77\n";
    int client = guest_client(guest, "CONN");
    struct packet packet;

    for (; *rest != '\0'; rest++) {
        usleep(1000);
        assert_int_equal(write(client, rest, 1), 1);
    }
    guest_receive(guest, &packet);
    assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(packet.header.dst_port, 77);
    /* The guest does not want it. */
    guest_say(guest, 77, packet.header.src_port, VIRTIO_VSOCK_OP_RST, 0);
    guest_expect_end(client);
    expect_silence(guest);
    close(client);
}

/* The guest does not answer in time, or the client goes before it does: it hears, and is too late. */
static void
test_unanswered(void **state)
{
    struct guest *guest = *state;

    for (unsigned i = 0; i < 2; i++) {
        int client = guest_client(guest, "CONNECT 77\n");
        struct packet packet;
        uint32_t port;

        guest_receive(guest, &packet);
        port = packet.header.src_port;
        if (i == 0)
            guest_expect_end(client);
        close(client);
        guest_expect(guest, 77, port, VIRTIO_VSOCK_OP_RST);
        expect_reset(guest, guest_header(77, port, VIRTIO_VSOCK_OP_RESPONSE), 0);
    }
    /* An answer with a lie in it is none, and data before it are a lie. */
    for (unsigned i = 0; i < 2; i++) {
        int client = guest_client(guest, "CONNECT 77\n");
        struct virtio_vsock_hdr header;
        struct packet packet;

        guest_receive(guest, &packet);
        header = guest_header(77, packet.header.src_port, i == 0 ? VIRTIO_VSOCK_OP_RESPONSE : VIRTIO_VSOCK_OP_RW);
        header.fwd_cnt = i == 0 ? 5 : 0;
        expect_reset(guest, header, 0);
        guest_expect_end(client);
        close(client);
    }
}

/* There are so many callers at a time; the next are waited for in the kernel, and have their turn when the others lose it. */
static void
test_callers_are_bounded(void **state)
{
    struct guest *guest = *state;
    int client[VSOCK_CALLERS_MAX + 5];
    struct packet packet;
    unsigned requests = 0;

    for (size_t i = 0; i < sizeof client / sizeof client[0]; i++)
        client[i] = guest_client(guest, i < VSOCK_CALLERS_MAX ? "" : "CONNECT 77\n");
    expect_silence(guest);
    while (requests < 5) {
        guest_receive(guest, &packet);
        assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_REQUEST);
        guest_say(guest, 77, packet.header.src_port, VIRTIO_VSOCK_OP_RESPONSE, 0);
        requests++;
    }
    for (size_t i = 0; i < sizeof client / sizeof client[0]; i++) {
        if (i < VSOCK_CALLERS_MAX)
            guest_expect_end(client[i]);
        else
            guest_expect_text(client[i], "OK ");
        close(client[i]);
    }
}

/* Nobody makes the connection, at once or later; the guest gives up before; too many are asked for. */
static void
test_brokers(void **state)
{
    struct guest *guest = *state;
    int pair[2];

    guest->refusal = -ECONNREFUSED;
    expect_reset(guest, guest_header(7, 52, VIRTIO_VSOCK_OP_REQUEST), 0);
    guest->later = true;
    guest_say(guest, 7, 53, VIRTIO_VSOCK_OP_REQUEST, 0);
    assert_int_equal(guest->asked_port, 53);
    virtio_vsock_answer(guest->vsock, guest->token, -ENOENT);
    guest_expect(guest, 7, 53, VIRTIO_VSOCK_OP_RST);
    guest_say(guest, 7, 54, VIRTIO_VSOCK_OP_REQUEST, 0);
    guest_say(guest, 7, 54, VIRTIO_VSOCK_OP_RST, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    virtio_vsock_answer(guest->vsock, guest->token, pair[0]);
    guest_expect_end(pair[1]);
    close(pair[1]);
    expect_silence(guest);
    /* Data before the answer. */
    guest_say(guest, 7, 55, VIRTIO_VSOCK_OP_REQUEST, 0);
    expect_reset(guest, guest_header(7, 55, VIRTIO_VSOCK_OP_RW), 0);
    virtio_vsock_answer(guest->vsock, guest->token, -ENOENT);
    expect_silence(guest);
    for (uint32_t i = 0; i < VSOCK_BROKERED_MAX; i++)
        guest_say(guest, i, 56, VIRTIO_VSOCK_OP_REQUEST, 0);
    expect_reset(guest, guest_header(100, 56, VIRTIO_VSOCK_OP_REQUEST), 0);
    /* Those answers never come. */
    guest_start(guest);
    guest_offer_all(guest);
    expect_silence(guest);
}

#define VSOCK_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        VSOCK_TEST(test_nobodys),
        VSOCK_TEST(test_lies),
        VSOCK_TEST(test_refusals_are_bounded),
        VSOCK_TEST(test_broken_queues),
        VSOCK_TEST(test_clients_that_say_nothing_good),
        VSOCK_TEST(test_slow_line),
        VSOCK_TEST(test_unanswered),
        VSOCK_TEST(test_callers_are_bounded),
        VSOCK_TEST(test_brokers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
