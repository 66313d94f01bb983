/* A guest that drives its entropy device: bytes of every size that is asked for, no two requests alike, and nothing behind them. */
#include "tests/system/guests/common/machine.h"
#include "tests/system/guests/common/virtio.h"

#define REQUESTS 64
#define SIZE 64
#define MARK 0xa5

static struct driver rng;
static uint8_t bytes[REQUESTS][SIZE + 1] __attribute__((aligned(8)));

static void
ask(uint8_t *to, uint32_t size)
{
    const struct piece piece = { .at = to, .size = size, .writable = true };

    expect(queue_do(&rng.queue[0], &piece, 1) == size, "fewer bytes than were asked for");
}

static void
ask_for_many(void)
{
    memset(bytes, MARK, sizeof bytes);
    for (unsigned i = 0; i < REQUESTS; i++) {
        ask(bytes[i], SIZE);
        expect(bytes[i][SIZE] == MARK, "more bytes than were asked for");
        for (unsigned before = 0; before < i; before++)
            expect(memcmp(bytes[before], bytes[i], SIZE) != 0, "requests %u and %u have the same bytes", before, i);
    }
    say("%u requests differ\n", REQUESTS);
}

/* Of this many bits, fewer than 7 in 16 or more than 9 in 16 are ones less often than a machine breaks. */
static void
count_ones(void)
{
    unsigned ones = 0, all = REQUESTS * SIZE * 8;

    for (unsigned i = 0; i < REQUESTS; i++) {
        for (unsigned k = 0; k < SIZE; k++) {
            for (unsigned bits = bytes[i][k]; bits != 0; bits &= bits - 1)
                ones++;
        }
    }
    expect(ones > all / 16 * 7 && ones < all / 16 * 9, "%u bits of %u are ones", ones, all);
    say("as many ones as zeroes\n");
}

static void
ask_for_every_size(void)
{
    for (uint32_t size = 1; size <= SIZE; size++) {
        memset(bytes[0], MARK, sizeof bytes[0]);
        ask(bytes[0], size);
        for (unsigned i = size; i < sizeof bytes[0]; i++)
            expect(bytes[0][i] == MARK, "byte %u of %u was written", i, size);
    }
    say("every size\n");
}

/* One request in several places. */
static void
ask_in_pieces(void)
{
    struct piece piece[PIECES_MAX];

    for (unsigned i = 0; i < PIECES_MAX; i++)
        piece[i] = (struct piece){ .at = bytes[i], .size = SIZE, .writable = true };
    memset(bytes, 0, sizeof bytes);
    expect(queue_do(&rng.queue[0], piece, PIECES_MAX) == PIECES_MAX * SIZE, "fewer bytes than were asked for");
    for (unsigned i = 1; i < PIECES_MAX; i++)
        expect(memcmp(bytes[i - 1], bytes[i], SIZE) != 0, "piece %u is like the one before", i);
    say("in pieces\n");
}

void
guest_main(void)
{
    driver_find(&rng, VIRTIO_ID_RNG);
    driver_begin(&rng, 0, 1);
    ask_for_many();
    count_ones();
    ask_for_every_size();
    ask_in_pieces();
    driver_check_interrupts(&rng);
    say("done\n");
}
