/*
 * An admin's command that hangs: `visitor SOCKET COUNT` connects so often to a control socket, says nothing, prints a line once it has, and
 * stays until it is killed.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path)
        errx(2, "usage: visitor SOCKET COUNT");
    strcpy(address.sun_path, argv[1]);
    for (int i = 0; i < atoi(argv[2]); i++) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
            err(1, "%s", argv[1]);
    }
    puts("connected");
    fflush(stdout);
    for (;;)
        pause();
}
