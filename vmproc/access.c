/* Which of the guest's accesses are reported, and which registers go with them. */
#include "vmproc/request.h"

#include <errno.h>

static int
reserve(struct vm *vm, uint32_t space, uint64_t start, uint64_t length, enum range_kind kind)
{
    int result;

    pthread_rwlock_wrlock(&vm->access_lock);
    result = ranges_add(&vm->ranges, space, start, length, kind);
    pthread_rwlock_unlock(&vm->access_lock);
    return result;
}

static int
forget(struct vm *vm, uint32_t space, uint64_t start)
{
    int result;

    pthread_rwlock_wrlock(&vm->access_lock);
    result = ranges_remove(&vm->ranges, space, start);
    pthread_rwlock_unlock(&vm->access_lock);
    return result;
}

/* Only this thread changes the ranges: it may look at them without the lock. */
static int
release(struct vm *vm, uint32_t space, uint64_t start)
{
    const struct range *range = space < RANGES_SPACES ? ranges_find(&vm->ranges, space, start) : NULL;

    if (range != NULL && range->start == start && range->kind == RANGE_COALESCED)
        coalesced_remove(vm, space, start, range->length);
    return forget(vm, space, start);
}

/* The range is there before KVM puts the first write into its ring. */
static int
reserve_coalesced(struct vm *vm, uint32_t space, uint64_t start, uint64_t length)
{
    int result = reserve(vm, space, start, length, RANGE_COALESCED);

    if (result < 0)
        return result;
    result = coalesced_add(vm, space, start, length);
    if (result < 0)
        forget(vm, space, start);
    return result;
}

int
access_reserve_range(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const MainRequest__ReserveRange *wanted = request->message->reserve_range;
    const uint32_t space = (uint32_t)wanted->space;

    (void)reply;
    if (wanted->length == 0)
        return release(vm, space, wanted->start);
    if (wanted->coalesce)
        return reserve_coalesced(vm, space, wanted->start, wanted->length);
    return reserve(vm, space, wanted->start, wanted->length, wanted->async_write ? RANGE_ASYNC : RANGE_AWAITED);
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
