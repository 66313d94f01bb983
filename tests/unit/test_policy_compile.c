/*
 * Compiled policies do what their text says: random policies, and those that ship, are compiled, and their BPF is held against the
 * parsed expressions on random arguments and on those next to each constant; by the simulator, and by the kernel itself.
 */
#include "policy/expression.h"
#include "policy/policy.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define POLICIES 5000
#define KERNEL_POLICIES 150
#define VECTORS 300
#define KEY UINT64_C(0x1122334455667788)
#define X32_BIT 0x40000000

/* The same each time; a failure prints the policy. */
static uint64_t random_state;

static uint64_t
random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static unsigned
random_below(unsigned limit)
{
    return (unsigned)(random_next() % limit);
}

/* What boundaries are made of: small numbers, powers of two, both sides of the 32nd bit. */
static uint64_t
random_value(void)
{
    switch (random_below(6)) {
    case 0:
        return random_below(4);
    case 1:
        return UINT64_C(1) << random_below(64);
    case 2:
        return (UINT64_C(1) << random_below(64)) - 1;
    case 3:
        return 0x100000000 + random_below(3) - 1;
    case 4:
        return random_next() & 0xffffffff;
    default:
        return random_next();
    }
}

struct text {
    char data[32768];
    size_t size;
    uint64_t constant[256]; /* that stand in it */
    size_t constants;
};

static void __attribute__((format(printf, 2, 3)))
text_add(struct text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text->size += (size_t)vsnprintf(text->data + text->size, sizeof text->data - text->size, format, arguments);
    va_end(arguments);
    assert_true(text->size < sizeof text->data);
}

static void
add_atom(struct text *text)
{
    static const char *const operators[] = { "==", "!=", "<", "<=", ">", ">=", "&", "in" };
    const uint64_t value = random_value();

    text->constant[text->constants++ % 256] = value;
    text_add(text, "arg%u %s 0x%llx", random_below(6), operators[random_below(8)], (unsigned long long)value);
}

static void
add_condition(struct text *text)
{
    const unsigned terms = 1 + random_below(3);

    for (unsigned i = 0; i < terms; i++) {
        const unsigned atoms = 1 + random_below(3);

        text_add(text, "%s", i > 0 ? " || " : "");
        for (unsigned j = 0; j < atoms; j++) {
            text_add(text, "%s", j > 0 ? " && " : "");
            add_atom(text);
        }
    }
}

static const struct {
    const char *name;
    int number;
} calls[] = { { "getppid", SYS_getppid }, { "lseek", SYS_lseek }, { "ioctl", SYS_ioctl }, { "getuid", SYS_getuid } };
#define CALLS (sizeof calls / sizeof calls[0])

static void
make_policy(struct text *text)
{
    static const char *const defaults[] = { "",           "@default kill\n",          "@default kill-thread\n",
                                            "@default trap\n", "@default return EXDEV\n", "" };
    static const char *const actions[] = { "1", "return EIO", "log", "trap", "kill-thread", "kill" };

    text->size = text->constants = 0;
    text_add(text, "%s", defaults[random_below(6)]);
    for (size_t i = 0; i < CALLS; i++) {
        const unsigned otherwise = random_below(3);

        switch (random_below(8)) {
        case 0:
            break;
        case 1:
            text_add(text, "%s: %s\n", calls[i].name, actions[random_below(6)]);
            break;
        default:
            for (unsigned line = random_below(2); line < 2; line++) {
                text_add(text, "%s: ", calls[i].name);
                add_condition(text);
                text_add(text, "%s\n", otherwise == 0 ? "" : otherwise == 1 ? "; return EPERM" : "; return ENOSYS");
            }
        }
    }
}

static void
make_arguments(const struct text *text, uint64_t arguments[6])
{
    for (unsigned i = 0; i < 6; i++) {
        arguments[i] = random_value();
        if (text->constants > 0 && random_below(3) != 0) {
            arguments[i] = text->constant[random_below((unsigned)(text->constants < 256 ? text->constants : 256))];
            switch (random_below(5)) {
            case 0:
                arguments[i]++;
                break;
            case 1:
                arguments[i]--;
                break;
            case 2:
                arguments[i] ^= UINT64_C(1) << random_below(64);
                break;
            default:
                break;
            }
        }
    }
}

static bool
same(struct policy_result left, struct policy_result right)
{
    return left.verdict == right.verdict && (left.verdict != POLICY_ERRNO || left.error == right.error);
}

static void
hold_against(const struct text *text, const struct policy *policy, const struct policy_program *program, int number)
{
    uint64_t arguments[6];
    struct policy_result told, done;

    make_arguments(text, arguments);
    told = policy_evaluate(policy, number, arguments);
    done = policy_simulate(program, number, arguments);
    if (!same(told, done))
        fail_msg("call %d (%#llx, %#llx, %#llx, %#llx, %#llx, %#llx): %d %d is said, %d %d is done by\n%s", number,
                 (unsigned long long)arguments[0], (unsigned long long)arguments[1], (unsigned long long)arguments[2],
                 (unsigned long long)arguments[3], (unsigned long long)arguments[4], (unsigned long long)arguments[5],
                 told.verdict, told.error, done.verdict, done.error, text->data);
}

static struct policy *
parse(const struct text *text)
{
    struct policy *policy;
    struct policy_error error;

    if (policy_parse_text("random", text->data, text->size, &policy, &error) != 0)
        fail_msg("%s\n%s", error.text, text->data);
    return policy;
}

static void
test_random_policies(void **state)
{
    static struct text text;
    struct policy_program program;
    struct policy_error error;

    (void)state;
    random_state = 0x2545f4914f6cdd1d;
    for (unsigned i = 0; i < POLICIES; i++) {
        const struct policy_compile_options options = { .notify = i % 2 == 1, .key = i % 3 == 0 ? KEY : 0 };
        struct policy *policy;

        make_policy(&text);
        policy = parse(&text);
        if (policy_compile(policy, &options, &program, &error) != 0)
            fail_msg("%s\n%s", error.text, text.data);
        for (unsigned j = 0; j < VECTORS; j++)
            hold_against(&text, policy, &program, calls[j % CALLS].number);
        /* Calls that are not listed, and numbers that are none. */
        hold_against(&text, policy, &program, SYS_read);
        hold_against(&text, policy, &program, 5000);
        policy_program_free(&program);
        policy_free(policy);
    }
}

/* libseccomp by itself compiles each of these wrongly, or does not come to an end. */
static void
test_known_traps(void **state)
{
    static const char *const known[] = {
        "lseek: arg0 == 8 || arg0 <= 0 || arg0 > 0x100000001",
        "lseek: arg0 < 5 || arg0 > 9 || arg1 < 0x100000000",
        "lseek: arg0 != 1 && arg1 != 2 && arg2 != 3 && arg3 != 0x100000001",
        "lseek: arg0 >= 3 && arg0 <= 7",
        "lseek: arg0 == 1; return EPERM\ngetppid: 1",
        "@default return ENOSYS\nlseek: arg0 == 1; return EPERM\ngetppid: arg1 == 2; return EIO",
    };
    static struct text text;

    (void)state;
    random_state = 99;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const struct policy_compile_options options = { .notify = true };
        struct policy_program program;
        struct policy_error error;
        struct policy *policy;

        text = (struct text){ .constant = { 0, 1, 2, 3, 5, 7, 8, 9, 0xffffffff, 0x100000000, 0x100000001 }, .constants = 11 };
        text_add(&text, "%s\n", known[i]);
        policy = parse(&text);
        if (policy_compile(policy, &options, &program, &error) != 0)
            fail_msg("%s", error.text);
        for (unsigned j = 0; j < 20000; j++)
            hold_against(&text, policy, &program, calls[j % CALLS].number);
        policy_program_free(&program);
        policy_free(policy);
    }
}

/* What the jail needs from behind its filters passes with the key, and with nothing else. */
static void
test_key(void **state)
{
    static const char only_read[] = "read: 1\ngetppid: arg0 == 1; return EPERM\n";
    const struct policy_compile_options with = { .notify = true, .key = KEY }, without = { .notify = true };
    static const int keyed[] = { SYS_sendmsg, SYS_execveat };
    struct policy_program program;
    struct policy_error error;
    struct policy *policy;

    (void)state;
    assert_int_equal(policy_parse_text("key", only_read, sizeof only_read - 1, &policy, &error), 0);
    assert_int_equal(policy_compile(policy, &with, &program, &error), 0);
    for (size_t i = 0; i < 2; i++) {
        const uint64_t key[6] = { 1, 2, 3, 4, 5, KEY }, low[6] = { 1, 2, 3, 4, 5, KEY & 0xffffffff },
                       high[6] = { 1, 2, 3, 4, 5, KEY & ~UINT64_C(0xffffffff) }, other[6] = { KEY, KEY, KEY, KEY, KEY, 0 };

        assert_int_equal(policy_simulate(&program, keyed[i], key).verdict, POLICY_ALLOW);
        assert_int_equal(policy_simulate(&program, keyed[i], low).verdict, POLICY_KILL_PROCESS);
        assert_int_equal(policy_simulate(&program, keyed[i], high).verdict, POLICY_KILL_PROCESS);
        assert_int_equal(policy_simulate(&program, keyed[i], other).verdict, POLICY_KILL_PROCESS);
        assert_int_equal(policy_simulate(&program, SYS_execve, key).verdict, POLICY_KILL_PROCESS);
    }
    policy_program_free(&program);
    assert_int_equal(policy_compile(policy, &without, &program, &error), 0);
    for (size_t i = 0; i < 2; i++) {
        const uint64_t key[6] = { 1, 2, 3, 4, 5, KEY }, zero[6] = { 1, 2, 3, 4, 5, 0 };

        assert_int_equal(policy_simulate(&program, keyed[i], key).verdict, POLICY_KILL_PROCESS);
        assert_int_equal(policy_simulate(&program, keyed[i], zero).verdict, POLICY_KILL_PROCESS);
    }
    policy_program_free(&program);
    policy_free(policy);
}

/* A call of x32 is killed at once, whatever is the default, and whatever its namesake may do; with the key, too. */
static void
test_x32(void **state)
{
    static const char *const texts[] = { "{read, sendmsg}: 1\n", "@default return ENOSYS\nread: 1\nsendmsg: arg0 == 0; return EIO\n" };
    static const int numbers[] = { SYS_read, SYS_sendmsg, SYS_execveat, 512, 545 };
    const uint64_t arguments[6] = { 0, 0, 0, 0, 0, KEY };
    const struct policy_compile_options options = { .notify = false, .key = KEY };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct policy_program program;
        struct policy_error error;
        struct policy *policy;

        assert_int_equal(policy_parse_text("x32", texts[i], strlen(texts[i]), &policy, &error), 0);
        assert_int_equal(policy_compile(policy, &options, &program, &error), 0);
        assert_int_equal(policy_simulate(&program, SYS_read, arguments).verdict, POLICY_ALLOW);
        for (size_t j = 0; j < sizeof numbers / sizeof numbers[0]; j++)
            assert_int_equal(policy_simulate(&program, numbers[j] | X32_BIT, arguments).verdict, POLICY_KILL_PROCESS);
        policy_program_free(&program);
        policy_free(policy);
    }
}

/* Conditions that make the filter longer than the kernel takes are refused. */
static void
test_too_long(void **state)
{
    static struct text text;
    const struct policy_compile_options options = { .notify = false };
    struct policy_program program;
    struct policy_error error;
    struct policy *policy;

    (void)state;
    text.size = 0;
    for (unsigned i = 0; i < 500; i++)
        text_add(&text, "lseek: arg0 == %u\n", i);
    policy = parse(&text);
    assert_int_equal(policy_compile(policy, &options, &program, &error), 0);
    policy_program_free(&program);
    policy_free(policy);
    text.size = 0;
    for (unsigned i = 0; i < 1000; i++)
        text_add(&text, "read: arg0 > %u\n", i);
    policy = parse(&text);
    assert_int_equal(policy_compile(policy, &options, &program, &error), -E2BIG);
    assert_non_null(strstr(error.text, "4096"));
    assert_null(program.instructions);
    policy_free(policy);
}

/* Those that ship, on all calls and on the numbers that stand in them. */
static void
test_shipped(void **state)
{
    static const char *const names[] = { "supervisor", "vmproc", "plugin" };
    static struct text text;
    const char *tree = getenv("TREE");

    (void)state;
    random_state = 4711;
    for (size_t i = 0; i < 3; i++) {
        const struct policy_compile_options options = { .notify = true, .key = KEY };
        struct policy_program program;
        struct policy_error error;
        struct policy *policy;
        char path[512];

        snprintf(path, sizeof path, "%s/policy/%s.policy", tree != NULL ? tree : ".", names[i]);
        if (policy_parse_file(path, &policy, &error) != 0 || policy_compile(policy, &options, &program, &error) != 0)
            fail_msg("%s", error.text);
        text = (struct text){ .size = 0 };
        text_add(&text, "%s.policy", names[i]);
        for (size_t rule = 0; rule < policy->rule_count; rule++)
            for (size_t term = 0; term < policy->rules[rule].count; term++)
                for (size_t atom = 0; atom < policy->rules[rule].conjunction[term].count; atom++)
                    text.constant[text.constants++ % 256] = policy->rules[rule].conjunction[term].atom[atom].value;
        for (int number = 0; number < 460; number++)
            for (unsigned j = 0; j < 200; j++)
                hold_against(&text, policy, &program, number);
        policy_program_free(&program);
        policy_free(policy);
    }
}

/* --- the kernel */

static int
load(const struct policy_program *program)
{
    const struct sock_fprog filter = { .len = program->length, .filter = program->instructions };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

/* getppid(2) takes no argument, so that a filter alone decides what becomes of it: how many calls were decided otherwise than told. */
static int
count_mistakes(const struct text *text, const struct policy *policy, long parent)
{
    int mistakes = 0;

    for (unsigned i = 0; i < VECTORS; i++) {
        struct policy_result told;
        uint64_t arguments[6];
        long result;

        make_arguments(text, arguments);
        told = policy_evaluate(policy, SYS_getppid, arguments);
        errno = 0;
        result = syscall(SYS_getppid, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
        if (told.verdict == POLICY_ALLOW ? result != parent : result != -1 || errno != told.error)
            mistakes++;
    }
    return mistakes > 100 ? 100 : mistakes;
}

static void
test_kernel(void **state)
{
    static struct text text;
    const struct policy_compile_options options = { .notify = false, .key = KEY };

    (void)state;
    random_state = 0x9e3779b97f4a7c15;
    for (unsigned i = 0; i < KERNEL_POLICIES; i++) {
        struct policy_program program;
        struct policy_error error;
        struct policy *policy;
        int status;
        pid_t pid;

        text.size = text.constants = 0;
        text_add(&text, "@default return EXDEV\nexit_group: 1\ngetppid: ");
        add_condition(&text);
        text_add(&text, "%s\n", i % 2 == 0 ? "" : "; return EPERM");
        policy = parse(&text);
        if (policy_compile(policy, &options, &program, &error) != 0)
            fail_msg("%s\n%s", error.text, text.data);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            const long parent = getppid();

            syscall(SYS_exit_group, load(&program) < 0 ? 101 : count_mistakes(&text, policy, parent));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("status %#x with\n%s", (unsigned)status, text.data);
        policy_program_free(&program);
        policy_free(policy);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_policies), cmocka_unit_test(test_known_traps), cmocka_unit_test(test_key),
        cmocka_unit_test(test_x32),
        cmocka_unit_test(test_too_long),  cmocka_unit_test(test_shipped),     cmocka_unit_test(test_kernel),
    };

    return cmocka_run_group_tests_name("policy_compile", tests, NULL, NULL);
}
