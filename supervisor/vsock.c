#include "supervisor/vsock.h"

#include "common/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>

/* NAME/vsock, or with a suffix; false: there is no room for it. */
static bool
make_address(const struct runtime *runtime, const char *suffix, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    return snprintf(address->sun_path, sizeof address->sun_path, "%s/%s/" VSOCK_SOCKET_NAME "%s", runtime->path, runtime->name, suffix) <
           (int)sizeof address->sun_path;
}

static bool
make_port_address(const struct runtime *runtime, uint32_t port, struct sockaddr_un *address)
{
    char suffix[16];

    snprintf(suffix, sizeof suffix, "_%" PRIu32, port);
    return make_address(runtime, suffix, address);
}

int
vsock_listen(const struct runtime *runtime, int *listener, struct failure *failure)
{
    struct sockaddr_un address;
    int fd, result = 0;
    mode_t before;

    if (!make_port_address(runtime, UINT32_MAX, &address))
        return failure_set(failure, EX_USAGE, -ENAMETOOLONG,
                           "--vsock: %s/%s is too long to have sockets in it: expected a shorter runtime folder or name", runtime->path,
                           runtime->name);
    make_address(runtime, "", &address);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    before = umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, VSOCK_QUEUE_MAX) < 0)
        result = -errno;
    umask(before);
    if (result < 0) {
        fd_close(&fd);
        return failure_set(failure, EX_CANTCREAT, result, "cannot make the socket %s: %s", address.sun_path, strerror(-result));
    }
    *listener = fd;
    return 0;
}

int
vsock_connect(const struct runtime *runtime, uint32_t port)
{
    struct sockaddr_un address;
    int fd, result;

    if (!make_port_address(runtime, port, &address))
        return -ENAMETOOLONG;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    result = -errno;
    fd_close(&fd);
    return result;
}
