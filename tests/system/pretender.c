/*
 * A static plugin that stands in for microvm at its channel to the supervisor, in messages written by hand. Its last argument is its part:
 *
 *   obedient   has a balloon, connects to port 1024, answers who connects to it and connects to 1024 again, then to 1025 where that was
 *              heard, and exits 0 when the power button is pressed
 *   deaf       says that its guest runs, and does nothing
 *   flood      asks for connections as fast as it can, and hears nothing
 *   rude       sends bytes that are no message
 *
 * What it hears it prints, a line each.
 */
#include <err.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX 512

static int
granted(const char *name)
{
    const char *text = getenv("VMSUP_FDS");
    const char *found = text == NULL ? NULL : strstr(text, name);

    return found == NULL ? -1 : atoi(found + strlen(name));
}

static void
say(int channel, const void *bytes, size_t size)
{
    if (send(channel, bytes, size, 0) != (ssize_t)size)
        err(1, "cannot say");
}

/* Field 2: a token of 1, and a port of two bytes as a varint. */
static void
connect_to(int channel, unsigned port)
{
    const uint8_t bytes[] = { 0x12, 5, 0x08, 1, 0x10, (uint8_t)(port | 0x80), (uint8_t)(port >> 7) };

    say(channel, bytes, sizeof bytes);
}

/* The balloon's size is 4096; value 4 of five, free memory, is 77. */
static void
tell_balloon(int channel)
{
    static const uint8_t bytes[] = { 0x1a, 12, 0x08, 0x80, 0x20, 0x10, 0x10, 0x1a, 5, 0, 0, 0, 0, 77 };

    say(channel, bytes, sizeof bytes);
}

/* Writes to who was connected to, and shows what it says. */
static void
talk(int peer)
{
    struct pollfd wait = { .fd = peer, .events = POLLIN };
    char text[64];
    ssize_t size;

    if (write(peer, "guest\n", 6) != 6)
        err(1, "cannot write to the host");
    poll(&wait, 1, 5000);
    size = read(peer, text, sizeof text - 1);
    printf("connected: %.*s\n", size > 0 ? (int)size - 1 : 0, text);
    close(peer);
}

static void
hear(int channel)
{
    char control[CMSG_SPACE(sizeof(int))];
    uint8_t bytes[MESSAGE_MAX];
    struct iovec part = { .iov_base = bytes, .iov_len = sizeof bytes };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    ssize_t size = recvmsg(channel, &header, MSG_CMSG_CLOEXEC);
    int peer;

    if (size <= 0)
        errx(1, "the supervisor hung up");
    switch (bytes[0] >> 3) {
    case 1:
        puts("button");
        exit(0);
    case 2:
        puts("set");
        break;
    case 3:
        tell_balloon(channel);
        break;
    case 4:
        if (CMSG_FIRSTHDR(&header) == NULL) {
            puts("refused");
            break;
        }
        memcpy(&peer, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof peer);
        talk(peer);
        connect_to(channel, 1025);
        break;
    default:
        errx(1, "what is %d?", bytes[0]);
    }
}

/* Gives back what a program on the host says, and connects to the host in turn. */
static void
serve(int channel, int listener)
{
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct pollfd wait = { .fd = peer, .events = POLLIN };
    char text[64];
    ssize_t size;

    if (peer < 0)
        return;
    poll(&wait, 1, 5000);
    size = read(peer, text, sizeof text);
    if (size > 0 && write(peer, text, (size_t)size) != size)
        err(1, "cannot answer");
    close(peer);
    connect_to(channel, 1024);
}

static void
obey(int channel, int listener)
{
    struct pollfd wait[] = { { .fd = channel, .events = POLLIN }, { .fd = listener, .events = POLLIN } };

    for (;;) {
        poll(wait, 2, -1);
        if ((wait[0].revents & POLLIN) != 0)
            hear(channel);
        if ((wait[1].revents & POLLIN) != 0)
            serve(channel, listener);
    }
}

int
main(int argc, char **argv)
{
    static const uint8_t ready[] = { 0x0a, 0 }, ready_with_balloon[] = { 0x0a, 2, 0x08, 1 }, garbage[] = { 0xff, 0xff };
    const int channel = granted("supervisor="), listener = granted("vsock=");
    const char *part = argv[argc - 1];

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (channel < 0)
        errx(2, "there is no channel");
    if (strcmp(part, "obedient") == 0) {
        say(channel, ready_with_balloon, sizeof ready_with_balloon);
        connect_to(channel, 1024);
        puts("ready");
        obey(channel, listener);
    }
    say(channel, ready, sizeof ready);
    puts("ready");
    if (strcmp(part, "flood") == 0)
        for (;;)
            connect_to(channel, 1024);
    if (strcmp(part, "rude") == 0)
        say(channel, garbage, sizeof garbage);
    for (;;)
        poll(NULL, 0, -1);
}
