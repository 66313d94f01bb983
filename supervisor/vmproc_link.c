#include "supervisor/vmproc_link.h"

#include "build_id.h"
#include "common/fd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ARENA_SIZE (64 * 1024)

int
vmproc_link_begin(struct vmproc_link *link, int socket, const struct options *options)
{
    *link = (struct vmproc_link){ .socket = socket, .options = options };
    return arena_create(&link->arena, ARENA_SIZE);
}

void
vmproc_link_end(struct vmproc_link *link)
{
    fd_close(&link->socket);
    arena_destroy(&link->arena);
    free(link->statistics);
    link->statistics = NULL;
}

static int
send_message(int socket, const ToVmproc *message, const int *fds, size_t fd_count)
{
    uint8_t buffer[VMPROC_LINK_MESSAGE_MAX];
    ssize_t size = message_pack(&message->base, buffer, sizeof buffer);

    return size < 0 ? (int)size : message_send(socket, buffer, (size_t)size, fds, fd_count, MSG_DONTWAIT);
}

int
vmproc_link_send_hello(int socket)
{
    ControlHello hello = CONTROL_HELLO__INIT;
    ToVmproc message = TO_VMPROC__INIT;

    hello.build_id = (char[]){ VMSUP_BUILD_ID };
    message.message_case = TO_VMPROC__MESSAGE_HELLO;
    message.hello = &hello;
    return send_message(socket, &message, NULL, 0);
}

int
vmproc_link_send_setup(int socket, const struct options *options, uint64_t memory_limit, struct vmproc_setup *given)
{
    const int fds[] = { given->kvm, given->plugin_socket, given->keeper, given->tap };
    ControlSetup setup = CONTROL_SETUP__INIT;
    ToVmproc message = TO_VMPROC__INIT;
    uint8_t mac[ETH_ALEN];
    int result;

    memcpy(mac, options->mac, sizeof mac);
    setup.cpu_count = options->cpus;
    setup.memory_limit = memory_limit;
    setup.exit_spin = options->exit_spin * 1000;
    setup.log_level = (uint32_t)options->log_level;
    setup.has_network = options->has_network;
    if (options->has_network) {
        setup.host_mac_address.data = mac;
        setup.host_mac_address.len = sizeof mac;
        setup.host_ipv4_address = options->host_ip.s_addr;
        setup.netmask = options->netmask.s_addr;
    }
    message.message_case = TO_VMPROC__MESSAGE_SETUP;
    message.setup = &setup;
    result = send_message(socket, &message, fds, options->has_network ? 4 : 3);
    fd_close(&given->kvm);
    fd_close(&given->plugin_socket);
    fd_close(&given->keeper);
    fd_close(&given->tap);
    return result;
}

int
vmproc_link_send_stop(struct vmproc_link *link)
{
    ControlStop stop = CONTROL_STOP__INIT;
    ToVmproc message = TO_VMPROC__INIT;

    message.message_case = TO_VMPROC__MESSAGE_STOP;
    message.stop = &stop;
    return send_message(link->socket, &message, NULL, 0);
}

int
vmproc_link_ask_statistics(struct vmproc_link *link, int64_t now)
{
    ControlAskStatistics ask = CONTROL_ASK_STATISTICS__INIT;
    ToVmproc message = TO_VMPROC__INIT;
    int result;

    if (link->last != VMPROC_READY && link->last != VMPROC_RUNNING)
        return -ENOTCONN;
    if (link->asked || (link->statistics_count > 0 && now - link->asked_at < VMPROC_LINK_STATISTICS_INTERVAL))
        return 0;
    if (link->statistics == NULL)
        link->statistics = calloc(STATISTICS_MAX, sizeof *link->statistics);
    if (link->statistics == NULL)
        return -ENOMEM;
    message.message_case = TO_VMPROC__MESSAGE_ASK_STATISTICS;
    message.ask_statistics = &ask;
    result = send_message(link->socket, &message, NULL, 0);
    link->asked = result == 0;
    link->asked_at = now;
    return result;
}

static int __attribute__((format(printf, 2, 3)))
refuse(struct vmproc_link *link, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(link->wrong, sizeof link->wrong, format, arguments);
    va_end(arguments);
    return -EPROTO;
}

static int
take_ended(struct vmproc_link *link, const ControlEnded *ended)
{
    if (link->ended)
        return refuse(link, "vmproc said twice that the VM has ended");
    if (ended->kind < CONTROL_ENDED__KIND__UNKNOWN || ended->kind > CONTROL_ENDED__KIND__OUT_OF_MEMORY)
        return refuse(link, "vmproc named an ending that there is not");
    link->ended = true;
    link->kind = ended->kind;
    strlcpy(link->text, ended->text, sizeof link->text);
    return 0;
}

/* Copied: the arena's memory is the next message's. A vCPU never spins longer than it may; other numbers can be any. */
static int
take_statistics(struct vmproc_link *link, const ControlStatistics *told)
{
    const size_t count = (size_t)link->options->cpus * STATISTICS_COLUMNS;

    if (!link->asked)
        return refuse(link, "vmproc told statistics that it was not asked for");
    if (told->n_value != count)
        return refuse(link, "vmproc told %zu numbers of statistics where %zu belong", told->n_value, count);
    for (size_t i = STATISTICS_SPIN; i < count; i += STATISTICS_COLUMNS)
        if (told->value[i] > (uint64_t)link->options->exit_spin * 1000)
            return refuse(link, "vmproc told that a vCPU spins longer than it may");
    memcpy(link->statistics, told->value, count * sizeof told->value[0]);
    link->asked = false;
    link->statistics_count++;
    return 0;
}

/* Hello, ready, running: each once, each after the one before. */
static int
take_in_order(struct vmproc_link *link, enum vmproc_word word, enum vmproc_word before)
{
    if (link->last != before)
        return refuse(link, "vmproc spoke out of turn");
    link->last = word;
    return 0;
}

static int
take_message(struct vmproc_link *link, const FromVmproc *message, enum vmproc_word *word)
{
    switch (message->message_case) {
    case FROM_VMPROC__MESSAGE_HELLO:
        *word = VMPROC_HELLO;
        if (strcmp(message->hello->build_id, VMSUP_BUILD_ID) != 0)
            return refuse(link, "vmproc is of another build than this program: install both from one tree");
        return take_in_order(link, VMPROC_HELLO, VMPROC_NOTHING);
    case FROM_VMPROC__MESSAGE_READY:
        *word = VMPROC_READY;
        return take_in_order(link, VMPROC_READY, VMPROC_HELLO);
    case FROM_VMPROC__MESSAGE_RUNNING:
        *word = VMPROC_RUNNING;
        return take_in_order(link, VMPROC_RUNNING, VMPROC_READY);
    case FROM_VMPROC__MESSAGE_ENDED:
        *word = VMPROC_ENDED;
        return take_ended(link, message->ended);
    case FROM_VMPROC__MESSAGE_STATISTICS:
        *word = VMPROC_STATISTICS;
        return take_statistics(link, message->statistics);
    default:
        return refuse(link, "vmproc sent a message that there is not");
    }
}

int
vmproc_link_hear(struct vmproc_link *link, enum vmproc_word *word)
{
    uint8_t buffer[VMPROC_LINK_MESSAGE_MAX];
    const FromVmproc *message;
    struct message_fds fds;
    ssize_t size = message_receive(link->socket, buffer, sizeof buffer, &fds, 0, MSG_DONTWAIT);

    *word = VMPROC_NOTHING;
    /* It has gone without reading all, which is said first: what it had to say comes behind that. */
    if (size == -ECONNRESET)
        size = message_receive(link->socket, buffer, sizeof buffer, &fds, 0, MSG_DONTWAIT);
    if (size == -EAGAIN)
        return 0;
    if (size == 0 || size == -ECONNRESET) {
        *word = link->last = VMPROC_GONE;
        return 0;
    }
    if (size < 0)
        return refuse(link, "vmproc sent more than a message may hold");
    arena_reset(&link->arena);
    message = message_unpack(&link->arena, &from_vmproc__descriptor, buffer, (size_t)size);
    if (message == NULL || message_has_unknown_fields(&message->base))
        return refuse(link, "vmproc sent bytes that are no message");
    return take_message(link, message, word);
}
