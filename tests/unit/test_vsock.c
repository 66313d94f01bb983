/* The socket device: connections both ways, how they end, and what many of them and much of it do. */
#include "tests/unit/vsock_guest.h"

#define BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)
#define MUCH (4U << 20)

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

static void
test_config(void **state)
{
    struct guest *guest = *state;
    struct virtio_vsock_settings settings = { .cid = 2, .listener = -1 };
    struct virtio_vsock *none;

    assert_int_equal(driver_read(guest->driver, VIRTIO_MMIO_CONFIG), GUEST_CID);
    assert_int_equal(driver_read(guest->driver, VIRTIO_MMIO_CONFIG + 4), 0);
    assert_int_equal(virtio_vsock_create(&guest->driver->memory, &settings, &none), -EINVAL);
    settings.cid = UINT32_MAX;
    assert_int_equal(virtio_vsock_create(&guest->driver->memory, &settings, &none), -EINVAL);
}

/* What the client writes behind its line is the guest's; each side ends for itself. */
static void
test_from_host(void **state)
{
    struct guest *guest = *state;
    int client = guest_client(guest, "CONNECT 1234\nhello");
    char line[VSOCK_LINE_MAX + 1] = "";
    struct packet packet;
    uint32_t port;

    guest_receive(guest, &packet);
    assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(packet.header.type, VIRTIO_VSOCK_TYPE_STREAM);
    assert_int_equal(packet.header.dst_port, 1234);
    assert_int_equal(packet.header.buf_alloc, VSOCK_BUFFER_SIZE);
    port = packet.header.src_port;
    assert_true(port >= VSOCK_HOST_PORT_MIN && port <= VSOCK_HOST_PORT_MAX);
    guest_say(guest, 1234, port, VIRTIO_VSOCK_OP_RESPONSE, 0);
    line[vsock_line_answer(line, port)] = '\0';
    guest_expect_text(client, line);
    packet = guest_expect(guest, 1234, port, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(packet.header.len, 5);
    assert_memory_equal(packet.payload, "hello", 5);
    guest_write(guest, 1234, port, "world", 5);
    guest_expect_text(client, "world");
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    packet = guest_expect(guest, 1234, port, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(packet.header.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    guest_write(guest, 1234, port, "still", 5);
    guest_expect_text(client, "still");
    guest_say(guest, 1234, port, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
    guest_expect_end(client);
    guest_expect(guest, 1234, port, VIRTIO_VSOCK_OP_RST);
    close(client);
}

static void
test_from_guest(void **state)
{
    struct guest *guest = *state;
    int host = guest_open(guest, 7);
    struct packet packet;

    assert_int_equal(guest->asked_port, 52);
    guest_write(guest, 7, 52, "from guest", 10);
    guest_expect_text(host, "from guest");
    assert_int_equal(write(host, "from host", 9), 9);
    packet = guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(packet.header.len, 9);
    assert_int_equal(packet.header.fwd_cnt, 10);
    assert_memory_equal(packet.payload, "from host", 9);
    /* The host's program is gone: neither will it send, nor will it read. */
    fd_close(&guest->host[0]);
    packet = guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(packet.header.flags, BOTH);
    guest_say(guest, 7, 52, VIRTIO_VSOCK_OP_RST, 0);
    /* The ports are free. */
    guest_open(guest, 7);
}

static void
test_guest_ends_sending(void **state)
{
    struct guest *guest = *state;
    int host = guest_open(guest, 7);
    struct packet packet;

    guest_write(guest, 7, 52, "last", 4);
    guest_say(guest, 7, 52, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
    guest_expect_text(host, "last");
    guest_expect_end(host);
    assert_int_equal(write(host, "answer", 6), 6);
    packet = guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(packet.payload, "answer", 6);
    /* And after its end, nothing more may come. */
    guest_write(guest, 7, 52, "lie", 3);
    guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_RST);
    guest_expect_end(host);
}

static void
test_guest_ends_receiving(void **state)
{
    struct guest *guest = *state;
    int host = guest_open(guest, 7);

    guest_say(guest, 7, 52, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
    assert_int_equal(send(host, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    guest_write(guest, 7, 52, "goes on", 7);
    guest_expect_text(host, "goes on");
    /* Nobody reads from the host, and yet it shows that its program is gone. */
    fd_close(&guest->host[0]);
    assert_int_equal(guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_SHUTDOWN).header.flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
}

/* What the host wrote before it closed arrives, also when the guest writes meanwhile to nobody. */
static void
test_last_words(void **state)
{
    struct guest *guest = *state;
    int host;
    struct packet packet;

    /* No room in the guest yet. */
    struct virtio_vsock_hdr header = guest_header(7, 52, VIRTIO_VSOCK_OP_REQUEST);

    header.buf_alloc = 0;
    guest_transmit(guest, &header, NULL, 0);
    guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_RESPONSE);
    guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
    host = guest->host[0];
    assert_int_equal(write(host, "last words", 10), 10);
    fd_close(&guest->host[0]);
    header = guest_header(7, 52, VIRTIO_VSOCK_OP_RW);
    header.buf_alloc = 0;
    header.len = 3;
    guest_transmit(guest, &header, "abc", 3);
    assert_int_equal(guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_SHUTDOWN).header.flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
    guest_say(guest, 7, 52, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    packet = guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(packet.header.len, 10);
    assert_memory_equal(packet.payload, "last words", 10);
    assert_int_equal(guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_SHUTDOWN).header.flags, BOTH);
}

static uint8_t
pattern(uint32_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* Megabytes to a guest that has room for a thousand bytes at a time. */
static void
test_much_to_guest(void **state)
{
    struct guest *guest = *state;
    struct virtio_vsock_hdr header = guest_header(7, 52, VIRTIO_VSOCK_OP_REQUEST);
    uint32_t written = 0, got = 0;
    struct packet packet;
    uint8_t bytes[5000];

    header.buf_alloc = 1000;
    guest_transmit(guest, &header, NULL, 0);
    guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_RESPONSE);
    fd_set_nonblocking(guest->host[0], true);
    while (got < MUCH / 4) {
        uint32_t size = MUCH / 4 - written < sizeof bytes ? MUCH / 4 - written : (uint32_t)sizeof bytes;
        ssize_t taken;

        for (uint32_t i = 0; i < size; i++)
            bytes[i] = pattern(written + i);
        taken = size > 0 ? send(guest->host[0], bytes, size, MSG_NOSIGNAL) : 0;
        written += taken > 0 ? (uint32_t)taken : 0;
        guest_receive(guest, &packet);
        if (packet.header.op == VIRTIO_VSOCK_OP_RW) {
            assert_in_range(packet.header.len, 1, 1000);
            for (uint32_t i = 0; i < packet.header.len; i++)
                if (packet.payload[i] != pattern(got + i))
                    assert_int_equal(packet.payload[i], pattern(got + i));
            got += packet.header.len;
        } else
            assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
        header.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
        header.fwd_cnt = got;
        guest_transmit(guest, &header, NULL, 0);
    }
}

/* The guest goes by the credit that it is told; the host reads by fits and starts. */
static void
test_much_to_host(void **state)
{
    struct guest *guest = *state;
    int host = guest_open(guest, 7);
    uint32_t sent = 0, got = 0, taken = 0, room = VSOCK_BUFFER_SIZE;
    uint8_t *bytes = malloc(GUEST_ROOM);
    struct packet packet;

    assert_non_null(bytes);
    fd_set_nonblocking(host, true);
    while (got < MUCH) {
        uint32_t size = room - (sent - taken);
        ssize_t read_now;

        if (size > 0x8000)
            size = 0x8000;
        if (size > MUCH - sent)
            size = MUCH - sent;
        for (uint32_t i = 0; i < size; i++)
            bytes[i] = pattern(sent + i);
        if (size > 0)
            guest_write(guest, 7, 52, bytes, size);
        sent += size;
        /* The host reads nothing until the guest is at the end of its credit. */
        if (size == 0) {
            while ((read_now = read(host, bytes, 30011)) > 0) {
                for (uint32_t i = 0; i < (uint32_t)read_now; i++)
                    if (bytes[i] != pattern(got + i))
                        assert_int_equal(bytes[i], pattern(got + i));
                got += (uint32_t)read_now;
            }
        }
        while (guest_has_packet(guest)) {
            guest_receive(guest, &packet);
            assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            taken = packet.header.fwd_cnt;
            room = packet.header.buf_alloc;
        }
    }
    assert_int_equal(sent, MUCH);
    free(bytes);
}

/* The host does not read: the guest may fill what it was promised, and ends its connection by one byte more. */
static void
test_credit_is_a_limit(void **state)
{
    struct guest *guest = *state;
    int host = guest_open(guest, 7);
    static uint8_t bytes[0x8000];
    uint32_t sent = 0, taken = 0, quiet = 0;
    struct packet packet;

    /* Until no more credit comes, since the socket is full. */
    while (quiet < 10) {
        uint32_t size = VSOCK_BUFFER_SIZE - (sent - taken);

        size = size > sizeof bytes ? (uint32_t)sizeof bytes : size;
        if (size > 0)
            guest_write(guest, 7, 52, bytes, size);
        else
            quiet++, usleep(10000);
        sent += size;
        while (guest_has_packet(guest)) {
            guest_receive(guest, &packet);
            assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            taken = packet.header.fwd_cnt;
        }
    }
    guest_say(guest, 7, 52, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
    assert_int_equal(guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_CREDIT_UPDATE).header.fwd_cnt, taken);
    /* Another connection does not suffer. */
    guest_open(guest, 8);
    guest_write(guest, 8, 52, "other", 5);
    guest_expect_text(guest->host[1], "other");
    guest_write(guest, 7, 52, bytes, 1);
    guest_expect(guest, 7, 52, VIRTIO_VSOCK_OP_RST);
    (void)host;
}

/* What waits for the host is delivered before the connection is over. */
static void
test_guest_closes_early(void **state)
{
    struct guest *guest = *state;
    int host = guest_open(guest, 7);
    static uint8_t bytes[0x8000];
    size_t got = 0;
    ssize_t now;

    for (uint32_t i = 0; i < VSOCK_BUFFER_SIZE / sizeof bytes; i++)
        guest_write(guest, 7, 52, bytes, sizeof bytes);
    guest_say(guest, 7, 52, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
    while ((now = read(host, bytes, sizeof bytes)) > 0)
        got += (size_t)now;
    assert_int_equal(got, VSOCK_BUFFER_SIZE);
    for (;;) {
        struct packet packet;

        guest_receive(guest, &packet);
        if (packet.header.op == VIRTIO_VSOCK_OP_RST)
            break;
        assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    }
}

/* As many as there may be, each with its own bytes; one more is refused; a device that begins anew knows none of them. */
static void
test_many(void **state)
{
    struct guest *guest = *state;
    struct packet packet;
    char text[16];

    for (uint32_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++)
        guest_open(guest, 1000 + i);
    guest_say(guest, 5000, 52, VIRTIO_VSOCK_OP_REQUEST, 0);
    guest_expect(guest, 5000, 52, VIRTIO_VSOCK_OP_RST);
    for (uint32_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++) {
        snprintf(text, sizeof text, "to %03u", i);
        guest_write(guest, 1000 + i, 52, text, 6);
        assert_int_equal(write(guest->host[i], text, 6), 6);
    }
    for (uint32_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++) {
        guest_receive(guest, &packet);
        assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RW);
        assert_int_equal(packet.header.len, 6);
        snprintf(text, sizeof text, "to %03u", packet.header.dst_port - 1000);
        assert_memory_equal(packet.payload, text, 6);
        snprintf(text, sizeof text, "to %03u", i);
        guest_expect_text(guest->host[i], text);
    }
    guest_start(guest);
    guest_offer_all(guest);
    for (uint32_t i = 0; i < VSOCK_CONNECTIONS_MAX; i++)
        guest_expect_end(guest->host[i]);
    guest_open(guest, 1000);
}

/* One that always has something does not keep others from their turn. */
static void
test_fairness(void **state)
{
    struct guest *guest = *state;
    int busy = guest_open(guest, 7), other = guest_open(guest, 8);
    static uint8_t bytes[100000];
    struct packet packet;
    unsigned before = 0;

    fd_set_nonblocking(busy, true);
    assert_true(write(busy, bytes, sizeof bytes) > 50000);
    guest_receive(guest, &packet);
    assert_int_equal(write(other, "me too", 6), 6);
    do {
        guest_receive(guest, &packet);
        before++;
        assert_true(before <= DRIVER_QUEUE_SIZE + 2);
    } while (packet.header.dst_port != 8);
}

#define VSOCK_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        VSOCK_TEST(test_config),
        VSOCK_TEST(test_from_host),
        VSOCK_TEST(test_from_guest),
        VSOCK_TEST(test_guest_ends_sending),
        VSOCK_TEST(test_guest_ends_receiving),
        VSOCK_TEST(test_last_words),
        VSOCK_TEST(test_much_to_guest),
        VSOCK_TEST(test_much_to_host),
        VSOCK_TEST(test_credit_is_a_limit),
        VSOCK_TEST(test_guest_closes_early),
        VSOCK_TEST(test_many),
        VSOCK_TEST(test_fairness),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
