#include "policy/expression.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const operator_texts[] = {
    [POLICY_EQUAL] = "==",  [POLICY_NOT_EQUAL] = "!=",     [POLICY_LESS] = "<",    [POLICY_LESS_EQUAL] = "<=",
    [POLICY_GREATER] = ">", [POLICY_GREATER_EQUAL] = ">=", [POLICY_ANY_BIT] = "&", [POLICY_ONLY_BITS] = "in",
};

const char *
policy_operator_text(enum policy_operator operator)
{
    return operator_texts[operator];
}

void
policy_action_text(struct policy_result action, char *text, size_t size)
{
    static const char *const texts[] = {
        [POLICY_ALLOW] = "allow", [POLICY_ERRNO] = "return", [POLICY_LOG] = "log",
        [POLICY_TRAP] = "trap",   [POLICY_KILL_THREAD] = "kill-thread", [POLICY_KILL_PROCESS] = "kill",
    };
    const char *name = action.verdict == POLICY_ERRNO ? strerrorname_np(action.error) : NULL;

    if (action.verdict != POLICY_ERRNO)
        strlcpy(text, texts[action.verdict], size);
    else if (name != NULL)
        snprintf(text, size, "return %s", name);
    else
        snprintf(text, size, "return %d", action.error);
}

bool
policy_atom_holds(const struct policy_atom *atom, const uint64_t arguments[POLICY_ARGUMENTS])
{
    const uint64_t argument = arguments[atom->argument], value = atom->value;

    switch (atom->operator) {
    case POLICY_EQUAL:
        return argument == value;
    case POLICY_NOT_EQUAL:
        return argument != value;
    case POLICY_LESS:
        return argument < value;
    case POLICY_LESS_EQUAL:
        return argument <= value;
    case POLICY_GREATER:
        return argument > value;
    case POLICY_GREATER_EQUAL:
        return argument >= value;
    case POLICY_ANY_BIT:
        return (argument & value) != 0;
    case POLICY_ONLY_BITS:
        return (argument & ~value) == 0;
    }
    return false;
}

const struct policy_rule *
policy_find_rule(const struct policy *policy, int number)
{
    for (size_t i = 0; i < policy->rule_count; i++)
        if (policy->rules[i].number == number)
            return &policy->rules[i];
    return NULL;
}

static bool
conjunction_holds(const struct policy_conjunction *conjunction, const uint64_t arguments[POLICY_ARGUMENTS])
{
    for (size_t i = 0; i < conjunction->count; i++)
        if (!policy_atom_holds(&conjunction->atom[i], arguments))
            return false;
    return true;
}

struct policy_result
policy_evaluate(const struct policy *policy, int number, const uint64_t arguments[6])
{
    const struct policy_rule *rule = policy_find_rule(policy, number);

    if (rule == NULL)
        return policy->default_action;
    if (!rule->conditional)
        return rule->action;
    for (size_t i = 0; i < rule->count; i++)
        if (conjunction_holds(&rule->conjunction[i], arguments))
            return (struct policy_result){ .verdict = POLICY_ALLOW };
    if (rule->otherwise != 0)
        return (struct policy_result){ .verdict = POLICY_ERRNO, .error = rule->otherwise };
    return policy->default_action;
}

void
policy_free(struct policy *policy)
{
    if (policy == NULL)
        return;
    for (size_t i = 0; i < policy->rule_count; i++) {
        for (size_t k = 0; k < policy->rules[i].count; k++)
            free(policy->rules[i].conjunction[k].atom);
        free(policy->rules[i].conjunction);
    }
    for (size_t i = 0; i < policy->file_count; i++)
        free(policy->files[i]);
    free(policy->files);
    free(policy->rules);
    free(policy);
}

void
policy_call_name(int number, char *name, size_t size)
{
    char *found = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);

    if (found != NULL)
        strlcpy(name, found, size);
    else
        snprintf(name, size, "call %d", number);
    free(found);
}
