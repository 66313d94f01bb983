/*
 * A policy's text, whoever wrote it: it is refused with its place, or compiled, and then the filter does what the expressions say, for
 * each call that the policy names, with arguments made of the values in it.
 */
#include "policy/expression.h"
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define TRIES 24

static void
hold_against(const struct policy *policy, const struct policy_program *program, int number, uint64_t value, unsigned seed)
{
    uint64_t arguments[POLICY_ARGUMENTS];
    struct policy_result told, done;

    for (unsigned i = 0; i < POLICY_ARGUMENTS; i++)
        arguments[i] = ((seed >> i) & 1) != 0 ? value : value + seed - 3;
    told = policy_evaluate(policy, number, arguments);
    done = policy_simulate(program, number, arguments);
    if (told.verdict != done.verdict || (told.verdict == POLICY_ERRNO && told.error != done.error))
        abort();
}

static void
check_program(const struct policy *policy, const struct policy_program *program)
{
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct policy_rule *rule = &policy->rules[i];

        for (unsigned seed = 0; seed < TRIES; seed++) {
            const struct policy_conjunction *conjunction = rule->count > 0 ? &rule->conjunction[seed % rule->count] : NULL;

            hold_against(policy, program, rule->number, conjunction == NULL ? seed : conjunction->atom[seed % conjunction->count].value,
                         seed);
        }
    }
    hold_against(policy, program, SYS_restart_syscall, 0, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct policy_compile_options options = { .notify = true, .key = 0x1122334455667788 };
    struct policy_program program;
    struct policy *policy = NULL;
    struct policy_error error = { "" };
    char *text = malloc(size + 1);

    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    /* A file of the host's is none of the input's. */
    if (memmem(text, size, "@include", 8) != NULL) {
        free(text);
        return 0;
    }
    if (policy_parse_text("fuzz", text, size, &policy, &error) < 0) {
        if (strncmp(error.text, "fuzz:", 5) != 0 || strlen(error.text) >= sizeof error.text)
            abort();
        free(text);
        return 0;
    }
    if (policy_compile(policy, &options, &program, &error) == 0) {
        check_program(policy, &program);
        policy_program_free(&program);
    } else if (error.text[0] == '\0') {
        abort();
    }
    policy_free(policy);
    free(text);
    return 0;
}
