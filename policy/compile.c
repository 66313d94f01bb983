/*
 * From a policy to BPF. One filter decides everything, but for calls with `condition; return errno`: those it allows, and one more filter an
 * errno, loaded before it, has that errno as its default and allows where the condition holds. It begins by letting every other
 * call pass, since an errno would outrank the notification that a kill may be.
 */
#include "policy/products.h"

#include "common/fd.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/bpf_common.h>
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

#define INSTRUCTIONS_MAX BPF_MAXINSNS

struct builder {
    const struct policy *policy;
    const struct policy_compile_options *options;
    struct policy_error *error;
};

static int
refuse(struct builder *builder, int result, int number, const char *why)
{
    char name[64];

    policy_call_name(number, name, sizeof name);
    snprintf(builder->error->text, sizeof builder->error->text, "`%s` %s", name, why);
    return result;
}

static uint32_t
to_action(const struct builder *builder, struct policy_result result)
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
    return builder->options->notify ? SCMP_ACT_NOTIFY : SCMP_ACT_KILL_PROCESS;
}

static int
add_product(scmp_filter_ctx context, int number, const struct policy_product *product)
{
    struct scmp_arg_cmp tests[POLICY_ARGUMENTS];
    unsigned count = 0;

    for (unsigned i = 0; i < POLICY_ARGUMENTS; i++)
        if (product->mask[i] != 0)
            tests[count++] = (struct scmp_arg_cmp){
                .arg = i, .op = SCMP_CMP_MASKED_EQ, .datum_a = product->mask[i], .datum_b = product->value[i],
            };
    return seccomp_rule_add_exact_array(context, SCMP_ACT_ALLOW, number, count, tests);
}

static int
add_products(struct builder *builder, scmp_filter_ctx context, const struct policy_rule *rule)
{
    struct policy_products products;
    int result = products_expand(rule, &products);

    if (result < 0)
        return refuse(builder, result, rule->number, "has a condition that takes more than 128 rules to compile: say it more simply");
    if (products.always)
        return seccomp_rule_add_exact_array(context, SCMP_ACT_ALLOW, rule->number, 0, NULL);
    for (size_t i = 0; i < products.count && result == 0; i++)
        result = add_product(context, rule->number, &products.product[i]);
    return result;
}

static int
export_bpf(scmp_filter_ctx context, struct sock_filter **instructions, size_t *count)
{
    int fd = memfd_create("bpf", MFD_CLOEXEC), result;
    struct stat status;

    if (fd < 0)
        return -errno;
    result = seccomp_export_bpf(context, fd);
    if (result == 0 && fstat(fd, &status) < 0)
        result = -errno;
    if (result == 0) {
        *count = (size_t)status.st_size / sizeof **instructions;
        *instructions = malloc((size_t)status.st_size);
        if (*instructions == NULL)
            result = -ENOMEM;
        else if (lseek(fd, 0, SEEK_SET) < 0)
            result = -errno;
        else
            result = fd_read_all(fd, *instructions, (size_t)status.st_size);
    }
    fd_close(&fd);
    return result;
}

/* Instructions that go before a filter: all jumps in it are relative. */
struct prologue {
    struct sock_filter instruction[2 * POLICY_CALLS_MAX + 32];
    size_t count;
};

static void
add_instruction(struct prologue *prologue, unsigned code, size_t if_true, size_t if_false, uint32_t k)
{
    prologue->instruction[prologue->count++] =
        (struct sock_filter){ .code = (unsigned short)code, .jt = (uint8_t)if_true, .jf = (uint8_t)if_false, .k = k };
}

static void
add_load(struct prologue *prologue, size_t offset)
{
    add_instruction(prologue, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

#define SIXTH_ARGUMENT (offsetof(struct seccomp_data, args) + 5 * sizeof(uint64_t))

/*
 * Three calls pass where the sixth argument, which none of them has, is the key; little-endian. The number is looked at first: of a filter
 * that reads no argument for a call the kernel remembers that the call is allowed, and does not run it for that call again.
 */
static void
add_key(struct prologue *prologue, uint64_t key)
{
    static const uint32_t calls[] = { SYS_seccomp, SYS_sendmsg, SYS_execveat };
    const size_t calls_count = sizeof calls / sizeof calls[0];

    if (key == 0)
        return;
    add_load(prologue, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < calls_count; i++)
        add_instruction(prologue, BPF_JMP | BPF_JEQ | BPF_K, calls_count - 1 - i, i + 1 == calls_count ? 5 : 0, calls[i]);
    add_load(prologue, SIXTH_ARGUMENT);
    add_instruction(prologue, BPF_JMP | BPF_JEQ | BPF_K, 0, 3, (uint32_t)key);
    add_load(prologue, SIXTH_ARGUMENT + 4);
    add_instruction(prologue, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)(key >> 32));
    add_instruction(prologue, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

/* Every call passes but those for which this filter is, each of which jumps over the RET. */
static void
add_selection(struct prologue *prologue, const struct policy *policy, int error)
{
    add_load(prologue, offsetof(struct seccomp_data, arch));
    add_instruction(prologue, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    add_instruction(prologue, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    add_load(prologue, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < policy->rule_count; i++) {
        if (!policy->rules[i].conditional || policy->rules[i].otherwise != error)
            continue;
        /* A long jump takes an instruction of its own: jt has 8 bits. */
        add_instruction(prologue, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)policy->rules[i].number);
        add_instruction(prologue, BPF_JMP | BPF_JA, 0, 0, 0);
    }
    add_instruction(prologue, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < prologue->count; i++)
        if (prologue->instruction[i].code == (BPF_JMP | BPF_JA))
            prologue->instruction[i].k = (uint32_t)(prologue->count - i - 1);
}

static int
join(const struct prologue *prologue, scmp_filter_ctx context, struct policy_filter *filter)
{
    struct sock_filter *body = NULL;
    size_t count = 0, total;
    int result = export_bpf(context, &body, &count);

    if (result < 0)
        return result;
    total = prologue->count + count;
    filter->instructions = total > INSTRUCTIONS_MAX ? NULL : reallocarray(NULL, total, sizeof *body);
    if (filter->instructions != NULL) {
        memcpy(filter->instructions, prologue->instruction, prologue->count * sizeof *body);
        memcpy(filter->instructions + prologue->count, body, count * sizeof *body);
        filter->length = (unsigned short)total;
    } else {
        result = total > INSTRUCTIONS_MAX ? -E2BIG : -ENOMEM;
    }
    free(body);
    return result;
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

static int
add_rule(struct builder *builder, scmp_filter_ctx context, const struct policy_rule *rule, uint32_t default_action)
{
    uint32_t action;

    if (rule->conditional && rule->otherwise == 0)
        return add_products(builder, context, rule);
    action = rule->conditional ? SCMP_ACT_ALLOW : to_action(builder, rule->action);
    /* The default says it already, and libseccomp refuses to hear it twice. */
    return action == default_action ? 0 : seccomp_rule_add_exact_array(context, action, rule->number, 0, NULL);
}

static int
compile_main(struct builder *builder, struct policy_filter *filter)
{
    const struct policy *policy = builder->policy;
    const uint32_t default_action = to_action(builder, policy->default_action);
    scmp_filter_ctx context = begin_filter(default_action);
    struct prologue prologue = { .count = 0 };
    int result = context == NULL ? -ENOMEM : 0;

    for (size_t i = 0; i < policy->rule_count && result == 0; i++) {
        result = add_rule(builder, context, &policy->rules[i], default_action);
        if (result < 0 && builder->error->text[0] == '\0')
            refuse(builder, result, policy->rules[i].number, "is refused by libseccomp");
    }
    add_key(&prologue, builder->options->key);
    if (result == 0)
        result = join(&prologue, context, filter);
    filter->listener = builder->options->notify;
    if (context != NULL)
        seccomp_release(context);
    return result;
}

static int
compile_errno(struct builder *builder, int error, struct policy_filter *filter)
{
    const struct policy *policy = builder->policy;
    scmp_filter_ctx context = begin_filter(SCMP_ACT_ERRNO((uint32_t)error));
    struct prologue prologue = { .count = 0 };
    int result = context == NULL ? -ENOMEM : 0;

    for (size_t i = 0; i < policy->rule_count && result == 0; i++)
        if (policy->rules[i].conditional && policy->rules[i].otherwise == error)
            result = add_products(builder, context, &policy->rules[i]);
    add_key(&prologue, builder->options->key);
    add_selection(&prologue, policy, error);
    if (result == 0)
        result = join(&prologue, context, filter);
    if (context != NULL)
        seccomp_release(context);
    return result;
}

/* Whether an earlier rule has the same errno: its filter is for this one, too. */
static bool
is_first_of_errno(const struct policy *policy, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (policy->rules[i].conditional && policy->rules[i].otherwise == policy->rules[index].otherwise)
            return false;
    return true;
}

int
policy_compile(const struct policy *policy, const struct policy_compile_options *options, struct policy_program *program,
               struct policy_error *error)
{
    struct builder builder = { .policy = policy, .options = options, .error = error };
    int result = 0;

    *program = (struct policy_program){ 0 };
    error->text[0] = '\0';
    for (size_t i = 0; i < policy->rule_count && result == 0; i++) {
        const struct policy_rule *rule = &policy->rules[i];

        if (!rule->conditional || rule->otherwise == 0 || !is_first_of_errno(policy, i))
            continue;
        if (program->count == POLICY_FILTERS_MAX - 1)
            result = refuse(&builder, -E2BIG, rule->number, "returns one errno more than a policy may have");
        else
            result = compile_errno(&builder, rule->otherwise, &program->filter[program->count++]);
    }
    if (result == 0)
        result = compile_main(&builder, &program->filter[program->count++]);
    if (result < 0) {
        if (error->text[0] == '\0')
            snprintf(error->text, sizeof error->text, "the policy cannot be compiled: %s", strerror(-result));
        policy_program_free(program);
    }
    return result;
}

void
policy_program_free(struct policy_program *program)
{
    for (size_t i = 0; i < program->count; i++)
        free(program->filter[i].instructions);
    *program = (struct policy_program){ 0 };
}
