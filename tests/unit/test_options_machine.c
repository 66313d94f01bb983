/* The options of what a plugin is granted and of microvm's machine, and the arguments that become of them. */
#include "supervisor/microvm.h"
#include "supervisor/options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

#define WORDS_MAX 80

/* Parses the words, ended by NULL, as `vmsup start` would. */
static int
parse(struct options *options, struct failure *failure, const char *const *words)
{
    static char *argv[WORDS_MAX];
    int argc = 1;

    memset(argv, 0, sizeof argv);
    argv[0] = (char *)"start";
    for (; words[argc - 1] != NULL; argc++)
        argv[argc] = (char *)words[argc - 1];
    memset(failure, 0, sizeof *failure);
    return options_parse(argc, argv, options, failure);
}

#define PARSE(...) parse(&options, &failure, (const char *const[]){ __VA_ARGS__, NULL })

/* Must be refused, and the line must hold each of the two texts. */
static void
refused(const char *const *words, const char *what, const char *expected)
{
    struct options options;
    struct failure failure;
    int result = parse(&options, &failure, words);

    if (result >= 0)
        fail_msg("taken, though it should be refused for: %s", what);
    if (strstr(failure.text, what) == NULL || strstr(failure.text, expected) == NULL)
        fail_msg("\"%s\" says nothing of \"%s\" and \"%s\"", failure.text, what, expected);
    assert_int_equal(failure.exit_code, EX_USAGE);
    assert_null(strchr(failure.text, '\n'));
    options_free(&options);
}

#define REFUSED(what, expected, ...) refused((const char *const[]){ __VA_ARGS__, NULL }, what, expected)

static void
test_grants(void **state)
{
    struct options options;
    struct failure failure;

    (void)state;
    assert_int_equal(PARSE("--plugin", "p", "demo", "--grant", "a=/x", "--grant", "b.B-_9=y,rw,lock", "--grant", "c=z,lock,ro", "--grant",
                           "d=a,,b,,,rw", "--grant", "e==,rw,ro"),
                     0);
    assert_int_equal(options.grant_count, 5);
    assert_string_equal(options.grants[0].name, "a");
    assert_string_equal(options.grants[0].path, "/x");
    assert_false(options.grants[0].writable || options.grants[0].lock || options.grants[0].direct);
    assert_string_equal(options.grants[1].name, "b.B-_9");
    assert_string_equal(options.grants[1].path, "y");
    assert_true(options.grants[1].writable && options.grants[1].lock);
    assert_true(!options.grants[2].writable && options.grants[2].lock);
    assert_string_equal(options.grants[3].path, "a,b,");
    assert_true(options.grants[3].writable);
    assert_string_equal(options.grants[4].path, "=");
    assert_false(options.grants[4].writable);
    assert_string_equal(options.grants[4].option, "--grant");
    options_free(&options);
    assert_int_equal(options.grant_count, 0);
}

static void
test_wrong_grants(void **state)
{
    static const char *const bad_names[] = { "", "a", "=x", "a b=x", "a/b=x", "\xc3\xa4=x", "abcdefghijklmnopqrstuvwxyz012345=x" };
    static const char *const reserved[] = { "supervisor=x", "vsock=x", "net=x", "net1=x", "net99=x" };

    (void)state;
    for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++)
        REFUSED("--grant is", "NAME=PATH", "--plugin", "p", "demo", "--grant", bad_names[i]);
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        REFUSED("vmsup itself uses", "another", "--plugin", "p", "demo", "--grant", reserved[i]);
    REFUSED("--grant is \"\"", "the path", "--plugin", "p", "demo", "--grant", "a=");
    REFUSED("--grant is \",rw\"", "the path", "--plugin", "p", "demo", "--grant", "a=,rw");
    REFUSED("\"wr\" stands behind", "ro, rw or lock", "--plugin", "p", "demo", "--grant", "a=x,wr");
    REFUSED("\"\" stands behind", "ro, rw or lock", "--plugin", "p", "demo", "--grant", "a=x,");
    REFUSED("\"direct\" stands behind", "ro, rw or lock", "--plugin", "p", "demo", "--grant", "a=x,direct");
    REFUSED("a is granted already", "once", "--plugin", "p", "demo", "--grant", "a=x", "--grant", "a=y");
    REFUSED("kernel is granted already", "once", "demo", "--grant", "kernel=x", "--kernel", "y");
    REFUSED("disk0 is granted already", "once", "demo", "--kernel", "k", "--disk", "x", "--grant", "disk0=y");
}

static void
test_too_many(void **state)
{
    char texts[OPTIONS_GRANTS_MAX + 1][16];
    const char *words[WORDS_MAX] = { "--plugin", "p", "demo" };
    struct options options;
    struct failure failure;
    size_t count = 3;

    (void)state;
    for (size_t i = 0; i <= OPTIONS_GRANTS_MAX; i++) {
        snprintf(texts[i], sizeof texts[i], "g%zu=x", i);
        words[count++] = "--grant";
        words[count++] = texts[i];
    }
    refused(words, "too many grants", "at most 32");
    words[count - 2] = NULL;
    assert_int_equal(parse(&options, &failure, words), 0);
    assert_int_equal(options.grant_count, OPTIONS_GRANTS_MAX);
    options_free(&options);
}

static void
test_machine(void **state)
{
    struct options options;
    struct failure failure;

    (void)state;
    assert_int_equal(PARSE("demo", "--kernel", "/boot/k,1", "--initrd", "i", "--disk", "a", "--disk", "b,ro,queues=2,direct", "--memory",
                           "512m", "--cmdline", "root=/dev/vda ro"),
                     0);
    assert_null(options.plugin);
    assert_int_equal(options.machine_memory, 512 << 20);
    assert_string_equal(options.command_line, "root=/dev/vda ro");
    assert_int_equal(options.grant_count, 4);
    assert_int_equal(options.disk_count, 2);
    assert_string_equal(options.grants[0].name, "kernel");
    assert_string_equal(options.grants[0].path, "/boot/k,1");
    assert_string_equal(options.grants[1].name, "initrd");
    assert_false(options.grants[0].writable || options.grants[1].writable);
    assert_true(options.grants[0].lock && options.grants[1].lock);
    assert_string_equal(options.grants[2].name, "disk0");
    assert_true(options.grants[2].writable && options.grants[2].lock && !options.grants[2].direct);
    assert_null(options.grants[2].flags);
    assert_string_equal(options.grants[3].name, "disk1");
    assert_string_equal(options.grants[3].path, "b");
    assert_true(!options.grants[3].writable && options.grants[3].lock && options.grants[3].direct);
    assert_string_equal(options.grants[3].flags, "ro,queues=2,direct");
    options_free(&options);
    assert_int_equal(PARSE("demo", "--grant", "kernel=k"), 0);
    options_free(&options);
}

static void
test_wrong_machine(void **state)
{
    static const char *const bad_sizes[] = { "", "0", "31M", "33555456", "1025G", "2T", "-1G", "64X" };

    (void)state;
    for (size_t i = 0; i < sizeof bad_sizes / sizeof bad_sizes[0]; i++)
        REFUSED("--memory is", "from 32M to 1T", "demo", "--kernel", "k", "--memory", bad_sizes[i]);
    REFUSED("neither --kernel nor --plugin", "a kernel", "demo", "--disk", "d");
    REFUSED("--kernel is \"\"", "a file", "demo", "--kernel", "");
    REFUSED("--disk is \"\"", "block device", "demo", "--kernel", "k", "--disk", "");
    REFUSED("kernel is granted already", "once", "demo", "--kernel", "k", "--kernel", "l");
    REFUSED("--kernel is for microvm", "--grant kernel=k", "demo", "--kernel", "k", "--plugin", "p");
    REFUSED("--initrd is for microvm", "--grant initrd=i", "demo", "--initrd", "i", "--plugin", "p");
    REFUSED("--disk is for microvm", "--grant disk0=d", "demo", "--disk", "d", "--plugin", "p");
    REFUSED("--memory is for microvm", "after --", "demo", "--memory", "64M", "--plugin", "p");
    REFUSED("--cmdline is for microvm", "after --", "demo", "--cmdline", "", "--plugin", "p");
}

/* The words, parsed, must become these arguments, ended by NULL. */
static void
expect_arguments(const char *const *words, const char *const *expected)
{
    struct options options;
    struct failure failure;
    char **arguments;
    size_t i;

    if (parse(&options, &failure, words) < 0)
        fail_msg("%s", failure.text);
    arguments = microvm_arguments(&options);
    assert_non_null(arguments);
    for (i = 0; expected[i] != NULL; i++) {
        assert_non_null(arguments[i]);
        assert_string_equal(arguments[i], expected[i]);
    }
    assert_null(arguments[i]);
    microvm_free(arguments);
    options_free(&options);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__ })

static void
test_arguments(void **state)
{
    (void)state;
    expect_arguments(WORDS("demo", "--kernel", "k", NULL), WORDS(NULL));
    expect_arguments(WORDS("demo", "--kernel", "k", "--grant", "a=b", "--disk", "a", "--initrd", "i", "--disk", "b,ro,queues=2", "--cmdline",
                           "x y", "--memory", "1G", "--host-ip", "10.0.0.1", "--netmask", "255.255.255.0", "--mac", "de:21:e8:47:6b:6a",
                           "--", "--huge-pages", "--memory", "2G", NULL),
                     WORDS("--memory", "1073741824", "--cmdline", "x y", "--disk", "disk0", "--disk", "disk1,ro,queues=2", "--net",
                           "--huge-pages", "--memory", "2G", NULL));
    expect_arguments(WORDS("demo", "--kernel", "k", "--cmdline", "", "--", "%s", NULL), WORDS("--cmdline", "", "%s", NULL));
}

#define NETWORK "--host-ip", "10.0.0.1", "--netmask", "255.255.255.0", "--mac", "de:21:e8:47:6b:6a"

static void
test_queues(void **state)
{
    static const char *const bad[] = { "", "0", "9", "-1", "two" };
    struct options options;
    struct failure failure;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        REFUSED("--net-queues is", "from 1 to 8", "demo", "--kernel", "k", NETWORK, "--net-queues", bad[i]);
    REFUSED("--net-queues", "--host-ip", "demo", "--kernel", "k", "--net-queues", "2");
    REFUSED("--tap-vnet-header", "--host-ip", "demo", "--plugin", "p", "--tap-vnet-header");
    assert_int_equal(PARSE("demo", "--plugin", "p", NETWORK), 0);
    assert_true(options.net_queues == 1 && !options.tap_vnet_header);
    assert_int_equal(PARSE("demo", "--plugin", "p", NETWORK, "--net-queues", "8", "--tap-vnet-header"), 0);
    assert_true(options.net_queues == 8 && options.tap_vnet_header);
    options_free(&options);
    expect_arguments(WORDS("demo", "--kernel", "k", NETWORK, "--net-queues", "4", NULL), WORDS("--net=queues=4", NULL));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grants),  cmocka_unit_test(test_wrong_grants),  cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_machine), cmocka_unit_test(test_wrong_machine), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_queues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
