/* What the kernel does with classic BPF over struct seccomp_data, as far as filters use it; see bpf_check_classic() for what there may be. */
#include "policy/policy.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/bpf_common.h>
#include <linux/seccomp.h>
#include <string.h>

#define SCRATCH_WORDS 16

struct machine {
    uint32_t a, x, scratch[SCRATCH_WORDS];
};

static bool
jump_holds(unsigned operation, uint32_t a, uint32_t operand)
{
    switch (operation) {
    case BPF_JEQ:
        return a == operand;
    case BPF_JGT:
        return a > operand;
    case BPF_JGE:
        return a >= operand;
    default: /* BPF_JSET */
        return (a & operand) != 0;
    }
}

static void
calculate(struct machine *machine, unsigned operation, uint32_t operand)
{
    switch (operation) {
    case BPF_ADD:
        machine->a += operand;
        break;
    case BPF_SUB:
        machine->a -= operand;
        break;
    case BPF_AND:
        machine->a &= operand;
        break;
    case BPF_OR:
        machine->a |= operand;
        break;
    case BPF_LSH:
        machine->a = operand < 32 ? machine->a << operand : 0;
        break;
    case BPF_RSH:
        machine->a = operand < 32 ? machine->a >> operand : 0;
        break;
    default:
        machine->a ^= operand;
        break;
    }
}

static uint32_t
load(const struct machine *machine, const struct sock_filter *instruction, const struct seccomp_data *data)
{
    uint32_t word = 0;

    if (BPF_MODE(instruction->code) == BPF_IMM)
        return instruction->k;
    if (BPF_MODE(instruction->code) == BPF_MEM)
        return instruction->k < SCRATCH_WORDS ? machine->scratch[instruction->k] : 0;
    if (instruction->k <= sizeof *data - sizeof word)
        memcpy(&word, (const char *)data + instruction->k, sizeof word);
    return word;
}

/* A program that falls off its end, which the kernel would not take, kills. */
static uint32_t
run(const struct policy_program *program, const struct seccomp_data *data)
{
    struct machine machine = { 0 };

    for (size_t pc = 0; pc < program->length; pc++) {
        const struct sock_filter *each = &program->instructions[pc];
        const uint32_t operand = BPF_SRC(each->code) == BPF_X ? machine.x : each->k;

        switch (BPF_CLASS(each->code)) {
        case BPF_LD:
            machine.a = load(&machine, each, data);
            break;
        case BPF_LDX:
            machine.x = load(&machine, each, data);
            break;
        case BPF_ST:
            if (each->k < SCRATCH_WORDS)
                machine.scratch[each->k] = machine.a;
            break;
        case BPF_ALU:
            calculate(&machine, BPF_OP(each->code), operand);
            break;
        case BPF_JMP:
            if (BPF_OP(each->code) == BPF_JA)
                pc += each->k;
            else
                pc += jump_holds(BPF_OP(each->code), machine.a, operand) ? each->jt : each->jf;
            break;
        case BPF_MISC:
            if (BPF_MISCOP(each->code) == BPF_TAX)
                machine.x = machine.a;
            else
                machine.a = machine.x;
            break;
        default:
            return BPF_RVAL(each->code) == BPF_A ? machine.a : each->k;
        }
    }
    return SECCOMP_RET_KILL_PROCESS;
}

static struct policy_result
to_result(uint32_t verdict)
{
    switch (verdict & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
        return (struct policy_result){ .verdict = POLICY_ALLOW };
    case SECCOMP_RET_LOG:
        return (struct policy_result){ .verdict = POLICY_LOG };
    case SECCOMP_RET_ERRNO:
        return (struct policy_result){ .verdict = POLICY_ERRNO, .error = (int)(verdict & SECCOMP_RET_DATA) };
    case SECCOMP_RET_TRAP:
        return (struct policy_result){ .verdict = POLICY_TRAP };
    case SECCOMP_RET_KILL_THREAD:
        return (struct policy_result){ .verdict = POLICY_KILL_THREAD };
    default:
        return (struct policy_result){ .verdict = POLICY_KILL_PROCESS };
    }
}

struct policy_result
policy_simulate(const struct policy_program *program, int number, const uint64_t arguments[6])
{
    struct seccomp_data data = { .nr = number, .arch = AUDIT_ARCH_X86_64 };

    for (size_t i = 0; i < 6; i++)
        data.args[i] = arguments[i];
    return to_result(run(program, &data));
}
