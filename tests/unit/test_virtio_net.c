/* The network card: frames both ways over a pair of sockets in the TAP's place, merged buffers, and headers that lie. */
#include "plugin/microvm/virtio_net.h"
#include "tests/unit/virtio_driver.h"

#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define HEADER ((uint32_t)sizeof(struct virtio_net_hdr_v1))
#define SENT DRIVER_BUFFERS
#define RECEIVED (DRIVER_BUFFERS + 0x4000)
#define NO_MERGE VIRTIO_FEATURE(VIRTIO_F_VERSION_1)

static struct virtio_net *net;
static int tap = -1, host = -1;

static int
set_up_limited(void **state, struct rate_limit_settings limit)
{
    struct driver *driver = driver_make();
    struct virtio_net_settings settings = { .pairs = 1, .mac = { 2, 1, 2, 3, 4, 5 }, .limit = limit };
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    settings.tap[0] = tap = pair[0];
    host = pair[1];
    assert_int_equal(virtio_net_create(&driver->memory, &settings, &net), 0);
    driver_connect(driver, virtio_net_device(net));
    *state = driver;
    return 0;
}

static int
set_up(void **state)
{
    return set_up_limited(state, (struct rate_limit_settings){ .bandwidth = { 0, 0 } });
}

static struct driver *late_driver;

static int
tear_down(void **state)
{
    driver_free(*state);
    late_driver = NULL;
    virtio_net_destroy(net);
    fd_close(&tap);
    fd_close(&host);
    return 0;
}

static void
offer_buffer(struct driver *driver, uint16_t index, uint32_t size)
{
    driver_describe(driver, VIRTIO_NET_RECEIVE, index, (struct vring_desc){ RECEIVED + index * 0x1000ULL, size, WRITE, 0 });
    driver_offer(driver, VIRTIO_NET_RECEIVE, index);
    driver_ring(driver, VIRTIO_NET_RECEIVE);
}

static void
send_from_host(uint8_t fill, size_t size)
{
    uint8_t frame[4096];

    memset(frame, fill, size);
    assert_int_equal(send(host, frame, size, 0), size);
}

static void
send_from_guest(struct driver *driver, struct virtio_net_hdr_v1 header, uint32_t size)
{
    uint16_t before = driver_used(driver, VIRTIO_NET_TRANSMIT);

    memcpy(driver_at(driver, SENT), &header, sizeof header);
    memset(driver_at(driver, SENT + HEADER), 9, size);
    driver_describe(driver, VIRTIO_NET_TRANSMIT, 0, (struct vring_desc){ SENT, HEADER + size, 0, 0 });
    driver_offer(driver, VIRTIO_NET_TRANSMIT, 0);
    driver_ring(driver, VIRTIO_NET_TRANSMIT);
    while (driver_used(driver, VIRTIO_NET_TRANSMIT) == before)
        ;
}

static void
test_config(void **state)
{
    struct driver *driver = *state;
    struct virtio_net_config config;

    virtio_mmio_operations.read(driver->mmio, VIRTIO_MMIO_CONFIG, (uint8_t *)&config, sizeof config);
    assert_memory_equal(config.mac, ((uint8_t[]){ 2, 1, 2, 3, 4, 5 }), ETH_ALEN);
    assert_int_equal(config.status, VIRTIO_NET_S_LINK_UP);
    /* A TAP without a vnet header can do no offload. */
    assert_int_equal(driver->device->offered & ~VIRTIO_CORE_FEATURES, VIRTIO_FEATURE(VIRTIO_NET_F_MAC) |
                                                                          VIRTIO_FEATURE(VIRTIO_NET_F_STATUS) |
                                                                          VIRTIO_FEATURE(VIRTIO_NET_F_MRG_RXBUF));
}

static void
test_transmit(void **state)
{
    struct driver *driver = *state;
    uint8_t frame[4096];

    driver_set_up(driver, driver->device->offered);
    send_from_guest(driver, (struct virtio_net_hdr_v1){ 0 }, 60);
    assert_int_equal(recv(host, frame, sizeof frame, 0), 60);
    assert_int_equal(frame[59], 9);
}

/* Lies, and what no offload was accepted for, are dropped; the next frame goes. */
static void
test_forged(void **state)
{
    static const struct virtio_net_hdr_v1 forged[] = {
        { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM },
        { .flags = 0xfe },
        { .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 100 },
        { .hdr_len = 1000 },
    };
    struct driver *driver = *state;
    uint8_t frame[4096];

    driver_set_up(driver, driver->device->offered);
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        send_from_guest(driver, forged[i], 60);
        assert_int_equal(recv(host, frame, sizeof frame, 0), -1);
    }
    send_from_guest(driver, (struct virtio_net_hdr_v1){ 0 }, ETH_HLEN - 1);
    assert_int_equal(recv(host, frame, sizeof frame, 0), -1);
    send_from_guest(driver, (struct virtio_net_hdr_v1){ 0 }, ETH_HLEN);
    assert_int_equal(recv(host, frame, sizeof frame, 0), ETH_HLEN);
}

static void
test_header_check(void **state)
{
    uint64_t all = VIRTIO_FEATURE(VIRTIO_NET_F_CSUM) | VIRTIO_FEATURE(VIRTIO_NET_F_HOST_TSO4);
    struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };

    assert_true(virtio_net_header_is_good(&header, 52, all));
    assert_false(virtio_net_header_is_good(&header, 51, all));
    assert_false(virtio_net_header_is_good(&header, 52, 0));
    header.csum_start = header.csum_offset = UINT16_MAX;
    assert_false(virtio_net_header_is_good(&header, 1500, all));
    header = (struct virtio_net_hdr_v1){ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1448 };
    assert_true(virtio_net_header_is_good(&header, 3000, all));
    assert_false(virtio_net_header_is_good(&header, 3000, VIRTIO_FEATURE(VIRTIO_NET_F_CSUM)));
    header.gso_size = 0;
    assert_false(virtio_net_header_is_good(&header, 3000, all));
    header.gso_size = 1448;
    header.flags = 0;
    assert_false(virtio_net_header_is_good(&header, 3000, all));
    header.flags = 1;
    header.gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
    assert_false(virtio_net_header_is_good(&header, 3000, all));
    header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN;
    assert_false(virtio_net_header_is_good(&header, 3000, all));
    (void)*state;
}

static void
test_receive(void **state)
{
    struct driver *driver = *state;
    struct virtio_net_hdr_v1 header;

    driver_set_up(driver, driver->device->offered);
    offer_buffer(driver, 0, 2000);
    send_from_host(7, 1000);
    driver_wait_used(driver, VIRTIO_NET_RECEIVE, 1);
    assert_int_equal(driver_used_at(driver, VIRTIO_NET_RECEIVE, 0).len, HEADER + 1000);
    memcpy(&header, driver_at(driver, RECEIVED), sizeof header);
    assert_int_equal(header.num_buffers, 1);
    assert_int_equal(header.flags, 0);
    assert_int_equal(*(uint8_t *)driver_at(driver, RECEIVED + HEADER + 999), 7);
}

/* Three buffers for one frame; it waits until the last of them is there, and the device asks to hear of it. */
static void
test_merged(void **state)
{
    struct driver *driver = *state;
    const uint16_t *num_buffers = driver_at(driver, RECEIVED + 10);
    const uint16_t *event = driver_at(driver, driver_queue(0) + 0x804 + DRIVER_QUEUE_SIZE * sizeof(struct vring_used_elem));

    driver_set_up(driver, driver->device->offered);
    offer_buffer(driver, 0, HEADER);
    offer_buffer(driver, 1, 600);
    send_from_host(7, 1000);
    while (__atomic_load_n(event, __ATOMIC_ACQUIRE) != 2)
        ;
    assert_int_equal(driver_used(driver, VIRTIO_NET_RECEIVE), 0);
    offer_buffer(driver, 2, 600);
    driver_wait_used(driver, VIRTIO_NET_RECEIVE, 3);
    assert_int_equal(*num_buffers, 3);
    assert_int_equal(driver_used_at(driver, VIRTIO_NET_RECEIVE, 0).len, HEADER);
    assert_int_equal(driver_used_at(driver, VIRTIO_NET_RECEIVE, 1).len, 600);
    assert_int_equal(driver_used_at(driver, VIRTIO_NET_RECEIVE, 2).len, 400);
}

/* How often the device asked to be told of buffers to receive in; the second time one comes just before, after it found none. */
static _Atomic unsigned asked;

int __real_queue_enable_notify(struct queue *queue, uint16_t known);
int __wrap_queue_enable_notify(struct queue *queue, uint16_t known);

int
__wrap_queue_enable_notify(struct queue *queue, uint16_t known)
{
    bool receives = late_driver != NULL && queue == &late_driver->device->queue[VIRTIO_NET_RECEIVE];
    int result;

    if (receives && asked == 1)
        driver_offer(late_driver, VIRTIO_NET_RECEIVE, DRIVER_QUEUE_SIZE - 1);
    result = __real_queue_enable_notify(queue, known);
    asked += receives;
    return result;
}

/* That it comes in the last moment of the device's turn is no matter: the driver need not tell of it (2.7.7), and the frame comes. */
static void
test_late_buffer(void **state)
{
    struct driver *driver = *state;

    asked = 0;
    late_driver = driver;
    driver_set_up(driver, driver->device->offered & ~VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
    for (uint16_t i = 0; i < DRIVER_QUEUE_SIZE; i++)
        driver_describe(driver, VIRTIO_NET_RECEIVE, i, (struct vring_desc){ RECEIVED + i * 0x1000ULL, 200, WRITE, 0 });
    send_from_host(1, 100);
    while (asked == 0)
        ;
    for (uint8_t i = 1; i < DRIVER_QUEUE_SIZE; i++)
        send_from_host((uint8_t)(i + 1), 100);
    for (uint16_t i = 0; i < DRIVER_QUEUE_SIZE - 1; i++)
        driver_offer(driver, VIRTIO_NET_RECEIVE, i);
    driver_ring(driver, VIRTIO_NET_RECEIVE);
    driver_wait_used(driver, VIRTIO_NET_RECEIVE, DRIVER_QUEUE_SIZE);
    assert_int_equal(*(uint8_t *)driver_at(driver, RECEIVED + (DRIVER_QUEUE_SIZE - 1) * 0x1000 + HEADER), DRIVER_QUEUE_SIZE);
    assert_int_equal(asked, 2);
}

/* Without merging, a frame that does not fit is lost, and its buffer serves the next. */
static void
test_too_large(void **state)
{
    struct driver *driver = *state;

    driver_set_up(driver, NO_MERGE);
    offer_buffer(driver, 0, 100);
    send_from_host(7, 1000);
    send_from_host(8, 80);
    driver_wait_used(driver, VIRTIO_NET_RECEIVE, 1);
    assert_int_equal(driver_used_at(driver, VIRTIO_NET_RECEIVE, 0).len, HEADER + 80);
    assert_int_equal(*(uint8_t *)driver_at(driver, RECEIVED + HEADER), 8);
}

static void
test_broken(void **state)
{
    struct driver *driver = *state;

    /* A buffer too small for a header. */
    driver_set_up(driver, driver->device->offered);
    offer_buffer(driver, 0, HEADER - 1);
    send_from_host(7, 100);
    driver_expect_broken(driver);
    /* One that the device would write, for a frame that is sent. */
    driver_set_up(driver, driver->device->offered);
    driver_describe(driver, VIRTIO_NET_TRANSMIT, 0, (struct vring_desc){ SENT, 100, WRITE, 0 });
    driver_offer(driver, VIRTIO_NET_TRANSMIT, 0);
    driver_ring(driver, VIRTIO_NET_TRANSMIT);
    driver_expect_broken(driver);
    test_receive(state);
}

/* The TAP's queues are pairs of sockets: what is asked of them is kept, and taken. */
static short queue_asked[VIRTIO_NET_PAIRS_MAX];
static int more_tap = -1, more_host = -1;

int
ioctl(int fd, unsigned long what, ...)
{
    va_list arguments;
    const struct ifreq *about;

    va_start(arguments, what);
    about = va_arg(arguments, const struct ifreq *);
    va_end(arguments);
    assert_int_equal(what, TUNSETQUEUE);
    queue_asked[fd == more_tap ? 1 : 0] = about->ifr_flags;
    return 0;
}

static int
set_up_pairs(void **state)
{
    struct driver *driver = driver_make();
    struct virtio_net_settings settings = { .pairs = 2, .mac = { 2 } };
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    settings.tap[0] = tap = pair[0];
    host = pair[1];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    settings.tap[1] = more_tap = pair[0];
    more_host = pair[1];
    memset(queue_asked, 0, sizeof queue_asked);
    assert_int_equal(virtio_net_create(&driver->memory, &settings, &net), 0);
    driver_connect(driver, virtio_net_device(net));
    *state = driver;
    return 0;
}

static int
tear_down_pairs(void **state)
{
    tear_down(state);
    fd_close(&more_tap);
    fd_close(&more_host);
    return 0;
}

static uint8_t
command(struct driver *driver, unsigned queue, uint8_t class, uint8_t number, uint16_t value, uint32_t size)
{
    uint16_t before = driver_used(driver, queue);
    uint8_t *at = driver_at(driver, SENT);

    at[0] = class;
    at[1] = number;
    memcpy(at + 2, &value, sizeof value);
    at[8] = 0xee;
    driver_describe(driver, queue, 0, (struct vring_desc){ SENT, 2 + size, NEXT, 1 });
    driver_describe(driver, queue, 1, (struct vring_desc){ SENT + 8, 1, WRITE, 0 });
    driver_offer(driver, queue, 0);
    driver_ring(driver, queue);
    while (driver_used(driver, queue) == before)
        ;
    assert_int_equal(driver_used_at(driver, queue, before).len, 1);
    return at[8];
}

/* A second pair is out of use, and so is its queue of the TAP, until the driver wants it; then frames go and come there. */
static void
test_pairs(void **state)
{
    struct driver *driver = *state;
    uint8_t frame[100] = { 3 };

    assert_int_equal(driver->device->queue_count, 5);
    driver_set_up(driver, driver->device->offered & ~VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
    assert_int_equal(queue_asked[1], IFF_DETACH_QUEUE);
    driver_describe(driver, 2, 0, (struct vring_desc){ RECEIVED, 200, WRITE, 0 });
    driver_offer(driver, 2, 0);
    driver_ring(driver, 2);
    assert_int_equal(send(more_host, frame, sizeof frame, 0), sizeof frame);
    assert_int_equal(command(driver, 4, VIRTIO_NET_CTRL_MQ, 0, 0, 2), VIRTIO_NET_ERR);
    assert_int_equal(command(driver, 4, VIRTIO_NET_CTRL_MQ, 0, 3, 2), VIRTIO_NET_ERR);
    assert_int_equal(command(driver, 4, VIRTIO_NET_CTRL_MQ, 0, 2, 1), VIRTIO_NET_ERR);
    assert_int_equal(command(driver, 4, VIRTIO_NET_CTRL_MQ, 1, 2, 2), VIRTIO_NET_ERR);
    assert_int_equal(command(driver, 4, VIRTIO_NET_CTRL_RX, 0, 2, 2), VIRTIO_NET_ERR);
    assert_int_equal(driver_used(driver, 2), 0);
    assert_int_equal(command(driver, 4, VIRTIO_NET_CTRL_MQ, 0, 2, 2), VIRTIO_NET_OK);
    assert_int_equal(queue_asked[1], IFF_ATTACH_QUEUE);
    driver_wait_used(driver, 2, 1);
    assert_int_equal(*(uint8_t *)driver_at(driver, RECEIVED + HEADER), 3);
    memset(driver_at(driver, SENT), 0, HEADER);
    driver_describe(driver, 3, 0, (struct vring_desc){ SENT, HEADER + 60, 0, 0 });
    driver_offer(driver, 3, 0);
    driver_ring(driver, 3);
    driver_wait_used(driver, 3, 1);
    assert_int_equal(recv(more_host, frame, sizeof frame, 0), 60);
    assert_int_equal(command(driver, 4, VIRTIO_NET_CTRL_MQ, 0, 1, 2), VIRTIO_NET_OK);
    assert_int_equal(queue_asked[1], IFF_DETACH_QUEUE);
    /* After a reset there is one again; and the control queue stands behind it for who knows of no more. */
    assert_int_equal(command(driver, 4, VIRTIO_NET_CTRL_MQ, 0, 2, 2), VIRTIO_NET_OK);
    driver_set_up(driver, VIRTIO_CORE_FEATURES | VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_VQ));
    assert_int_equal(queue_asked[1], IFF_DETACH_QUEUE);
    assert_int_equal(command(driver, 2, VIRTIO_NET_CTRL_MQ, 0, 2, 2), VIRTIO_NET_ERR);
}

static uint64_t
milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Each direction waits for its own limit, loses nothing and keeps the order; who waits in one does not hold up the other. */
static void
test_limit(void **state)
{
    struct driver *driver;
    uint8_t frame[4096];
    uint64_t begin;

    tear_down(state);
    set_up_limited(state, (struct rate_limit_settings){ .operations = { 20, 2 } });
    driver = *state;
    driver_set_up(driver, driver->device->offered & ~VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
    for (uint16_t i = 0; i < 6; i++)
        offer_buffer(driver, i, 200);
    begin = milliseconds();
    for (uint8_t i = 0; i < 6; i++)
        send_from_host((uint8_t)(i + 1), 100);
    driver_wait_used(driver, VIRTIO_NET_RECEIVE, 2);
    send_from_guest(driver, (struct virtio_net_hdr_v1){ 0 }, 60);
    assert_true(driver_used(driver, VIRTIO_NET_RECEIVE) < 6);
    for (int i = 0; i < 3; i++)
        send_from_guest(driver, (struct virtio_net_hdr_v1){ 0 }, 60);
    /* Two at once and the others at twenty a second. */
    assert_true(milliseconds() - begin >= 99);
    driver_wait_used(driver, VIRTIO_NET_RECEIVE, 6);
    assert_true(milliseconds() - begin >= 199);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(*(uint8_t *)driver_at(driver, RECEIVED + i * 0x1000 + HEADER), i + 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(recv(host, frame, sizeof frame, 0), 60);
}

#define NET_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_config),   NET_TEST(test_transmit), NET_TEST(test_forged),    cmocka_unit_test(test_header_check),
        NET_TEST(test_receive),  NET_TEST(test_merged),   NET_TEST(test_too_large), NET_TEST(test_broken),
        NET_TEST(test_limit),    NET_TEST(test_late_buffer),
        cmocka_unit_test_setup_teardown(test_pairs, set_up_pairs, tear_down_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
