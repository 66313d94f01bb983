/* What this machine's KVM has: extensions, CPUID, MSRs. */
#include "vmproc/cpuid_table.h"
#include "vmproc/kvm.h"
#include "vmproc/request.h"

#include <errno.h>

int
cpuid_check_extension(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    reply->body.check_extension.has_extension =
        kvm_check_extension(vm->fd, request->message->check_extension->extension) == 1;
    return 0;
}

static int
get_cpuid(struct vm *vm, int (*get)(int kvm, struct kvm_cpuid2 *cpuid), struct reply *reply)
{
    struct cpuid_table table;
    int result;

    cpuid_table_init(&table);
    result = get(vm->kvm, cpuid_table_for_kvm(&table));
    if (result < 0)
        return result;
    cpuid_table_hide_virtualization(&table);
    result = cpuid_table_to_wire(&table, reply->arena, &reply->body.cpuid.entries);
    if (result < 0)
        return result;
    reply->body.cpuid.n_entries = (size_t)result;
    return 0;
}

int
cpuid_get_supported(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    (void)request;
    return get_cpuid(vm, kvm_get_supported_cpuid, reply);
}

int
cpuid_get_emulated(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    (void)request;
    return get_cpuid(vm, kvm_get_emulated_cpuid, reply);
}

int
cpuid_get_msr_indices(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    struct kvm_msr_list *list = reply_allocate(reply, sizeof *list + LIMIT_MSR_INDICES * sizeof list->indices[0]);
    int result;

    (void)request;
    if (list == NULL)
        return -ENOMEM;
    list->nmsrs = LIMIT_MSR_INDICES;
    result = kvm_get_msr_index_list(vm->kvm, list);
    if (result < 0)
        return result;
    reply->body.msr_list.indices = list->indices;
    reply->body.msr_list.n_indices = list->nmsrs;
    return 0;
}
