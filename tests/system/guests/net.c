/*
 * A guest that drives its network card: it finds the host by ARP, has its kernel answer echoes of several sizes, and sends frames whose
 * headers lie, each before one that does not: only that is answered. With the word "merge", frames come in several buffers; with "answer",
 * it answers three echoes of the host's instead.
 */
#include "tests/system/guests/common/net.h"
#include "tests/system/guests/common/machine.h"

#define ANSWERS 3
/* Where the sum of an ICMP message is covered from, and where it stands in there. */
#define ICMP_AT 34
#define ICMP_SUM 2
/* So large that a frame with it is larger than any that there may be. */
#define HUGE_SIZE (128 * 1024)
#define TOO_SHORT 13

static struct net net;
static uint8_t data[NET_ECHO_MAX], huge[HUGE_SIZE];
static uint16_t sequence;

static void
say_mac(const char *whose, const uint8_t *mac)
{
    say("%s ", whose);
    for (unsigned i = 0; i < NET_MAC; i++)
        say("%s%x%x", i == 0 ? "" : ":", (unsigned)mac[i] >> 4, mac[i] & 15U);
    say("\n");
}

/* The one that was asked for last. */
static void
expect_answer(const char *what, size_t size)
{
    struct echo answer = net_wait_for_answer(&net);

    expect(answer.sequence == sequence, "%s: echo %u was answered, expected %u", what, answer.sequence, sequence);
    expect(answer.size == size, "%s: %lu bytes came back, expected %lu", what, (uint64_t)answer.size, (uint64_t)size);
    expect(memcmp(answer.data, data, size) == 0, "%s: other bytes came back", what);
}

static void
ask(const struct virtio_net_hdr_v1 *header, size_t size, uint16_t sum_error)
{
    const struct echo echo = { .sequence = ++sequence, .data = data, .size = size };

    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7 + sequence);
    net_ask(&net, header, &echo, sum_error);
}

static void
try_sizes(void)
{
    static const size_t size[] = { 0, 1, 56, 200, 1000, NET_ECHO_MAX };
    const struct virtio_net_hdr_v1 header = net_plain_header();

    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
        ask(&header, size[i], 0);
        expect_answer("an echo", size[i]);
    }
    say("echoes\n");
}

/* The host's kernel drops a message with a wrong sum, unless it is told that there is none yet. */
static void
try_sum(void)
{
    const struct virtio_net_hdr_v1 plain = net_plain_header(), unsummed = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = ICMP_AT, .csum_offset = ICMP_SUM,
    };

    expect((net.driver.features & VIRTIO_BIT(VIRTIO_NET_F_CSUM)) != 0, "it makes no sums");
    ask(&plain, sizeof data, 1);
    ask(&unsummed, sizeof data, 1);
    expect_answer("a sum that is left to the host", sizeof data);
    say("sums\n");
}

/* Whatever was sent before must be dropped: only this is answered. */
static void
expect_next(const char *what)
{
    const struct virtio_net_hdr_v1 header = net_plain_header();

    ask(&header, 56, 0);
    expect_answer(what, 56);
    say("dropped: %s\n", what);
}

static void
try_lies(void)
{
    static const struct {
        const char *what;
        struct virtio_net_hdr_v1 header;
    } lie[] = {
        { "unknown flags", { .flags = 0x80 } },
        { "a header longer than all", { .hdr_len = UINT16_MAX } },
        { "a sum behind the end", { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 97, .csum_offset = 0 } },
        { "a sum far behind the end", { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = UINT16_MAX, .csum_offset = UINT16_MAX } },
        { "segments that were not negotiated",
          { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 10, .csum_start = ICMP_AT } },
        { "unknown segments", { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = 0x7f, .gso_size = 10, .csum_start = ICMP_AT } },
    };

    for (size_t i = 0; i < sizeof lie / sizeof lie[0]; i++) {
        ask(&lie[i].header, 56, 0);
        expect_next(lie[i].what);
    }
}

static void
try_wrong_sizes(void)
{
    const struct virtio_net_hdr_v1 header = net_plain_header();

    net_send_raw(&net, &header, huge, TOO_SHORT);
    expect_next("a frame that is none");
    net_send_raw(&net, &header, huge, sizeof huge);
    expect_next("a frame that is too large");
}

void
guest_main(void)
{
    net_begin(&net, machine_was_told("merge"));
    say_mac("guest", net.mac);
    if (machine_was_told("answer")) {
        for (unsigned i = 0; i < ANSWERS; i++)
            net_answer(&net);
    } else {
        net_find_host(&net);
        say_mac("host", net.host_mac);
        try_sizes();
        try_sum();
        try_lies();
        try_wrong_sizes();
    }
    driver_check_interrupts(&net.driver);
    say("done\n");
}
