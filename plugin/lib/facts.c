/* What KVM has: extensions, CPUID, MSRs. And the network. */
#include "plugin/lib/connection.h"
#include "plugin/lib/cpuid.h"

#include <errno.h>
#include <string.h>

int
vmsup_check_extension(struct vmsup *self, uint32_t extension, bool *has_extension)
{
    MainRequest__CheckExtension body = MAIN_REQUEST__CHECK_EXTENSION__INIT;
    const MainRequest request = CONNECTION_REQUEST(check_extension, CHECK_EXTENSION, &body);
    const MainResponse *response;
    int result;

    body.extension = extension;
    result = connection_call(self, &request, -1, MAIN_RESPONSE__MESSAGE_CHECK_EXTENSION, &response);
    if (result == 0)
        *has_extension = response->check_extension->has_extension;
    return result;
}

/* No capability of a VM's is permitted: the interface has the function, and the wire has no message for it. */
int
vmsup_enable_capability(struct vmsup *self, uint32_t capability, uint32_t flags, uint64_t args[4])
{
    (void)self;
    (void)capability;
    (void)flags;
    (void)args;
    return -EINVAL;
}

int
vmsup_get_supported_cpuid(struct vmsup *self, uint32_t count, struct kvm_cpuid_entry2 *entries, uint32_t *out_count)
{
    MainRequest__CpuidRequest body = MAIN_REQUEST__CPUID_REQUEST__INIT;
    const MainRequest request = CONNECTION_REQUEST(get_supported_cpuid, GET_SUPPORTED_CPUID, &body);
    const MainResponse *response;
    int result = connection_call(self, &request, -1, MAIN_RESPONSE__MESSAGE_GET_SUPPORTED_CPUID, &response);

    if (result < 0)
        return result;
    return cpuid_from_wire(response->get_supported_cpuid->entries, response->get_supported_cpuid->n_entries, count, entries,
                           out_count);
}

int
vmsup_get_emulated_cpuid(struct vmsup *self, uint32_t count, struct kvm_cpuid_entry2 *entries, uint32_t *out_count)
{
    MainRequest__CpuidRequest body = MAIN_REQUEST__CPUID_REQUEST__INIT;
    const MainRequest request = CONNECTION_REQUEST(get_emulated_cpuid, GET_EMULATED_CPUID, &body);
    const MainResponse *response;
    int result = connection_call(self, &request, -1, MAIN_RESPONSE__MESSAGE_GET_EMULATED_CPUID, &response);

    if (result < 0)
        return result;
    return cpuid_from_wire(response->get_emulated_cpuid->entries, response->get_emulated_cpuid->n_entries, count, entries,
                           out_count);
}

int
vmsup_get_msr_index_list(struct vmsup *self, uint32_t count, uint32_t *indices, uint32_t *out_count)
{
    MainRequest__MsrListRequest body = MAIN_REQUEST__MSR_LIST_REQUEST__INIT;
    const MainRequest request = CONNECTION_REQUEST(get_msr_index_list, GET_MSR_INDEX_LIST, &body);
    const MainResponse *response;
    const MainResponse__MsrList *list;
    int result = connection_call(self, &request, -1, MAIN_RESPONSE__MESSAGE_GET_MSR_INDEX_LIST, &response);

    if (result < 0)
        return result;
    list = response->get_msr_index_list;
    *out_count = (uint32_t)list->n_indices;
    if (list->n_indices > count)
        return -E2BIG;
    if (list->n_indices > 0)
        memcpy(indices, list->indices, list->n_indices * sizeof *indices);
    return 0;
}

int
vmsup_net_get_config(struct vmsup *self, struct vmsup_net_config *config)
{
    MainRequest__GetNetConfig body = MAIN_REQUEST__GET_NET_CONFIG__INIT;
    const MainRequest request = CONNECTION_REQUEST(get_net_config, GET_NET_CONFIG, &body);
    const MainResponse *response;
    const MainResponse__GetNetConfig *given;
    int tap, result = connection_call(self, &request, -1, MAIN_RESPONSE__MESSAGE_GET_NET_CONFIG, &response);

    if (result < 0)
        return result;
    given = response->get_net_config;
    if (given->host_mac_address.len != sizeof config->host_mac_address)
        return -EPROTO;
    tap = connection_take_fd(self, 0);
    if (tap < 0)
        return tap;
    *config = (struct vmsup_net_config){
        .tap_fd = tap, .host_ip = given->host_ipv4_address, .netmask = given->netmask,
    };
    memcpy(config->host_mac_address, given->host_mac_address.data, sizeof config->host_mac_address);
    return 0;
}
