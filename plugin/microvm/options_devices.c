#include "plugin/microvm/options_devices.h"

#include "common/log.h"
#include "plugin/microvm/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

/* A burst that is not given is what the rate gives in a second divided by this. */
#define BURSTS_A_SECOND 10

/* Behind NAME=, or NULL. */
static char *
value_of(char *piece, const char *name)
{
    size_t length = strlen(name);

    return strncmp(piece, name, length) == 0 && piece[length] == '=' ? piece + length + 1 : NULL;
}

/* RATE or RATE:BURST. */
static int
parse_rate(char *text, uint64_t *rate, uint64_t *burst)
{
    char *colon = strchr(text, ':');
    int result;

    if (colon != NULL)
        *colon = '\0';
    result = options_parse_size(text, rate);
    *burst = MAX(*rate / BURSTS_A_SECOND, 1);
    if (result == 0 && colon != NULL)
        result = options_parse_size(colon + 1, burst);
    if (colon != NULL)
        *colon = ':';
    return result == 0 && *rate > 0 && *rate <= RATE_LIMIT_MAX && *burst > 0 && *burst <= RATE_LIMIT_MAX ? 0 : -EINVAL;
}

/* 1: the piece was one of a limit's; 0: it was not; -EINVAL. */
static int
parse_limit(const char *option, char *piece, struct rate_limit_settings *limit)
{
    char *bandwidth = value_of(piece, "bandwidth"), *operations = value_of(piece, "operations");
    int result;

    if (bandwidth != NULL)
        result = parse_rate(bandwidth, &limit->bandwidth.rate, &limit->bandwidth.burst);
    else if (operations != NULL)
        result = parse_rate(operations, &limit->operations.rate, &limit->operations.burst);
    else
        return 0;
    if (result < 0)
        log_error("%s: %s is not a rate from 1 a second, with :BURST or without", option, piece);
    return result < 0 ? result : 1;
}

static int
parse_queues(const char *option, const char *text, unsigned max, unsigned *queues)
{
    uint64_t count;

    if (options_parse_size(text, &count) < 0 || count == 0 || count > max) {
        log_error("%s: queues=%s is not a number from 1 to %u", option, text, max);
        return -EINVAL;
    }
    *queues = (unsigned)count;
    return 0;
}

static int
parse_serial(const char *text, const char **serial)
{
    if (*text == '\0' || strlen(text) > VIRTIO_BLK_ID_BYTES) {
        log_error("--disk: serial=%s is not a text of 1 to %d bytes", text, VIRTIO_BLK_ID_BYTES);
        return -EINVAL;
    }
    *serial = text;
    return 0;
}

static int
set_flag(const char *name, bool *flag)
{
    if (*flag) {
        log_error("--disk: %s is there twice", name);
        return -EINVAL;
    }
    *flag = true;
    return 0;
}

static int
parse_disk_piece(char *piece, struct options_disk *disk)
{
    int result = parse_limit("--disk", piece, &disk->limit);

    if (result != 0)
        return result < 0 ? result : 0;
    if (strcmp(piece, "ro") == 0)
        return set_flag(piece, &disk->read_only);
    if (strcmp(piece, "direct") == 0)
        return set_flag(piece, &disk->direct);
    if (value_of(piece, "queues") != NULL)
        return parse_queues("--disk", value_of(piece, "queues"), VIRTIO_BLK_QUEUES_MAX, &disk->queues);
    if (value_of(piece, "serial") != NULL)
        return parse_serial(value_of(piece, "serial"), &disk->serial);
    log_error("--disk: %s is none of ro, direct, queues=, serial=, bandwidth=, operations=", piece);
    return -EINVAL;
}

int
options_parse_disk(char *text, struct options_disk *disk)
{
    char *piece = strsep(&text, ",");
    int result = 0;

    if (*piece == '\0') {
        log_error("--disk: there is no name of a grant");
        return -EINVAL;
    }
    *disk = (struct options_disk){ .name = piece, .serial = piece, .queues = 1 };
    while (result == 0 && (piece = strsep(&text, ",")) != NULL)
        result = parse_disk_piece(piece, disk);
    return result;
}

static int
parse_net_piece(char *piece, struct options_net *net)
{
    int result = parse_limit("--net", piece, &net->limit);

    if (result != 0)
        return result < 0 ? result : 0;
    if (value_of(piece, "queues") != NULL)
        return parse_queues("--net", value_of(piece, "queues"), VIRTIO_NET_PAIRS_MAX, &net->queues);
    log_error("--net: %s is none of queues=, bandwidth=, operations=", piece);
    return -EINVAL;
}

int
options_parse_net(char *text, struct options_net *net)
{
    char *piece;
    int result = 0;

    if (!net->present)
        *net = (struct options_net){ .present = true, .queues = 1 };
    while (result == 0 && (piece = strsep(&text, ",")) != NULL)
        result = parse_net_piece(piece, net);
    return result;
}

int
options_parse_vsock(const char *text, uint32_t *cid)
{
    const char *mistake;

    *cid = (uint32_t)strtonum(text, VIRTIO_VSOCK_CID_MIN, VIRTIO_VSOCK_CID_MAX, &mistake);
    if (mistake == NULL)
        return 0;
    log_error("--vsock: %s is no number from %u to %u", text, VIRTIO_VSOCK_CID_MIN, VIRTIO_VSOCK_CID_MAX);
    return -EINVAL;
}
