/*
 * What microvm says to the supervisor, once its guest has taken it over. The input is a row of datagrams, each behind one byte: its length,
 * and in the highest bit whether microvm reads what it was answered before the next. Whatever they are, the supervisor keeps no
 * descriptor, and what it believes of the balloon is what a balloon has.
 */
#include "supervisor/machine_link.h"

#include "common/log.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;

static void
stop(void *context)
{
    (void)context;
    loop_stop(loop);
}

/* All that is there to be heard is heard. */
static void
turn(struct loop_source *timer)
{
    loop_set_timer(timer, 0);
    if (loop_run(loop) < 0)
        abort();
}

static void
read_answers(int machine)
{
    uint8_t buffer[HOST_MESSAGE_MAX];
    struct message_fds fds;

    while (message_receive(machine, buffer, sizeof buffer, &fds, HOST_FDS_MAX, MSG_DONTWAIT) > 0)
        message_close_fds(&fds);
}

static void
check(const struct machine_link *link)
{
    if (link->socket < 0 && (link->ready || link->answer_fd >= 0 || link->source != NULL))
        abort();
    if (link->answer_size > sizeof link->answer || (link->answer_size == 0 && link->answer_fd >= 0))
        abort();
    for (size_t i = 0; i < HOST_STATISTICS_MAX; i++)
        if ((link->balloon.present & (UINT32_C(1) << i)) == 0 && link->balloon.value[i] != 0)
            abort();
    if (link->balloon.present >> HOST_STATISTICS_MAX != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct runtime runtime = { .path = "/nonexistent", .name = "demo" };
    struct machine_link link;
    struct loop_source *timer;
    int ours, machine;

    log_set_level(LOG_LEVEL_ERROR);
    loop = loop_create();
    if (loop == NULL || machine_link_make(&ours, &machine) < 0 || machine_link_begin(&link, loop, ours, &runtime) < 0)
        abort();
    timer = loop_add_timer(loop, stop, NULL);
    while (size > 0) {
        size_t length = data[0] & 0x7f;

        if ((data[0] & 0x80) != 0)
            read_answers(machine);
        data++;
        size--;
        if (length > size)
            length = size;
        send(machine, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        data += length;
        size -= length;
        turn(timer);
        machine_link_press_button(&link);
        check(&link);
    }
    machine_link_end(&link);
    close(machine);
    loop_remove(&timer);
    loop_destroy(loop);
    return 0;
}
