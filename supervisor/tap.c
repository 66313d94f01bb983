#include "supervisor/tap.h"

#include "common/fd.h"
#include "supervisor/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if_arp.h>
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

/* A descriptor of the link `name`; with '%' in it, of a new one, whose name it becomes. */
static int
open_queue(char name[IFNAMSIZ], short flags, int *fd)
{
    struct ifreq request = { .ifr_flags = flags };

    *fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC);
    if (*fd < 0)
        return -errno;
    strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    if (ioctl(*fd, TUNSETIFF, &request) < 0)
        return -errno;
    strlcpy(name, request.ifr_name, IFNAMSIZ);
    return 0;
}

static int
set_mac(int fd, const uint8_t mac[ETH_ALEN])
{
    struct ifreq request = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };

    memcpy(request.ifr_hwaddr.sa_data, mac, ETH_ALEN);
    return ioctl(fd, SIOCSIFHWADDR, &request) < 0 ? -errno : 0;
}

static int
open_link(const struct tap_settings *settings, struct tap *tap, short flags, struct failure *failure)
{
    char name[IFNAMSIZ] = TAP_NAME;
    int result;

    strlcpy(tap->name, "TAP", sizeof tap->name);
    result = open_queue(name, flags, &tap->fd);
    if (tap->fd < 0)
        return failure_set(failure, result == -EACCES ? EX_NOPERM : EX_UNAVAILABLE, result, "%s: %s: expected a host with TUN/TAP",
                           TUN_DEVICE, strerror(-result));
    if (result < 0)
        return step_failure(tap, "cannot be made", result, failure);
    strlcpy(tap->name, name, sizeof tap->name);
    /* At once: systemd-udevd gives a new link an address of its own, but for one that was given one before it looks. */
    result = set_mac(tap->fd, settings->mac);
    if (result < 0)
        return step_failure(tap, "cannot set the MAC address", result, failure);
    tap->index = (int)if_nametoindex(tap->name);
    if (tap->index == 0)
        return step_failure(tap, "has no index", -errno, failure);
    tap->kept = fcntl(tap->fd, F_DUPFD_CLOEXEC, 3);
    if (tap->kept < 0)
        return step_failure(tap, "cannot be kept", -errno, failure);
    return 0;
}

/* The link, and its queues beside the first. */
static int
open_links(const struct tap_settings *settings, struct tap *tap, struct failure *failure)
{
    const bool many = settings->queues > 1;
    const short flags =
        (short)(IFF_TAP | IFF_NO_PI | (settings->vnet_header ? IFF_VNET_HDR : 0) | (many ? IFF_MULTI_QUEUE : 0));
    int result = open_link(settings, tap, flags, failure);

    for (unsigned int i = 0; result == 0 && many && i < settings->queues - 1; i++) {
        result = open_queue(tap->name, flags, &tap->more[i]);
        if (result < 0)
            step_failure(tap, "cannot have another queue", result, failure);
    }
    return result;
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
    result = netlink_add_address(&netlink, tap->index, settings->host_ip, settings->netmask);
    if (result < 0)
        step_failure(tap, "cannot set the address", result, failure);
    netlink_close(&netlink);
    return result;
}

int
tap_create(const struct tap_settings *settings, struct tap *tap, struct failure *failure)
{
    int result;

    *tap = (struct tap){ .fd = -1, .kept = -1 };
    memset(tap->more, -1, sizeof tap->more);
    if (settings->queues > TAP_QUEUES_MAX)
        return failure_set(failure, EX_SOFTWARE, -EINVAL, "a TAP of %u queues: expected at most %d", settings->queues, TAP_QUEUES_MAX);
    result = open_links(settings, tap, failure);
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

/* By its number: the descriptors are the plugin's by now, too. */
int
tap_settle(const struct tap *tap, const uint8_t mac[ETH_ALEN], struct failure *failure)
{
    struct netlink netlink;
    int result = netlink_open(&netlink);

    if (result < 0)
        return step_failure(tap, "cannot open rtnetlink", result, failure);
    result = netlink_set_mac(&netlink, tap->index, mac);
    netlink_close(&netlink);
    return result < 0 ? step_failure(tap, "cannot set the MAC address again", result, failure) : 0;
}

void
tap_destroy(struct tap *tap)
{
    fd_close(&tap->fd);
    fd_close_all(tap->more, TAP_QUEUES_MAX - 1);
    /* Fails where no link was attached to it, and then there is none to undo. */
    if (tap->kept >= 0)
        ioctl(tap->kept, TUNSETPERSIST, 0);
    fd_close(&tap->kept);
}
