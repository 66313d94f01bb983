/* Which of the guest's accesses are reported, and which registers go with them. */
#include "vmproc/request.h"

#include <errno.h>

int
access_reserve_range(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const MainRequest__ReserveRange *wanted = request->message->reserve_range;
    int result;

    (void)reply;
    pthread_rwlock_wrlock(&vm->access_lock);
    if (wanted->length == 0)
        result = ranges_remove(&vm->ranges, (uint32_t)wanted->space, wanted->start);
    else
        result = ranges_add(&vm->ranges, (uint32_t)wanted->space, wanted->start, wanted->length, wanted->async_write);
    pthread_rwlock_unlock(&vm->access_lock);
    return result;
}

int
access_set_call_hint(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const MainRequest__SetCallHint *wanted = request->message->set_call_hint;
    struct hint hint = { .space = (uint32_t)wanted->space, .address = wanted->address, .on_write = wanted->on_write };

    (void)reply;
    if (wanted->space != ADDRESS_SPACE__IOPORT && wanted->space != ADDRESS_SPACE__MMIO)
        return -EINVAL;
    if (wanted->n_hints > LIMIT_HINT_DETAILS)
        return -EINVAL;
    for (size_t i = 0; i < wanted->n_hints; i++) {
        const MainRequest__SetCallHint__RegHint *detail = wanted->hints[i];

        hint.detail[i] = (struct hint_detail){
            .match_rax = detail->match_rax,
            .match_rbx = detail->match_rbx,
            .match_rcx = detail->match_rcx,
            .match_rdx = detail->match_rdx,
            .rax = detail->rax,
            .rbx = detail->rbx,
            .rcx = detail->rcx,
            .rdx = detail->rdx,
            .send_sregs = detail->send_sregs,
            .send_debugregs = detail->send_debugregs,
        };
    }
    hint.detail_count = wanted->n_hints;
    pthread_rwlock_wrlock(&vm->access_lock);
    vm->hint = hint;
    pthread_rwlock_unlock(&vm->access_lock);
    return 0;
}
