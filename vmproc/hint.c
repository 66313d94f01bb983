#include "vmproc/hint.h"

bool
hint_matches_access(const struct hint *hint, uint32_t space, uint64_t address, bool is_write)
{
    return hint->address != 0 && hint->address == address && hint->space == space && hint->on_write == is_write;
}

const struct hint_detail *
hint_find_detail(const struct hint *hint, const struct kvm_regs *regs)
{
    for (size_t i = 0; i < hint->detail_count; i++) {
        const struct hint_detail *detail = &hint->detail[i];

        if ((!detail->match_rax || detail->rax == regs->rax) && (!detail->match_rbx || detail->rbx == regs->rbx) &&
            (!detail->match_rcx || detail->rcx == regs->rcx) && (!detail->match_rdx || detail->rdx == regs->rdx))
            return detail;
    }
    return NULL;
}
