/*
 * What vmproc says to the supervisor, once its guest has taken it over. The input is one byte, odd where the right hello was said before,
 * and a row of datagrams, each behind two bytes of its length; whatever they are, what is taken is in its order, an ending comes once,
 * and its text can be shown. Where the byte's second bit is set
 * the supervisor asks for statistics as often as it can, and what comes of them fits.
 */
#include "supervisor/vmproc_link.h"

#include "build_id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct options options = { .cpus = 2, .exit_spin = 100 };

/* It was an answer, of as many numbers as there are; and each time is one that a vCPU may spin for. */
static void
check_statistics(const struct vmproc_link *link)
{
    if (link->asked || link->statistics_count == 0 || link->statistics == NULL)
        abort();
    for (size_t i = 0; i < STATISTICS_MAX; i++) {
        if (i >= (size_t)options.cpus * STATISTICS_COLUMNS && link->statistics[i] != 0)
            abort();
        if (i % STATISTICS_COLUMNS == STATISTICS_SPIN && link->statistics[i] > options.exit_spin * 1000)
            abort();
    }
}

static void
check_heard(const struct vmproc_link *link, int result, enum vmproc_word word, enum vmproc_word *last, bool *ended)
{
    if (result != 0) {
        if (result != -EPROTO || link->wrong[0] == '\0' || strnlen(link->wrong, sizeof link->wrong) == sizeof link->wrong)
            abort();
        return;
    }
    switch (word) {
    case VMPROC_HELLO:
    case VMPROC_READY:
    case VMPROC_RUNNING:
        if (word != *last + 1)
            abort();
        *last = word;
        break;
    case VMPROC_ENDED:
        if (*ended || strnlen(link->text, sizeof link->text) == sizeof link->text)
            abort();
        *ended = true;
        break;
    case VMPROC_STATISTICS:
        check_statistics(link);
        break;
    default:
        break;
    }
}

static void
ask(struct vmproc_link *link, int peer, int64_t now)
{
    uint8_t buffer[256];

    if (vmproc_link_ask_statistics(link, now) == 0)
        while (recv(peer, buffer, sizeof buffer, 0) > 0)
            ;
}

static void
say_hello(int socket)
{
    ControlHello hello = CONTROL_HELLO__INIT;
    FromVmproc message = FROM_VMPROC__INIT;
    uint8_t buffer[256];
    ssize_t size;

    hello.build_id = (char[]){ VMSUP_BUILD_ID };
    message.message_case = FROM_VMPROC__MESSAGE_HELLO;
    message.hello = &hello;
    size = message_pack(&message.base, buffer, sizeof buffer);
    if (size < 0 || send(socket, buffer, (size_t)size, 0) != size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum vmproc_word word = VMPROC_NOTHING, last = VMPROC_NOTHING;
    struct vmproc_link link;
    int64_t now = 0;
    const bool asks = size > 0 && (data[0] & 2) != 0;
    bool ended = false;
    int sockets[2], result = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) < 0 ||
        vmproc_link_begin(&link, sockets[0], &options) < 0)
        abort();
    if (size > 0 && (data[0] & 1) != 0) {
        say_hello(sockets[1]);
        result = vmproc_link_hear(&link, &word);
        check_heard(&link, result, word, &last, &ended);
        if (word != VMPROC_HELLO)
            abort();
    }
    data += size > 0;
    size -= size > 0;
    while (size >= 2 && result == 0 && word != VMPROC_GONE) {
        size_t length = ((size_t)data[0] << 8 | data[1]) % (VMPROC_LINK_MESSAGE_MAX + 2);

        data += 2;
        size -= 2;
        now += VMPROC_LINK_STATISTICS_INTERVAL;
        if (asks)
            ask(&link, sockets[1], now);
        if (length > size)
            length = size;
        if (send(sockets[1], data, length, MSG_NOSIGNAL) != (ssize_t)length)
            abort();
        data += length;
        size -= length;
        result = vmproc_link_hear(&link, &word);
        check_heard(&link, result, word, &last, &ended);
    }
    vmproc_link_end(&link);
    close(sockets[1]);
    return 0;
}
