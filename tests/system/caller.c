/*
 * A program of the host's at a VM's sockets: `caller connect PATH TEXT` connects, says the text and shows what it hears; `caller listen PATH
 * TEXT` says `listening`, and does the same with the first that connects to it.
 */
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), peer = fd;
    char text[64];
    ssize_t size;

    if (fd < 0 || argc != 4 || strlen(argv[2]) >= sizeof address.sun_path)
        errx(2, "usage: caller connect|listen PATH TEXT");
    strcpy(address.sun_path, argv[2]);
    if (strcmp(argv[1], "connect") == 0) {
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
            err(1, "%s", argv[2]);
    } else {
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
            err(1, "%s", argv[2]);
        puts("listening");
        fflush(stdout);
        peer = accept(fd, NULL, NULL);
        if (peer < 0)
            err(1, "%s", argv[2]);
    }
    if (dprintf(peer, "%s\n", argv[3]) < 0)
        err(1, "cannot write");
    size = read(peer, text, sizeof text);
    return size > 0 && fwrite(text, (size_t)size, 1, stdout) == 1 ? 0 : 1;
}
