#include "policy/code.h"

#include <linux/seccomp.h>
#include <string.h>

void
code_add(struct code *code, unsigned operation, size_t if_true, size_t if_false, uint32_t k)
{
    if (code->count < CODE_MAX)
        code->instruction[code->count] = (struct sock_filter){
            .code = (unsigned short)operation, .jt = (uint8_t)if_true, .jf = (uint8_t)if_false, .k = k,
        };
    code->count++;
}

void
code_load(struct code *code, size_t offset)
{
    code_add(code, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

void
code_return(struct code *code, uint32_t verdict)
{
    code_add(code, BPF_RET | BPF_K, 0, 0, verdict);
}

size_t
code_jump(struct code *code)
{
    code_add(code, BPF_JMP | BPF_JA, 0, 0, 0);
    return code->count - 1;
}

void
code_land(struct code *code, size_t place)
{
    if (place < CODE_MAX)
        code->instruction[place].k = (uint32_t)(code->count - place - 1);
}

/* A comparison of 64 bits as BPF has it, on words; the other operators are the negation of one of these. */
struct comparison {
    uint64_t value;
    unsigned high, low; /* BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET */
    bool negated;
};

static struct comparison
to_comparison(const struct policy_atom *atom)
{
    struct comparison comparison = { .value = atom->value };

    switch (atom->operator) {
    case POLICY_NOT_EQUAL:
        comparison.negated = true;
        /* fall through */
    case POLICY_EQUAL:
        comparison.high = comparison.low = BPF_JEQ;
        break;
    case POLICY_LESS_EQUAL:
        comparison.negated = true;
        /* fall through */
    case POLICY_GREATER:
        comparison.high = comparison.low = BPF_JGT;
        break;
    case POLICY_LESS:
        comparison.negated = true;
        /* fall through */
    case POLICY_GREATER_EQUAL:
        comparison.high = BPF_JGT;
        comparison.low = BPF_JGE;
        break;
    case POLICY_ONLY_BITS:
        comparison.negated = true;
        comparison.value = ~atom->value;
        /* fall through */
    case POLICY_ANY_BIT:
        comparison.high = comparison.low = BPF_JSET;
        break;
    }
    return comparison;
}

/*
 * Goes on with what is added next where the atom holds; gives the place of the jump that is taken where it does not. That one is long:
 * a conditional jump reaches 255 instructions at most.
 */
static size_t
add_atom(struct code *code, const struct policy_atom *atom)
{
    const struct comparison comparison = to_comparison(atom);
    const size_t low = offsetof(struct seccomp_data, args) + atom->argument * sizeof(uint64_t);
    const uint32_t high_value = (uint32_t)(comparison.value >> 32), low_value = (uint32_t)comparison.value;
    /* From the last instruction of the comparison: to the long jump, and past it. */
    const size_t yes = comparison.negated ? 0 : 1, no = comparison.negated ? 1 : 0;

    code_load(code, low + sizeof(uint32_t));
    switch (comparison.high) {
    case BPF_JEQ:
        code_add(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 2 + no, high_value);
        break;
    case BPF_JSET:
        code_add(code, BPF_JMP | BPF_JSET | BPF_K, 2 + yes, 0, high_value);
        break;
    default: /* greater: the low words matter where the high ones are equal */
        code_add(code, BPF_JMP | BPF_JGT | BPF_K, 3 + yes, 0, high_value);
        code_add(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 2 + no, high_value);
    }
    code_load(code, low);
    code_add(code, BPF_JMP | comparison.low | BPF_K, yes, no, low_value);
    return code_jump(code);
}

void
code_condition(struct code *code, const struct policy_rule *rule, uint32_t holds, uint32_t fails)
{
    size_t jump[POLICY_ATOMS_MAX];

    for (size_t i = 0; i < rule->count; i++) {
        const struct policy_conjunction *conjunction = &rule->conjunction[i];

        for (size_t j = 0; j < conjunction->count; j++)
            jump[j] = add_atom(code, &conjunction->atom[j]);
        code_return(code, holds);
        for (size_t j = 0; j < conjunction->count; j++)
            code_land(code, jump[j]);
    }
    code_return(code, fails);
}
