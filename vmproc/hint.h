/*
 * The call hint: which registers are sent along with an access, so that the plugin need not ask for them. Pure: no
 * lock, no system call; who shares it between threads locks it (see vm.h).
 */
#ifndef VMSUP_VMPROC_HINT_H
#define VMSUP_VMPROC_HINT_H

#include "vmproc/limits.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hint_detail {
    bool match_rax, match_rbx, match_rcx, match_rdx;
    uint64_t rax, rbx, rcx, rdx;
    bool send_sregs, send_debugregs;
};

/* Address 0: there is no hint. */
struct hint {
    uint32_t space;
    uint64_t address;
    bool on_write;
    size_t detail_count;
    struct hint_detail detail[LIMIT_HINT_DETAILS];
};

/* Whether the registers are sent with an access to `address`: where space, address and direction are the hint's. */
bool hint_matches_access(const struct hint *hint, uint32_t space, uint64_t address, bool is_write);

/* The first detail all of whose named registers are as it says, on 64 bits; one that names none always is. NULL: none. */
const struct hint_detail *hint_find_detail(const struct hint *hint, const struct kvm_regs *regs);

#endif
