#include "plugin/microvm/virtio_balloon.h"

#include "common/log.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#define INFLATE 0
#define DEFLATE 1
#define STATISTICS 2
#define QUEUES 5

/* How many of a request's numbers are read at a time. */
#define PIECE 256

/* Not the hints of 5.5.6.4, which are for who moves a running guest. */
#define FEATURES                                                                                                       \
    (VIRTIO_FEATURE(VIRTIO_BALLOON_F_STATS_VQ) | VIRTIO_FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |                      \
     VIRTIO_FEATURE(VIRTIO_BALLOON_F_PAGE_POISON) | VIRTIO_FEATURE(VIRTIO_BALLOON_F_REPORTING))

enum statistics_state {
    STATISTICS_NONE,  /* the guest has given no buffer */
    STATISTICS_HELD,  /* we have one, and give it back to ask */
    STATISTICS_ASKED, /* it is to be given back */
};

struct virtio_balloon {
    struct virtio_device device;
    struct virtio_balloon_config config;
    struct virtio_balloon_settings settings;
    uint64_t features;
    uint16_t held;  /* the request that waits to be asked with */
    int statistics; /* enum statistics_state, atomic */
    bool failed;    /* the host kept what was given back, which was said */
};

static bool
has_feature(const struct virtio_balloon *balloon, unsigned bit)
{
    return (balloon->features & VIRTIO_FEATURE(bit)) != 0;
}

/* What the host does not take costs it memory, and the guest nothing. */
static void
give_back(struct virtio_balloon *balloon, void *at, uint64_t size)
{
    int result = memory_discard(at, size);

    if (result < 0 && !balloon->failed)
        log_warn("balloon: memory given back by the guest stays: %s", strerror(-result));
    balloon->failed = balloon->failed || result < 0;
}

/* --- Pages by number (5.5.6.1, 5.5.6.2). */

/* Pages that follow each other, [first, end). */
struct run {
    uint64_t first, end;
};

/* -EPROTO: not all of them are memory. */
static int
finish_run(struct virtio_balloon *balloon, const struct run *run, bool inflates)
{
    const uint64_t size = (run->end - run->first) * VIRTIO_BALLOON_PAGE;
    void *at;

    if (run->first == run->end)
        return 0;
    at = memory_at(balloon->device.memory, run->first * VIRTIO_BALLOON_PAGE, size);
    if (at == NULL)
        return -EPROTO;
    if (inflates)
        give_back(balloon, at, size);
    return 0;
}

/* The guest takes its pages from wherever it has them, but often in a row, upwards or downwards: one call is enough for those. */
static int
add_page(struct virtio_balloon *balloon, struct run *run, uint64_t page, bool inflates)
{
    int result = 0;

    if (run->first != run->end && page == run->end) {
        run->end++;
    } else if (run->first != run->end && page + 1 == run->first) {
        run->first--;
    } else {
        result = finish_run(balloon, run, inflates);
        *run = (struct run){ page, page + 1 };
    }
    return result;
}

static int
do_pages(struct virtio_balloon *balloon, const struct chain *chain, bool inflates)
{
    const uint64_t count = chain->readable_size / sizeof(uint32_t);
    struct run run = { 0 };
    uint32_t page[PIECE];
    int result = 0;

    if (chain->writable_count > 0 || chain->readable_size % sizeof page[0] != 0 || count > VIRTIO_BALLOON_PAGES_MAX)
        return -EPROTO;
    for (uint64_t done = 0; done < count; done += PIECE) {
        const size_t piece = (size_t)MIN(count - done, PIECE);

        if (!chain_read(chain, done * sizeof page[0], page, piece * sizeof page[0]))
            return -EPROTO;
        for (size_t i = 0; i < piece && result == 0; i++)
            result = add_page(balloon, &run, le32toh(page[i]), inflates);
        if (result < 0)
            return result;
    }
    return finish_run(balloon, &run, inflates);
}

static int
inflate(void *device, const struct chain *chain, uint32_t *written)
{
    (void)written;
    return do_pages(device, chain, true);
}

/* The guest gets a page back by touching it, which it may have done already: nothing is to be done. */
static int
deflate(void *device, const struct chain *chain, uint32_t *written)
{
    (void)written;
    return do_pages(device, chain, false);
}

/* --- Free pages (5.5.6.5). */

/*
 * The buffers are what is free, and the guest may have other use for it once it has them back. With a pattern that it looks for in what
 * it gets, pages of zeroes would not do (5.5.6.5.2): they stay.
 */
static int
take_reported(void *device, const struct chain *chain, uint32_t *written)
{
    struct virtio_balloon *balloon = device;
    uint32_t poison;

    (void)written;
    if (chain->readable_count > 0)
        return -EPROTO;
    virtio_read_config(&balloon->device, offsetof(struct virtio_balloon_config, poison_val), (uint8_t *)&poison, sizeof poison);
    if (has_feature(balloon, VIRTIO_BALLOON_F_PAGE_POISON) && poison != 0)
        return 0;
    for (size_t i = 0; i < chain->writable_count; i++)
        give_back(balloon, chain->buffer[i].iov_base, chain->buffer[i].iov_len);
    return 0;
}

/* --- Statistics (5.5.6.3). */

static int
read_statistics(struct virtio_balloon *balloon, const struct chain *chain)
{
    struct virtio_balloon_statistics statistics = { 0 };
    struct virtio_balloon_stat one;

    if (chain->writable_count > 0)
        return -EPROTO;
    for (uint64_t i = 0; i < VIRTIO_BALLOON_STATISTICS_MAX && chain_read(chain, i * sizeof one, &one, sizeof one); i++) {
        const uint16_t tag = le16toh(one.tag);

        /* There are newer ones than we know. */
        if (tag >= VIRTIO_BALLOON_S_NR)
            continue;
        statistics.value[tag] = le64toh(one.val);
        statistics.present |= 1U << tag;
    }
    if (balloon->settings.told != NULL)
        balloon->settings.told(balloon->settings.context, &statistics);
    return 0;
}

/* Gives the request back that we hold, if we were asked to: the guest then comes with a new one. */
static int
ask_guest(struct virtio_balloon *balloon, unsigned queue)
{
    int asked = STATISTICS_ASKED, result;

    if (!__atomic_compare_exchange_n(&balloon->statistics, &asked, STATISTICS_NONE, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return 0;
    result = queue_push(&balloon->device.queue[queue], balloon->held, 0);
    return result < 0 ? result : virtio_signal(&balloon->device, queue);
}

/* One request at a time is with us: a driver that sends another breaks the rules. */
static int
serve_statistics(struct virtio_balloon *balloon, unsigned index)
{
    struct queue *queue = &balloon->device.queue[index];
    struct chain chain;
    int result = ask_guest(balloon, index);

    while (result == 0 && (result = queue_pop(queue, &chain)) > 0) {
        if (__atomic_load_n(&balloon->statistics, __ATOMIC_ACQUIRE) != STATISTICS_NONE)
            return -EPROTO;
        result = read_statistics(balloon, &chain);
        balloon->held = chain.head;
        __atomic_store_n(&balloon->statistics, STATISTICS_HELD, __ATOMIC_RELEASE);
        if (result == 0)
            result = queue_enable_notify(queue, 0) < 0 ? -EPROTO : 0;
    }
    return result;
}

/* --- What the core calls. */

/*
 * 5.5.2: a queue whose feature was not accepted does not exist. Linux then gives its number to the next, while the standard does not; both
 * are served, since without hints there is nothing else that a number could mean.
 */
static int
serve(void *device, unsigned queue)
{
    struct virtio_balloon *balloon = device;

    if (queue == INFLATE)
        return virtio_each_request(&balloon->device, queue, inflate);
    if (queue == DEFLATE)
        return virtio_each_request(&balloon->device, queue, deflate);
    if (queue == STATISTICS && has_feature(balloon, VIRTIO_BALLOON_F_STATS_VQ))
        return serve_statistics(balloon, queue);
    if (has_feature(balloon, VIRTIO_BALLOON_F_REPORTING))
        return virtio_each_request(&balloon->device, queue, take_reported);
    return -EPROTO;
}

static int
activate(void *device, uint64_t features)
{
    struct virtio_balloon *balloon = device;

    balloon->features = features;
    balloon->failed = false;
    __atomic_store_n(&balloon->statistics, STATISTICS_NONE, __ATOMIC_RELEASE);
    /* What a driver before this one had given is this one's again. */
    pthread_mutex_lock(&balloon->device.config_lock);
    balloon->config.actual = 0;
    pthread_mutex_unlock(&balloon->device.config_lock);
    return 0;
}

/* 5.5.4: the driver tells what it has given, and its pattern. */
static void
write_config(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    struct virtio_balloon *balloon = device;

    if (size != sizeof(uint32_t))
        return;
    if (offset == offsetof(struct virtio_balloon_config, actual))
        memcpy(&balloon->config.actual, data, size);
    else if (offset == offsetof(struct virtio_balloon_config, poison_val))
        memcpy(&balloon->config.poison_val, data, size);
}

static const struct virtio_operations operations = {
    .name = "balloon",
    .id = VIRTIO_ID_BALLOON,
    .activate = activate,
    .serve = serve,
    .write_config = write_config,
};

int
virtio_balloon_create(const struct guest_memory *memory, const struct virtio_balloon_settings *settings, struct virtio_balloon **out)
{
    struct virtio_balloon *balloon = calloc(1, sizeof *balloon);

    if (balloon == NULL)
        return -ENOMEM;
    balloon->settings = *settings;
    virtio_init(&balloon->device, &(struct virtio_setup){
                                      .operations = &operations,
                                      .context = balloon,
                                      .memory = memory,
                                      .features = FEATURES,
                                      .config = &balloon->config,
                                      .config_size = sizeof balloon->config,
                                      .queue_count = QUEUES,
                                  });
    *out = balloon;
    return 0;
}

void
virtio_balloon_destroy(struct virtio_balloon *balloon)
{
    free(balloon);
}

void
virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t size)
{
    const struct guest_memory *memory = balloon->device.memory;
    uint64_t all = 0;

    for (size_t i = 0; i < memory->count; i++)
        all += memory->region[i].size;
    virtio_change_config(&balloon->device, offsetof(struct virtio_balloon_config, num_pages),
                         (uint32_t)(MIN(size, all) / VIRTIO_BALLOON_PAGE));
}

uint64_t
virtio_balloon_size(struct virtio_balloon *balloon)
{
    uint32_t pages;

    virtio_read_config(&balloon->device, offsetof(struct virtio_balloon_config, actual), (uint8_t *)&pages, sizeof pages);
    return le32toh(pages) * VIRTIO_BALLOON_PAGE;
}

bool
virtio_balloon_ask(struct virtio_balloon *balloon)
{
    int held = STATISTICS_HELD;

    if (!__atomic_compare_exchange_n(&balloon->statistics, &held, STATISTICS_ASKED, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return false;
    virtio_ring(&balloon->device, STATISTICS);
    return true;
}

struct virtio_device *
virtio_balloon_device(struct virtio_balloon *balloon)
{
    return &balloon->device;
}
