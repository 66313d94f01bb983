/*
 * BPF being written: instructions one after the other, and the conditions of rules as such. libseccomp is not asked to do this: it
 * compiles comparisons wrongly in places, and for some sets of masked equalities, which it does compile rightly, it does not come to an
 * end. Instructions that no longer fit are counted, not kept; whoever is done looks at the count. Internal to policy/.
 */
#ifndef VMSUP_POLICY_CODE_H
#define VMSUP_POLICY_CODE_H

#include "policy/expression.h"

#include <linux/bpf_common.h>
#include <linux/filter.h>

#define CODE_MAX BPF_MAXINSNS

struct code {
    struct sock_filter instruction[CODE_MAX];
    size_t count; /* above CODE_MAX: it did not fit */
};

/* `code` is BPF's; the jumps are relative, and used by conditional jumps only. */
void code_add(struct code *code, unsigned operation, size_t if_true, size_t if_false, uint32_t k);
/* Loads a word of struct seccomp_data. */
void code_load(struct code *code, size_t offset);
void code_return(struct code *code, uint32_t verdict);
/* A jump whose target comes later: gives its place, for code_land(). */
size_t code_jump(struct code *code);
/* Makes the jump at `place` lead to what is added next. */
void code_land(struct code *code, size_t place);

/* Returns `holds` where any of the rule's conjunctions does, else `fails`: nothing after it is reached. */
void code_condition(struct code *code, const struct policy_rule *rule, uint32_t holds, uint32_t fails);

#endif
