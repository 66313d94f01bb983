#include "supervisor/tap.h"

#include "common/fd.h"
#include "supervisor/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <unistd.h>

#define TUN_DEVICE "/dev/net/tun"
/* The kernel puts the first free number in place of %d. */
#define TAP_NAME "vmsup%d"
#define IPV6_SETTINGS "/proc/sys/net/ipv6"

static int
step_failure(const struct tap *tap, const char *step, int error, struct failure *failure)
{
    return failure_set(failure, error == -EPERM || error == -EACCES ? EX_NOPERM : EX_OSERR, error, "%s: %s: %s", tap->name, step,
                       strerror(-error));
}

static int
open_link(struct tap *tap, short flags, struct failure *failure)
{
    struct ifreq request = { .ifr_name = TAP_NAME };

    strlcpy(tap->name, "TAP", sizeof tap->name);
    tap->fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC);
    if (tap->fd < 0)
        return failure_set(failure, errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE, -errno, "%s: %s: expected a host with TUN/TAP",
                           TUN_DEVICE, strerror(errno));
    request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags);
    if (ioctl(tap->fd, TUNSETIFF, &request) < 0)
        return step_failure(tap, "cannot be made", -errno, failure);
    strlcpy(tap->name, request.ifr_name, sizeof tap->name);
    tap->index = (int)if_nametoindex(tap->name);
    if (tap->index == 0)
        return step_failure(tap, "has no index", -errno, failure);
    tap->kept = fcntl(tap->fd, F_DUPFD_CLOEXEC, 3);
    if (tap->kept < 0)
        return step_failure(tap, "cannot be kept", -errno, failure);
    return 0;
}

/* Sets it to `value` and looks whether it took. */
static int
set_ipv6(const struct tap *tap, const char *setting, const char *value)
{
    char path[128], found[16];
    ssize_t length;
    int result;

    snprintf(path, sizeof path, IPV6_SETTINGS "/conf/%s/%s", tap->name, setting);
    result = fd_write_file(AT_FDCWD, path, value);
    if (result < 0)
        return result;
    length = fd_read_file(AT_FDCWD, path, found, sizeof found);
    if (length < 0)
        return (int)length;
    return strncmp(found, value, strlen(value)) == 0 ? 0 : -EIO;
}

/* The host's side speaks no IPv6 with the guest, whatever the host's defaults. */
static int
refuse_ipv6(const struct tap *tap, struct failure *failure)
{
    int result;

    /* A kernel without IPv6 has nothing to refuse. */
    if (access(IPV6_SETTINGS, F_OK) < 0 && errno == ENOENT)
        return 0;
    result = set_ipv6(tap, "accept_ra", "0");
    if (result < 0)
        return step_failure(tap, "cannot refuse router advertisements", result, failure);
    result = set_ipv6(tap, "disable_ipv6", "1");
    return result < 0 ? step_failure(tap, "cannot switch IPv6 off", result, failure) : 0;
}

static int
set_addresses(const struct tap_settings *settings, const struct tap *tap, struct failure *failure)
{
    struct netlink netlink;
    int result = netlink_open(&netlink);

    if (result < 0)
        return step_failure(tap, "cannot open rtnetlink", result, failure);
    result = netlink_set_mac(&netlink, tap->index, settings->mac);
    if (result < 0) {
        step_failure(tap, "cannot set the MAC address", result, failure);
    } else {
        result = netlink_add_address(&netlink, tap->index, settings->host_ip, settings->netmask);
        if (result < 0)
            step_failure(tap, "cannot set the address", result, failure);
    }
    netlink_close(&netlink);
    return result;
}

int
tap_create(const struct tap_settings *settings, struct tap *tap, struct failure *failure)
{
    int result;

    *tap = (struct tap){ .fd = -1, .kept = -1 };
    result = open_link(tap, settings->flags, failure);
    if (result == 0)
        result = refuse_ipv6(tap, failure);
    if (result == 0)
        result = set_addresses(settings, tap, failure);
    if (result < 0)
        tap_destroy(tap);
    return result;
}

int
tap_up(const struct tap *tap, struct failure *failure)
{
    struct netlink netlink;
    int result = netlink_open(&netlink);

    if (result < 0)
        return step_failure(tap, "cannot open rtnetlink", result, failure);
    result = netlink_set_up(&netlink, tap->index);
    netlink_close(&netlink);
    return result < 0 ? step_failure(tap, "cannot be brought up", result, failure) : 0;
}

void
tap_destroy(struct tap *tap)
{
    fd_close(&tap->fd);
    /* Fails where no link was attached to it, and then there is none to undo. */
    if (tap->kept >= 0)
        ioctl(tap->kept, TUNSETPERSIST, 0);
    fd_close(&tap->kept);
}
