/* `vmsup policy check|show|eval|trace`. */
#include "policy/command.h"

#include "policy/expression.h"
#include "policy/lexer.h"

#include <seccomp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int
exit_code_of(int result)
{
    if (result == -EINVAL)
        return EX_DATAERR;
    return result == -ENOMEM ? EX_OSERR : EX_NOINPUT;
}

static void
print_warning(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "%s\n", text);
}

/* Compiles too, as a start does, with a key: what the language allows may be more than a filter holds. */
static int
check_file(const char *path)
{
    const struct policy_compile_options options = { .notify = true, .key = 1 };
    struct policy_program program;
    struct policy_error error;
    struct policy *policy;
    int result = policy_parse_file(path, &policy, &error);

    if (result < 0) {
        fprintf(stderr, "%s\n", error.text);
        return exit_code_of(result);
    }
    policy_warn(policy, print_warning, NULL);
    result = policy_compile(policy, &options, &program, &error);
    if (result < 0)
        fprintf(stderr, "%s: %s\n", path, error.text);
    else
        policy_program_free(&program);
    policy_free(policy);
    return result < 0 ? EX_DATAERR : EX_OK;
}

static int
check_main(int argc, char **argv)
{
    int exit_code = EX_OK;

    for (int i = 0; i < argc; i++) {
        int each = check_file(argv[i]);

        if (exit_code == EX_OK)
            exit_code = each;
    }
    return exit_code;
}

static int
show_main(int argc, char **argv)
{
    struct policy_error error;
    struct policy *policy;
    int result = policy_parse_file(argv[0], &policy, &error);

    (void)argc;
    if (result < 0) {
        fprintf(stderr, "%s\n", error.text);
        return exit_code_of(result);
    }
    result = policy_print(policy, STDOUT_FILENO);
    policy_free(policy);
    return result < 0 ? EX_IOERR : EX_OK;
}

/* "openat(-100, 0, 0x80000)": a call, and its arguments as values of the language; those left out are 0. */
static int
parse_call(const char *text, int *number, uint64_t arguments[POLICY_ARGUMENTS], struct policy_error *error)
{
    struct lexer lexer;
    char name[64] = "";
    size_t count = 0;
    int result = 0;

    memset(arguments, 0, POLICY_ARGUMENTS * sizeof arguments[0]);
    lexer_begin(&lexer, "call", text, strlen(text), error);
    if (lexer.token.kind == TOKEN_WORD && lexer.token.size < sizeof name)
        memcpy(name, lexer.token.text, lexer.token.size);
    *number = name[0] == '\0' ? -1 : seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name);
    if (*number < 0)
        return lexer_fail(&lexer, NULL, "the name of a system call was expected");
    lexer_advance(&lexer);
    if (!lexer_take_sign(&lexer, "("))
        return lexer.token.kind == TOKEN_END ? 0 : lexer_fail(&lexer, NULL, "`(` was expected");
    while (result == 0 && !lexer_is_sign(&lexer, ")")) {
        if (count == POLICY_ARGUMENTS)
            return lexer_fail(&lexer, NULL, "a call has six arguments at most");
        result = lexer_take_value(&lexer, &arguments[count++]);
        if (result == 0 && !lexer_take_sign(&lexer, ",") && !lexer_is_sign(&lexer, ")"))
            result = lexer_fail(&lexer, NULL, "`,` or `)` was expected");
    }
    if (result == 0)
        lexer_advance(&lexer);
    if (result == 0 && lexer.token.kind != TOKEN_END)
        result = lexer_fail(&lexer, NULL, "trailing words: the end of the call was expected");
    return result;
}

static void
print_result(struct policy_result result)
{
    const char *name = result.verdict == POLICY_ERRNO ? strerrorname_np(result.error) : NULL;
    char text[64];

    if (result.verdict == POLICY_ERRNO && name != NULL)
        printf("errno %s\n", name);
    else if (result.verdict == POLICY_ERRNO)
        printf("errno %d\n", result.error);
    else {
        policy_action_text(result, text, sizeof text);
        printf("%s\n", text);
    }
}

static int
eval_main(int argc, char **argv)
{
    const struct policy_compile_options options = { .notify = true };
    uint64_t arguments[POLICY_ARGUMENTS];
    struct policy_program program;
    struct policy_error error;
    struct policy *policy;
    int number, result = policy_parse_file(argv[0], &policy, &error);

    (void)argc;
    if (result < 0) {
        fprintf(stderr, "%s\n", error.text);
        return exit_code_of(result);
    }
    result = parse_call(argv[1], &number, arguments, &error);
    if (result < 0) {
        fprintf(stderr, "%s\n", error.text);
        policy_free(policy);
        return EX_USAGE;
    }
    result = policy_compile(policy, &options, &program, &error);
    policy_free(policy);
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error.text);
        return EX_DATAERR;
    }
    print_result(policy_simulate(&program, number, arguments));
    policy_program_free(&program);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static int
trace_main(int argc, char **argv)
{
    if (strcmp(argv[0], "--") == 0) {
        argc--;
        argv++;
    }
    if (argc == 0) {
        fprintf(stderr, "usage: vmsup policy trace -- PROGRAM [argument ...]\n");
        return EX_USAGE;
    }
    return trace_program(argv);
}

int
policy_main(int argc, char **argv)
{
    static const struct {
        const char *name, *usage;
        int least, most;
        int (*function)(int argc, char **argv);
    } verbs[] = {
        { "check", "FILE ...", 1, INT16_MAX, check_main },
        { "show", "FILE", 1, 1, show_main },
        { "eval", "FILE 'CALL(ARGUMENT, ...)'", 2, 2, eval_main },
        { "trace", "-- PROGRAM [argument ...]", 1, INT16_MAX, trace_main },
    };

    for (size_t i = 0; argc >= 2 && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(argv[1], verbs[i].name) != 0)
            continue;
        if (argc - 2 >= verbs[i].least && argc - 2 <= verbs[i].most)
            return verbs[i].function(argc - 2, argv + 2);
        fprintf(stderr, "usage: vmsup policy %s %s\n", verbs[i].name, verbs[i].usage);
        return EX_USAGE;
    }
    fprintf(stderr, "usage: vmsup policy check|show|eval|trace ...; see vmsup-policy(5)\n");
    return EX_USAGE;
}
