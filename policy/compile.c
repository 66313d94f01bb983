/*
 * From a policy to BPF, one filter. libseccomp writes what decides by architecture and number alone; before it stands what looks at arguments:
 * the calls that pass with a key, and the conditions. Whatever that does not decide, a foreign architecture included, comes to libseccomp's.
 */
#include "policy/code.h"

#include "common/fd.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A libseccomp action is what the kernel's filter returns. */
static uint32_t
to_action(const struct policy_compile_options *options, struct policy_result result)
{
    switch (result.verdict) {
    case POLICY_ALLOW:
        return SCMP_ACT_ALLOW;
    case POLICY_ERRNO:
        return SCMP_ACT_ERRNO((uint32_t)result.error);
    case POLICY_LOG:
        return SCMP_ACT_LOG;
    case POLICY_TRAP:
        return SCMP_ACT_TRAP;
    case POLICY_KILL_THREAD:
        return SCMP_ACT_KILL_THREAD;
    case POLICY_KILL_PROCESS:
        break;
    }
    return options->notify ? SCMP_ACT_NOTIFY : SCMP_ACT_KILL_PROCESS;
}

#define SIXTH_ARGUMENT (offsetof(struct seccomp_data, args) + 5 * sizeof(uint64_t))

/*
 * Two calls pass where the sixth argument, which neither has, is the key; little-endian. The number is looked at first: of a filter
 * that reads no argument for a call the kernel remembers that the call is allowed, and does not run it for that call again. Both
 * halves of the key are looked at before anything depends on either: a program that may call sendmsg(2) tries as often as it likes,
 * and the time it takes must not tell one half, which could be guessed alone.
 */
static void
add_key(struct code *code, uint64_t key)
{
    static const uint32_t calls[] = { SYS_sendmsg, SYS_execveat };
    const size_t calls_count = sizeof calls / sizeof calls[0];

    if (key == 0)
        return;
    code_load(code, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < calls_count; i++)
        code_add(code, BPF_JMP | BPF_JEQ | BPF_K, calls_count - 1 - i, i + 1 == calls_count ? 8 : 0, calls[i]);
    code_load(code, SIXTH_ARGUMENT + sizeof(uint32_t));
    code_add(code, BPF_ALU | BPF_XOR | BPF_K, 0, 0, (uint32_t)(key >> 32));
    code_add(code, BPF_MISC | BPF_TAX, 0, 0, 0);
    code_load(code, SIXTH_ARGUMENT);
    code_add(code, BPF_ALU | BPF_XOR | BPF_K, 0, 0, (uint32_t)key);
    code_add(code, BPF_ALU | BPF_OR | BPF_X, 0, 0, 0);
    code_add(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    code_return(code, SECCOMP_RET_ALLOW);
}

/* Each call with a condition, and the condition behind it, which decides. */
static void
add_conditions(struct code *code, const struct policy *policy, const struct policy_compile_options *options)
{
    code_load(code, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        const struct policy_result error = { .verdict = POLICY_ERRNO, .error = rule->otherwise };
        size_t next;

        if (!rule->conditional)
            continue;
        code_add(code, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, (uint32_t)rule->number);
        next = code_jump(code);
        code_condition(code, rule, SECCOMP_RET_ALLOW, to_action(options, rule->otherwise != 0 ? error : policy->default_action));
        code_land(code, next);
    }
}

static scmp_filter_ctx
begin_filter(uint32_t action)
{
    scmp_filter_ctx context = seccomp_init(action);

    /* A call of another architecture would else kill one thread only. */
    if (context != NULL && (seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) < 0 ||
                            seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0) < 0)) {
        seccomp_release(context);
        return NULL;
    }
    return context;
}

/* What libseccomp wrote, behind what is there. */
static int
append_filter(struct code *code, scmp_filter_ctx context)
{
    int fd = memfd_create("bpf", MFD_CLOEXEC), result;
    struct stat status;
    size_t count;

    if (fd < 0)
        return -errno;
    result = seccomp_export_bpf(context, fd);
    if (result == 0 && (fstat(fd, &status) < 0 || lseek(fd, 0, SEEK_SET) < 0))
        result = -errno;
    if (result == 0) {
        count = (size_t)status.st_size / sizeof code->instruction[0];
        if (code->count > CODE_MAX || count > CODE_MAX - code->count)
            result = -E2BIG;
        else
            result = fd_read_all(fd, &code->instruction[code->count], (size_t)status.st_size);
        code->count += count;
    }
    fd_close(&fd);
    return result;
}

/* The calls that are decided by their number. */
static int
add_numbers(struct code *code, const struct policy *policy, const struct policy_compile_options *options)
{
    const uint32_t default_action = to_action(options, policy->default_action);
    scmp_filter_ctx context = begin_filter(default_action);
    int result = context == NULL ? -ENOMEM : 0;

    for (size_t i = 0; i < policy->rule_count && result == 0; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        const uint32_t action = to_action(options, rule->action);

        /* What the default says already libseccomp refuses to hear twice. */
        if (!rule->conditional && action != default_action)
            result = seccomp_rule_add_exact_array(context, action, rule->number, 0, NULL);
    }
    if (result == 0)
        result = append_filter(code, context);
    if (context != NULL)
        seccomp_release(context);
    return result;
}

int
policy_compile(const struct policy *policy, const struct policy_compile_options *options, struct policy_program *program,
               struct policy_error *error)
{
    struct code code = { .count = 0 };
    size_t foreign;
    int result;

    *program = (struct policy_program){ .listener = options->notify };
    error->text[0] = '\0';
    code_load(&code, offsetof(struct seccomp_data, arch));
    code_add(&code, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    foreign = code_jump(&code);
    add_key(&code, options->key);
    add_conditions(&code, policy, options);
    code_land(&code, foreign);
    result = add_numbers(&code, policy, options);
    if (result == 0) {
        program->instructions = reallocarray(NULL, code.count, sizeof code.instruction[0]);
        result = program->instructions == NULL ? -ENOMEM : 0;
    }
    if (result == 0) {
        memcpy(program->instructions, code.instruction, code.count * sizeof code.instruction[0]);
        program->length = (unsigned short)code.count;
    } else if (result == -E2BIG) {
        snprintf(error->text, sizeof error->text, "the policy makes a filter of %zu instructions: at most %d were expected", code.count,
                 CODE_MAX);
    } else {
        snprintf(error->text, sizeof error->text, "the policy cannot be compiled: %s", strerror(-result));
    }
    return result;
}

void
policy_program_free(struct policy_program *program)
{
    free(program->instructions);
    *program = (struct policy_program){ 0 };
}
