/* The policy language: what each construct means, by evaluation of the parsed expressions, and what is refused, with its place. */
#include "policy/policy.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define ALL UINT64_MAX

static struct policy *
parse(const char *text)
{
    struct policy *policy = NULL;
    struct policy_error error;

    if (policy_parse_text("test", text, strlen(text), &policy, &error) != 0)
        fail_msg("%s", error.text);
    return policy;
}

/* A call with one argument, the others 0. */
static struct policy_result
evaluate(const struct policy *policy, int number, unsigned argument, uint64_t value)
{
    uint64_t arguments[6] = { 0 };

    arguments[argument] = value;
    return policy_evaluate(policy, number, arguments);
}

static bool
allows(const char *text, unsigned argument, uint64_t value)
{
    struct policy *policy = parse(text);
    struct policy_result result = evaluate(policy, SYS_lseek, argument, value);

    policy_free(policy);
    return result.verdict == POLICY_ALLOW;
}

static void
test_operators(void **state)
{
    static const struct {
        const char *text;
        uint64_t yes[4], no[4]; /* filled up by repetition */
    } cases[] = {
        { "lseek: arg1 == 7", { 7, 7, 7, 7 }, { 0, 6, 8, 0x100000007 } },
        { "lseek: arg1 != 7", { 0, 6, 8, 0x100000007 }, { 7, 7, 7, 7 } },
        { "lseek: arg1 < 0x100000001", { 0, 0xffffffff, 0x100000000, 5 }, { 0x100000001, 0x100000002, 0x200000000, ALL } },
        { "lseek: arg1 <= 0x100000001", { 0, 0xffffffff, 0x100000000, 0x100000001 }, { 0x100000002, 0x200000000, ALL, ALL } },
        { "lseek: arg1 > 0xffffffff", { 0x100000000, ALL, 0x100000001, ALL }, { 0, 1, 0xfffffffe, 0xffffffff } },
        { "lseek: arg1 >= 0xffffffff", { 0xffffffff, 0x100000000, ALL, ALL }, { 0, 1, 0xfffffffe, 0x7fffffff } },
        { "lseek: arg1 & 0x8000000000000001", { 1, 0x8000000000000000, 3, ALL }, { 0, 2, 0x4000000000000000, 0xfffffffe } },
        { "lseek: arg1 in 0x8000000000000001", { 0, 1, 0x8000000000000000, 0x8000000000000001 }, { 2, 3, ALL, 0x4000000000000000 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t j = 0; j < 4; j++) {
            assert_true(allows(cases[i].text, 1, cases[i].yes[j]));
            assert_false(allows(cases[i].text, 1, cases[i].no[j]));
        }
    /* Nothing is below 0 or above all, and everything else holds for all. */
    for (uint64_t value = 0; value < 2; value++) {
        assert_false(allows("lseek: arg1 < 0", 1, 0 - value));
        assert_false(allows("lseek: arg1 > ~0", 1, 0 - value));
        assert_false(allows("lseek: arg1 & 0", 1, 0 - value));
        assert_true(allows("lseek: arg1 >= 0", 1, 0 - value));
        assert_true(allows("lseek: arg1 <= ~0", 1, 0 - value));
        assert_true(allows("lseek: arg1 in ~0", 1, 0 - value));
    }
}

static void
test_each_argument(void **state)
{
    char text[64];

    (void)state;
    for (unsigned argument = 0; argument < 6; argument++) {
        snprintf(text, sizeof text, "lseek: arg%u == 5", argument);
        for (unsigned other = 0; other < 6; other++)
            assert_int_equal(allows(text, other, 5), argument == other);
    }
}

static void
test_values(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } cases[] = {
        { "10", 10 },
        { "0x1F", 31 },
        { "017", 15 },
        { "0", 0 },
        { "-1", ALL },
        { "-100", ALL - 99 },
        { "18446744073709551615", ALL },
        { "0xffffffffffffffff", ALL },
        { "~0", ALL },
        { "~(1|2)", ALL - 3 },
        { "~1|2", ALL - 1 },
        { "(1|(2|4))", 7 },
        { "PROT_READ|PROT_WRITE", PROT_READ | PROT_WRITE },
        { "~(O_WRONLY | O_RDWR)", ~(uint64_t)(O_WRONLY | O_RDWR) },
        { "KVM_RUN", KVM_RUN },
        { "KVM_SET_USER_MEMORY_REGION", KVM_SET_USER_MEMORY_REGION },
        { "TCGETS", 0x5401 },
        { "SIGKILL", 9 },
        { "AF_UNIX", 1 },
        { "EPERM", EPERM },
        { "MFD_CLOEXEC", MFD_CLOEXEC },
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(text, sizeof text, "lseek: arg2 == %s", cases[i].text);
        assert_true(allows(text, 2, cases[i].value));
        assert_false(allows(text, 2, cases[i].value ^ 1));
    }
}

static void
test_expressions(void **state)
{
    struct policy *policy = parse("lseek: arg0==1&&arg1==2 || arg0 == 3\nlseek: arg2 == 9");
    const uint64_t both[6] = { 1, 2 }, half[6] = { 1, 3 }, other[6] = { 3 }, second[6] = { 7, 7, 9 };

    (void)state;
    assert_int_equal(policy_evaluate(policy, SYS_lseek, both).verdict, POLICY_ALLOW);
    assert_int_equal(policy_evaluate(policy, SYS_lseek, half).verdict, POLICY_KILL_PROCESS);
    assert_int_equal(policy_evaluate(policy, SYS_lseek, other).verdict, POLICY_ALLOW);
    assert_int_equal(policy_evaluate(policy, SYS_lseek, second).verdict, POLICY_ALLOW);
    policy_free(policy);
}

static void
test_actions(void **state)
{
    static const struct {
        const char *text;
        enum policy_verdict verdict;
        int error;
    } cases[] = {
        { "lseek: 1", POLICY_ALLOW, 0 },
        { "lseek: allow", POLICY_ALLOW, 0 },
        { "lseek: kill", POLICY_KILL_PROCESS, 0 },
        { "lseek: kill-process", POLICY_KILL_PROCESS, 0 },
        { "lseek: kill-thread", POLICY_KILL_THREAD, 0 },
        { "lseek: trap", POLICY_TRAP, 0 },
        { "lseek: log", POLICY_LOG, 0 },
        { "lseek: return EPERM", POLICY_ERRNO, EPERM },
        { "lseek: return 4095", POLICY_ERRNO, 4095 },
        { "lseek: arg0 == 1; return EACCES", POLICY_ERRNO, EACCES },
        { "lseek: arg0 == 1", POLICY_KILL_PROCESS, 0 },
        { "read: 1", POLICY_KILL_PROCESS, 0 },
        { "@default trap", POLICY_TRAP, 0 },
        { "@default return ENOSYS", POLICY_ERRNO, ENOSYS },
        { "@default kill-thread\nlseek: arg0 == 1", POLICY_KILL_THREAD, 0 },
        { "@default return ENOSYS\nlseek: arg0 == 1; return EIO", POLICY_ERRNO, EIO },
        { "{read, write, lseek}: 1", POLICY_ALLOW, 0 },
        { "read, lseek: 1", POLICY_ALLOW, 0 },
        { "\\\nlseek\\\n: \\\n1 # allowed", POLICY_ALLOW, 0 },
        { "# lseek: kill\n\n   \n@frequency somewhere/file\nlseek:1", POLICY_ALLOW, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct policy *policy = parse(cases[i].text);
        struct policy_result result = evaluate(policy, SYS_lseek, 0, 0);

        assert_int_equal(result.verdict, cases[i].verdict);
        if (result.verdict == POLICY_ERRNO)
            assert_int_equal(result.error, cases[i].error);
        policy_free(policy);
    }
}

/* Each with the place that is to be named, and a part of what is said. */
static const struct {
    const char *text, *place, *said;
} refusals[] = {
    { "nosuchcall: 1", "test:1:1:", "unknown system call `nosuchcall`" },
    { "read: 1\nsocketcall: 1", "test:2:1:", "unknown system call" },
    { "0: 1", "test:1:1:", "not a number" },
    { "read: arg6 == 1", "test:1:7:", "arg0 to arg5" },
    { "read: arg0 == NO_SUCH_NAME", "test:1:15:", "unknown name `NO_SUCH_NAME`" },
    { "read: arg0 = 1", "test:1:12:", "operator was expected" },
    { "read: arg0 === 1", "test:1:14:", "value was expected" },
    { "read: arg0", "test:1:11:", "operator was expected" },
    { "read: arg0 ==", "test:1:14:", "value was expected" },
    { "read: arg0 == 1 arg1 == 2", "test:1:17:", "trailing words" },
    { "read: arg0 == 1 &&", "test:1:19:", "arg0 to arg5" },
    { "read: arg0 == 1 ||\nwrite: 1", "test:1:19:", "arg0 to arg5" },
    { "read: (arg0 == 1)", "test:1:7:", "condition" },
    { "read: !arg0 == 1", "test:1:7:", "condition" },
    { "read: arg0 == (1", "test:1:17:", "`)` was expected" },
    { "read: arg0 == 18446744073709551616", "test:1:15:", "out of range" },
    { "read: arg0 == 0x10000000000000000", "test:1:15:", "out of range" },
    { "read: arg0 == -9223372036854775809", "test:1:15:", "out of range" },
    { "read: arg0 == 08", "test:1:16:", "no digit" },
    { "read: arg0 == 12a", "test:1:17:", "no digit" },
    { "read: arg0 == 1; return", "test:1:24:", "errno was expected" },
    { "read: arg0 == 1; kill", "test:1:18:", "`return`" },
    { "read: return 4096", "test:1:14:", "errno from 1 to 4095" },
    { "read: return 0", "test:1:14:", "errno from 1 to 4095" },
    { "read: return O_RDWR|0x10000", "test:1:14:", "errno" },
    { "read: returnEIO", "test:1:7:", "expected" },
    { "read:", "test:1:6:", "nothing stands after `:`" },
    { "read: # nothing", "test:1:16:", "nothing stands after `:`" },
    { "read 1", "test:1:6:", "`:` was expected" },
    { "read, : 1", "test:1:7:", "name of a system call" },
    { "{read, write: 1", "test:1:13:", "`}`" },
    { "read: 1 2", "test:1:9:", "trailing words" },
    { "read: allow write: allow", "test:1:13:", "trailing words" },
    { "read: 1 \\", "test:1:9:", "backslash at the end" },
    { "read: 1\nread: arg0 == 1", "test:2:1:", "stands here and in test:1" },
    { "read: arg0 == 1\nread: 1", "test:2:1:", "stands here and in test:1" },
    { "read: 1\nread: 1", "test:2:1:", "stands here and in test:1" },
    { "read: arg0 == 1; return EPERM\nread: arg0 == 2; return EIO", "test:2:1:", "another errno here than in test:1" },
    { "@default allow", "test:1:10:", "permit everything" },
    { "@default log", "test:1:10:", "permit everything" },
    { "@default 1", "test:1:10:", "expected" },
    { "@default kill\n@default trap", "test:2:", "second @default" },
    { "@include", "test:1:9:", "a path was expected" },
    { "@include /nonexistent/file.policy", "test:1:", "/nonexistent/file.policy" },
    { "@import x", "test:1:", "unknown directive" },
    { "read: 1 $", "test:1:9:", "trailing words" },
    { "read\001: 1", "test:1:5:", "expected" },
    { "read: arg0 == 1 \\\n || arg7 == 5", "test:2:5:", "arg0 to arg5" },
    { "read: 1 \\\n", "test:1:9:", "backslash at the end" },
    { "# a comment \\", "test:1:13:", "backslash at the end" },
    { "{read}, write: 1", "test:1:7:", "`:` was expected" },
    { "{read, read}: 1", "test:1:1:", "stands here and in test:1" },
    { "{}: 1", "test:1:2:", "name of a system call" },
    { "read: arg0 == - 5", "test:1:15:", "value was expected" },
    { "read: arg0 == 0x", "test:1:16:", "no digit" },
    { "read: return -1", "test:1:14:", "errno from 1 to 4095" },
    { "read: return EPERM2", "test:1:14:", "unknown name" },
};

static void
test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const char *text = refusals[i].text;
        struct policy *policy = NULL;
        struct policy_error error = { "" };
        int result = policy_parse_text("test", text, strlen(text), &policy, &error);

        if (result != -EINVAL || strncmp(error.text, refusals[i].place, strlen(refusals[i].place)) != 0 ||
            strstr(error.text, refusals[i].said) == NULL)
            fail_msg("`%s`: %d, \"%s\"; expected %s … %s …", text, result, error.text, refusals[i].place, refusals[i].said);
        /* The line, and below it a caret at the column that is named. */
        const char *caret = strrchr(error.text, '\n');
        unsigned line, column;

        assert_non_null(caret);
        assert_int_equal(sscanf(error.text, "test:%u:%u:", &line, &column), 2);
        assert_int_equal(caret[strlen(caret) - 1], '^');
        assert_int_equal(strlen(caret) - 1, column);
        assert_int_equal(strspn(caret + 1, " "), column - 1);
    }
}

static void
test_nul_byte(void **state)
{
    static const char text[] = "read: 1\nwrite: 1 \0 #\n";
    struct policy *policy;
    struct policy_error error;

    (void)state;
    assert_int_equal(policy_parse_text("test", text, sizeof text - 1, &policy, &error), -EINVAL);
    assert_true(strncmp(error.text, "test:2:10:", 10) == 0);
    assert_non_null(strstr(error.text, "NUL"));
}

/* --- files */

static const char *
write_policy(const struct scratch *folder, const char *name, const char *text)
{
    static char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void
test_include(void **state)
{
    const struct scratch *folder = *state;
    char below[96];
    struct policy *policy;
    struct policy_error error;
    const char *path;

    snprintf(below, sizeof below, "%s/below", folder->path);
    assert_int_equal(mkdir(below, 0755), 0);
    /* A relative path counts from the file that includes. */
    write_policy(folder, "below/second", "read: arg0 == 2\n@include third\n");
    write_policy(folder, "below/third", "read: arg0 == 3");
    path = write_policy(folder, "first", "read: arg0 == 1\n@include below/second # a comment\nread: arg0 == 4\n");
    if (policy_parse_file(path, &policy, &error) != 0)
        fail_msg("%s", error.text);
    for (uint64_t value = 0; value < 6; value++)
        assert_int_equal(evaluate(policy, SYS_read, 0, value).verdict == POLICY_ALLOW, value >= 1 && value <= 4);
    policy_free(policy);
}

static void
test_include_refusals(void **state)
{
    const struct scratch *folder = *state;
    struct policy *policy;
    struct policy_error error;
    char name[16], text[64];
    const char *path;

    write_policy(folder, "one", "@include two");
    path = write_policy(folder, "two", "\n@include one");
    assert_int_equal(policy_parse_file(path, &policy, &error), -EINVAL);
    assert_non_null(strstr(error.text, "includes itself"));
    path = write_policy(folder, "self", "@include self");
    assert_int_equal(policy_parse_file(path, &policy, &error), -EINVAL);
    assert_non_null(strstr(error.text, "includes itself"));
    /* Ten deep is allowed, eleven are not. */
    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof name, "deep%d", i);
        snprintf(text, sizeof text, "@include deep%d", i + 1);
        write_policy(folder, name, text);
    }
    write_policy(folder, "deep11", "read: 1");
    path = write_policy(folder, "deep", "@include deep1");
    assert_int_equal(policy_parse_file(path, &policy, &error), -EINVAL);
    assert_non_null(strstr(error.text, "more than 10 deep"));
    path = write_policy(folder, "deep", "@include deep2");
    assert_int_equal(policy_parse_file(path, &policy, &error), 0);
    policy_free(policy);
    /* A fault in an included file names that file. */
    write_policy(folder, "faulty", "read: 1\nread: 1 1");
    path = write_policy(folder, "outer", "@include faulty");
    assert_int_equal(policy_parse_file(path, &policy, &error), -EINVAL);
    assert_non_null(strstr(error.text, "/faulty:2:9:"));
}

static void
test_file_refusals(void **state)
{
    const struct scratch *folder = *state;
    struct policy *policy;
    struct policy_error error;
    const char *path;
    char *big = malloc(300 * 1024);

    assert_int_equal(policy_parse_file("/nonexistent", &policy, &error), -ENOENT);
    assert_non_null(strstr(error.text, "/nonexistent"));
    path = write_policy(folder, "open", "read: 1");
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_not_equal(policy_parse_file(path, &policy, &error), 0);
    assert_non_null(strstr(error.text, "write"));
    assert_int_not_equal(policy_parse_file(folder->path, &policy, &error), 0);
    assert_non_null(big);
    memset(big, '#', 300 * 1024);
    big[300 * 1024 - 1] = '\0';
    path = write_policy(folder, "big", big);
    assert_int_not_equal(policy_parse_file(path, &policy, &error), 0);
    assert_non_null(strstr(error.text, "256"));
    free(big);
}

/* --- warnings */

static void
keep_warning(void *context, const char *text)
{
    strlcpy(context, text, 512);
}

static void
test_warnings(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        { "openat: arg0 == -100", "never" }, { "ioctl: arg1 != TIOCSTI", "is passed by" },  { "ioctl: arg1 == TCGETS", NULL },
        { "lseek: arg1 == -100", NULL },     { "openat: arg0 == 0xffffff9c", NULL },
        { "execveat: arg0 == AT_FDCWD", "never" }, { "mmap: arg4 == -1", "never" },        { "clone: arg0 != CLONE_NEWUSER", "is passed by" },
        { "bind: arg0 > 2", "is passed by" },      { "mmap: arg0 != 0", NULL },            { "openat: arg0 in 0xff", NULL },
        /* The line of the alternative that is meant, not of the call's first. */
        { "ioctl: arg1 == TCGETS\nread: 1\nioctl: \\\narg1 != TIOCSTI", "test:4: warning: `ioctl`" },
    };
    char warning[512];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct policy *policy = parse(cases[i].text);

        warning[0] = '\0';
        policy_warn(policy, keep_warning, warning);
        policy_free(policy);
        if (cases[i].said == NULL ? warning[0] != '\0' : strstr(warning, cases[i].said) == NULL)
            fail_msg("`%s`: \"%s\"", cases[i].text, warning);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_each_argument),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_nul_byte),
        cmocka_unit_test_setup_teardown(test_include, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_include_refusals, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_file_refusals, scratch_make, scratch_remove),
        cmocka_unit_test(test_warnings),
    };

    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
