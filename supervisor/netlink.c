#include "supervisor/netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

/* Requests of a header and three attributes; answers carry the request back. MNL_SOCKET_BUFFER_SIZE is 8 KiB at most. */
#define MESSAGE_MAX 8192

int
netlink_open(struct netlink *netlink)
{
    netlink->sequence = 0;
    netlink->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (netlink->socket == NULL)
        return -errno;
    if (mnl_socket_bind(netlink->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        int error = errno;

        netlink_close(netlink);
        return -error;
    }
    return 0;
}

void
netlink_close(struct netlink *netlink)
{
    if (netlink->socket != NULL)
        mnl_socket_close(netlink->socket);
    netlink->socket = NULL;
}

static struct nlmsghdr *
begin_request(struct netlink *netlink, void *buffer, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);

    header->nlmsg_type = type;
    header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    header->nlmsg_seq = ++netlink->sequence;
    return header;
}

/* Sends it and waits for the acknowledgement. */
static int
ask(struct netlink *netlink, const struct nlmsghdr *header)
{
    unsigned int port = mnl_socket_get_portid(netlink->socket);
    char answer[MESSAGE_MAX];
    ssize_t length;
    int more;

    if (mnl_socket_sendto(netlink->socket, header, header->nlmsg_len) < 0)
        return -errno;
    do {
        length = mnl_socket_recvfrom(netlink->socket, answer, sizeof answer);
        if (length < 0)
            return -errno;
        more = mnl_cb_run(answer, (size_t)length, header->nlmsg_seq, port, NULL, NULL);
    } while (more > MNL_CB_STOP);
    return more < 0 ? -errno : 0;
}

int
netlink_set_mac(struct netlink *netlink, int link, const uint8_t mac[ETH_ALEN])
{
    char buffer[MESSAGE_MAX] = { 0 };
    struct nlmsghdr *header = begin_request(netlink, buffer, RTM_NEWLINK, 0);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(header, sizeof *info);

    info->ifi_family = AF_UNSPEC;
    info->ifi_index = link;
    mnl_attr_put(header, IFLA_ADDRESS, ETH_ALEN, mac);
    return ask(netlink, header);
}

int
netlink_add_address(struct netlink *netlink, int link, struct in_addr address, struct in_addr netmask)
{
    char buffer[MESSAGE_MAX] = { 0 };
    struct nlmsghdr *header = begin_request(netlink, buffer, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(header, sizeof *info);
    int prefix = __builtin_popcount(netmask.s_addr);

    info->ifa_family = AF_INET;
    info->ifa_prefixlen = (uint8_t)prefix;
    info->ifa_scope = RT_SCOPE_UNIVERSE;
    info->ifa_index = (uint32_t)link;
    mnl_attr_put_u32(header, IFA_LOCAL, address.s_addr);
    mnl_attr_put_u32(header, IFA_ADDRESS, address.s_addr);
    if (prefix <= 30)
        mnl_attr_put_u32(header, IFA_BROADCAST, address.s_addr | ~netmask.s_addr);
    return ask(netlink, header);
}

int
netlink_set_up(struct netlink *netlink, int link)
{
    char buffer[MESSAGE_MAX] = { 0 };
    struct nlmsghdr *header = begin_request(netlink, buffer, RTM_NEWLINK, 0);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(header, sizeof *info);

    info->ifi_family = AF_UNSPEC;
    info->ifi_index = link;
    info->ifi_flags = IFF_UP;
    info->ifi_change = IFF_UP;
    return ask(netlink, header);
}
