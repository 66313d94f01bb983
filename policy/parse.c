/* The grammar of a policy: lines, calls, expressions. Files and includes are in files.c. */
#include "policy/parse.h"

#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>

/* Names longer than any call's. */
#define NAME_MAX_BYTES 64
/* Calls of one line. */
#define GROUP_MAX 256
#define ERRNO_MAX 4095

/* The right-hand side of one line. */
struct right_side {
    bool conditional;
    struct policy_result action;
    struct policy_conjunction *conjunction;
    size_t count;
    int otherwise;
};

static void
free_conjunctions(struct policy_conjunction *conjunction, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(conjunction[i].atom);
    free(conjunction);
}

static bool
at_line_end(const struct lexer *lexer)
{
    return lexer->token.kind == TOKEN_NEWLINE || lexer->token.kind == TOKEN_END;
}

static int
end_line(struct lexer *lexer)
{
    if (!at_line_end(lexer))
        return lexer_fail(lexer, NULL, "trailing words: the end of the line was expected");
    if (lexer->token.kind == TOKEN_NEWLINE)
        lexer_advance(lexer);
    return 0;
}

static int
take_errno(struct lexer *lexer, int *error)
{
    const char *at = lexer->token.text;
    uint64_t value;
    int result;

    if (lexer->token.kind != TOKEN_NUMBER && (lexer->token.kind != TOKEN_WORD || lexer->token.text[0] != 'E'))
        return lexer_fail(lexer, NULL, "an errno was expected after `return`: a number or a name like EPERM");
    result = lexer_take_value(lexer, &value);
    if (result < 0)
        return result;
    if (value == 0 || value > ERRNO_MAX)
        return lexer_fail(lexer, at, "an errno from 1 to %d was expected", ERRNO_MAX);
    *error = (int)value;
    return 0;
}

/* 1: it was an action; 0: it is none. */
static int
take_action(struct lexer *lexer, struct policy_result *action)
{
    static const struct {
        const char *word;
        enum policy_verdict verdict;
    } actions[] = {
        { "allow", POLICY_ALLOW },       { "kill", POLICY_KILL_PROCESS }, { "kill-process", POLICY_KILL_PROCESS },
        { "kill-thread", POLICY_KILL_THREAD }, { "trap", POLICY_TRAP },   { "log", POLICY_LOG },
    };
    int result;

    *action = (struct policy_result){ 0 };
    if (lexer_is_word(lexer, "return")) {
        lexer_advance(lexer);
        action->verdict = POLICY_ERRNO;
        result = take_errno(lexer, &action->error);
        return result < 0 ? result : 1;
    }
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (!lexer_is_word(lexer, actions[i].word))
            continue;
        action->verdict = actions[i].verdict;
        lexer_advance(lexer);
        return 1;
    }
    return 0;
}

static int
take_operator(struct lexer *lexer, enum policy_operator *operator)
{
    for (int each = POLICY_EQUAL; each <= POLICY_ONLY_BITS; each++) {
        const char *text = policy_operator_text((enum policy_operator)each);

        if (lexer_is_sign(lexer, text) || lexer_is_word(lexer, text)) {
            *operator = (enum policy_operator)each;
            lexer_advance(lexer);
            return 0;
        }
    }
    return lexer_fail(lexer, NULL, "an operator was expected: == != < <= > >= & in");
}

static int
take_atom(struct lexer *lexer, struct policy_atom *atom)
{
    const struct token *token = &lexer->token;
    int result;

    if (token->kind != TOKEN_WORD || token->size != 4 || strncmp(token->text, "arg", 3) != 0 || token->text[3] < '0' ||
        token->text[3] > '5')
        return lexer_fail(lexer, NULL, "an argument was expected: arg0 to arg5");
    atom->argument = (unsigned)(token->text[3] - '0');
    lexer_advance(lexer);
    result = take_operator(lexer, &atom->operator);
    return result < 0 ? result : lexer_take_value(lexer, &atom->value);
}

static int
take_conjunction(struct lexer *lexer, unsigned file, struct policy_conjunction *conjunction)
{
    *conjunction = (struct policy_conjunction){ .place = { file, lexer_line(lexer, lexer->token.text) } };
    do {
        struct policy_atom *grown;
        int result;

        if (conjunction->count == POLICY_ATOMS_MAX)
            return lexer_fail(lexer, NULL, "more than %d conditions in one term", POLICY_ATOMS_MAX);
        grown = reallocarray(conjunction->atom, conjunction->count + 1, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        conjunction->atom = grown;
        result = take_atom(lexer, &conjunction->atom[conjunction->count]);
        if (result < 0)
            return result;
        conjunction->count++;
    } while (lexer_take_sign(lexer, "&&"));
    return 0;
}

static int
take_expression(struct lexer *lexer, unsigned file, struct right_side *right)
{
    do {
        struct policy_conjunction *grown;
        int result;

        if (right->count == POLICY_CONJUNCTIONS_MAX)
            return lexer_fail(lexer, NULL, "more than %d terms in one expression", POLICY_CONJUNCTIONS_MAX);
        grown = reallocarray(right->conjunction, right->count + 1, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        right->conjunction = grown;
        result = take_conjunction(lexer, file, &right->conjunction[right->count++]);
        if (result < 0)
            return result;
    } while (lexer_take_sign(lexer, "||"));
    if (!lexer_take_sign(lexer, ";"))
        return 0;
    if (!lexer_is_word(lexer, "return"))
        return lexer_fail(lexer, NULL, "`return` and an errno were expected after `;`");
    lexer_advance(lexer);
    return take_errno(lexer, &right->otherwise);
}

static int
take_right_side(struct lexer *lexer, unsigned file, struct right_side *right)
{
    int result;

    if (at_line_end(lexer))
        return lexer_fail(lexer, NULL, "nothing stands after `:`: 1, an action, or a condition was expected");
    if (lexer->token.kind == TOKEN_NUMBER && lexer->token.size == 1 && lexer->token.text[0] == '1') {
        lexer_advance(lexer);
        return 0;
    }
    result = take_action(lexer, &right->action);
    if (result != 0)
        return result < 0 ? result : 0;
    if (lexer->token.kind != TOKEN_WORD || strncmp(lexer->token.text, "arg", 3) != 0)
        return lexer_fail(lexer, NULL, "1, an action (allow, kill, trap, log, return ERRNO) or a condition on arg0 to arg5 was expected");
    right->conditional = true;
    return take_expression(lexer, file, right);
}

/* The number of a call of this machine's own architecture. */
static int
take_call(struct lexer *lexer, int *number)
{
    char name[NAME_MAX_BYTES];

    if (lexer->token.kind == TOKEN_NUMBER)
        return lexer_fail(lexer, NULL, "the name of a system call was expected, not a number");
    if (lexer->token.kind != TOKEN_WORD)
        return lexer_fail(lexer, NULL, "the name of a system call was expected");
    *number = -1;
    if (lexer->token.size < sizeof name) {
        memcpy(name, lexer->token.text, lexer->token.size);
        name[lexer->token.size] = '\0';
        *number = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name);
    }
    /* Calls of other architectures resolve to negative numbers, which a filter would take and never match. */
    if (*number < 0)
        return lexer_fail(lexer, NULL, "unknown system call `%.*s` on this architecture", (int)lexer->token.size, lexer->token.text);
    lexer_advance(lexer);
    return 0;
}

static int
take_calls(struct lexer *lexer, int numbers[GROUP_MAX], size_t *count)
{
    const bool braced = lexer_take_sign(lexer, "{");

    *count = 0;
    do {
        int result;

        if (*count == GROUP_MAX)
            return lexer_fail(lexer, NULL, "more than %d calls in one line", GROUP_MAX);
        result = take_call(lexer, &numbers[*count]);
        if (result < 0)
            return result;
        ++*count;
    } while (lexer_take_sign(lexer, ","));
    if (braced && !lexer_take_sign(lexer, "}"))
        return lexer_fail(lexer, NULL, "`}` or `,` was expected");
    if (!lexer_take_sign(lexer, ":"))
        return lexer_fail(lexer, NULL, "`:` was expected after the name of a call");
    return 0;
}

static int
copy_conjunction(const struct policy_conjunction *from, struct policy_conjunction *to)
{
    to->atom = calloc(from->count, sizeof *to->atom);
    if (to->atom == NULL)
        return -ENOMEM;
    memcpy(to->atom, from->atom, from->count * sizeof *to->atom);
    to->count = from->count;
    to->place = from->place;
    return 0;
}

static int
add_alternatives(struct policy_rule *rule, const struct right_side *right)
{
    struct policy_conjunction *grown = reallocarray(rule->conjunction, rule->count + right->count, sizeof *grown);

    if (grown == NULL)
        return -ENOMEM;
    rule->conjunction = grown;
    for (size_t i = 0; i < right->count; i++) {
        int result = copy_conjunction(&right->conjunction[i], &rule->conjunction[rule->count]);

        if (result < 0)
            return result;
        rule->count++;
    }
    return 0;
}

static struct policy_rule *
find_or_add(struct policy *policy, int number)
{
    struct policy_rule *grown;

    for (size_t i = 0; i < policy->rule_count; i++)
        if (policy->rules[i].number == number)
            return &policy->rules[i];
    if (policy->rule_count == POLICY_CALLS_MAX)
        return NULL;
    grown = reallocarray(policy->rules, policy->rule_count + 1, sizeof *grown);
    if (grown == NULL)
        return NULL;
    policy->rules = grown;
    policy->rules[policy->rule_count] = (struct policy_rule){ .number = -1 };
    return &policy->rules[policy->rule_count++];
}

static int
add_rule(struct parser *parser, struct lexer *lexer, const char *at, int number, const struct right_side *right)
{
    struct policy *policy = parser->policy;
    struct policy_rule *rule = find_or_add(policy, number);
    char name[NAME_MAX_BYTES];

    if (rule == NULL)
        return -ENOMEM;
    if (rule->number < 0) {
        *rule = (struct policy_rule){
            .number = number, .place = { parser->file, lexer_line(lexer, at) }, .conditional = right->conditional,
            .action = right->action, .otherwise = right->otherwise,
        };
        return add_alternatives(rule, right);
    }
    policy_call_name(number, name, sizeof name);
    if (!rule->conditional || !right->conditional)
        return lexer_fail(lexer, at, "`%s` stands here and in %s:%u, and one of them is without a condition", name,
                          policy->files[rule->place.file], rule->place.line);
    if (rule->otherwise != 0 && right->otherwise != 0 && rule->otherwise != right->otherwise)
        return lexer_fail(lexer, at, "`%s` returns another errno here than in %s:%u", name, policy->files[rule->place.file],
                          rule->place.line);
    if (right->otherwise != 0)
        rule->otherwise = right->otherwise;
    if (rule->count + right->count > POLICY_CONJUNCTIONS_MAX)
        return lexer_fail(lexer, at, "`%s` has more than %d terms", name, POLICY_CONJUNCTIONS_MAX);
    return add_alternatives(rule, right);
}

static int
parse_rule(struct parser *parser, struct lexer *lexer)
{
    const char *at = lexer->token.text;
    struct right_side right = { 0 };
    int numbers[GROUP_MAX], result;
    size_t count;

    result = take_calls(lexer, numbers, &count);
    if (result == 0)
        result = take_right_side(lexer, parser->file, &right);
    if (result == 0)
        result = end_line(lexer);
    for (size_t i = 0; i < count && result == 0; i++)
        result = add_rule(parser, lexer, at, numbers[i], &right);
    free_conjunctions(right.conjunction, right.count);
    return result;
}

static int
parse_default(struct parser *parser, struct lexer *lexer)
{
    struct policy *policy = parser->policy;
    const char *at = lexer->token.text;
    int result;

    if (policy->has_default)
        return lexer_fail(lexer, NULL, "a second @default: one at most was expected");
    result = take_action(lexer, &policy->default_action);
    if (result == 0)
        return lexer_fail(lexer, NULL, "an action was expected after @default");
    if (result < 0)
        return result;
    if (policy->default_action.verdict == POLICY_ALLOW || policy->default_action.verdict == POLICY_LOG)
        return lexer_fail(lexer, at, "this default would permit everything: kill, trap or return ERRNO was expected");
    policy->has_default = true;
    return end_line(lexer);
}

static int
parse_directive(struct parser *parser, struct lexer *lexer)
{
    const char *at = lexer->token.text;
    struct token path;
    int result;

    if (lexer_is_word(lexer, "default")) {
        lexer_advance(lexer);
        return parse_default(parser, lexer);
    }
    if (lexer_is_word(lexer, "frequency")) {
        lexer_advance(lexer);
        lexer_take_rest(lexer);
        return end_line(lexer);
    }
    if (!lexer_is_word(lexer, "include"))
        return lexer_fail(lexer, at, "unknown directive: @include, @default or @frequency was expected");
    lexer_advance(lexer);
    path = lexer_take_rest(lexer);
    if (path.size == 0)
        return lexer_fail(lexer, path.text, "a path was expected after @include");
    result = parser->include(parser, lexer, &path);
    return result < 0 ? result : end_line(lexer);
}

int
parse_lines(struct parser *parser, struct lexer *lexer)
{
    int result = 0;

    while (result == 0 && lexer->token.kind != TOKEN_END) {
        if (lexer->token.kind == TOKEN_NEWLINE)
            lexer_advance(lexer);
        else if (lexer_take_sign(lexer, "@"))
            result = parse_directive(parser, lexer);
        else
            result = parse_rule(parser, lexer);
    }
    return result;
}
