/*
 * What a network card does of TCP's work: offloads INTERFACE on|off. Sets checksums and segmentation, in sending and in receiving, and
 * prints what then holds: "checksum 1 segmentation 1 1 1".
 */
#include <err.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static unsigned
request(int fd, const char *name, unsigned command, unsigned value)
{
    struct ethtool_value what = { .cmd = command, .data = value };
    struct ifreq wanted = { .ifr_data = (void *)&what };

    memcpy(wanted.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    if (ioctl(fd, SIOCETHTOOL, &wanted) < 0)
        err(1, "request %#x of %s", command, name);
    return what.data;
}

int
main(int argc, char **argv)
{
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    unsigned value;

    if (argc != 3 || fd < 0)
        errx(64, "usage: offloads INTERFACE on|off");
    value = strcmp(argv[2], "on") == 0;
    request(fd, argv[1], ETHTOOL_STXCSUM, value);
    request(fd, argv[1], ETHTOOL_STSO, value);
    request(fd, argv[1], ETHTOOL_SGSO, value);
    request(fd, argv[1], ETHTOOL_SGRO, value);
    printf("checksum %u segmentation %u %u %u\n", request(fd, argv[1], ETHTOOL_GTXCSUM, 0), request(fd, argv[1], ETHTOOL_GTSO, 0),
           request(fd, argv[1], ETHTOOL_GGSO, 0), request(fd, argv[1], ETHTOOL_GGRO, 0));
    return 0;
}
