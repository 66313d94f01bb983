/* The VM's network, as the supervisor set it up. */
#include "vmproc/request.h"

#include <errno.h>

int
net_get_config(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    (void)request;
    if (vm->network.tap < 0)
        return -ENODATA;
    reply->body.net_config.host_mac_address.data = vm->network.host_mac_address;
    reply->body.net_config.host_mac_address.len = VM_MAC_SIZE;
    reply->body.net_config.host_ipv4_address = vm->network.host_ipv4_address;
    reply->body.net_config.netmask = vm->network.netmask;
    reply_add_fd(reply, vm->network.tap, REPLY_FD_VM);
    return 0;
}
