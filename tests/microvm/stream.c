/*
 * Stream connections over virtio sockets, from either end:
 *
 *   stream echo-guest PORT          in the guest: gives the first that connects its bytes back
 *   stream send-guest PORT          in the guest: sends its input to the host's port, prints what comes back
 *   stream echo-host PATH           on the host: gives the first that connects to the unix socket its bytes back
 *   stream send-host PATH PORT      on the host: asks at the unix socket for the guest's port, sends its input, prints what comes back
 */
#include <err.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Until the end of what is read, which is handed on where that is a socket. */
static void
copy(int from, int to)
{
    char bytes[4096];
    ssize_t size, done, written;

    while ((size = read(from, bytes, sizeof bytes)) > 0)
        for (done = 0; done < size; done += written)
            if ((written = write(to, bytes + done, (size_t)(size - done))) < 0)
                err(1, "cannot write");
    if (size < 0)
        err(1, "cannot read");
    shutdown(to, SHUT_WR);
}

/* Sends and receives at once, so that neither waits for the other. */
static int
send_input(int peer)
{
    const pid_t sender = fork();
    int status;

    if (sender < 0)
        err(1, "fork");
    if (sender == 0) {
        copy(STDIN_FILENO, peer);
        _exit(0);
    }
    copy(peer, STDOUT_FILENO);
    return waitpid(sender, &status, 0) == sender && status == 0 ? 0 : 1;
}

static int
echo(int listener, const struct sockaddr *address, socklen_t length)
{
    int peer;

    if (bind(listener, address, length) < 0 || listen(listener, 1) < 0 || (peer = accept(listener, NULL, NULL)) < 0)
        err(1, "cannot listen");
    copy(peer, peer);
    return 0;
}

static void
ask_for_port(int peer, const char *port)
{
    char answer[32];
    size_t size = 0;

    if (dprintf(peer, "CONNECT %s\n", port) < 0)
        err(1, "cannot ask");
    do {
        if (size == sizeof answer || read(peer, answer + size, 1) != 1)
            errx(1, "port %s: no answer", port);
    } while (answer[size++] != '\n');
    if (strncmp(answer, "OK ", 3) != 0)
        errx(1, "port %s: another answer", port);
}

int
main(int argc, char **argv)
{
    struct sockaddr_vm guest = { .svm_family = AF_VSOCK };
    struct sockaddr_un host = { .sun_family = AF_UNIX };
    const char *what = argc > 2 ? argv[1] : "";
    const int is_host = strstr(what, "-host") != NULL, is_echo = strncmp(what, "echo-", 5) == 0;
    const struct sockaddr *address = is_host ? (const struct sockaddr *)&host : (const struct sockaddr *)&guest;
    const socklen_t length = is_host ? sizeof host : sizeof guest;
    const int fd = socket(is_host ? AF_UNIX : AF_VSOCK, SOCK_STREAM, 0);

    if (argc < 3 || (is_host && !is_echo && argc != 4))
        errx(64, "usage: stream echo-guest|send-guest PORT | echo-host PATH | send-host PATH PORT");
    if (fd < 0)
        err(1, "no socket");
    guest.svm_cid = is_echo ? VMADDR_CID_ANY : VMADDR_CID_HOST;
    guest.svm_port = (unsigned)strtoul(argv[2], NULL, 10);
    memcpy(host.sun_path, argv[2], strnlen(argv[2], sizeof host.sun_path - 1));
    if (is_echo)
        return echo(fd, address, length);
    if (connect(fd, address, length) < 0)
        err(1, "cannot connect");
    if (is_host)
        ask_for_port(fd, argv[3]);
    return send_input(fd);
}
