/* The command line of `vmsup start`: what is taken, what is refused, and with which words. */
#include "supervisor/options.h"
#include "supervisor/options_list.h"
#include "supervisor/options_value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#define WORDS_MAX 64

/* Parses the words, ended by NULL, as `vmsup start` would. */
static int
parse(struct options *options, struct failure *failure, const char *const *words)
{
    /* The options point into it, as they would into main()'s. */
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

/* Must be refused with this exit code, and the line must hold each of the two texts. */
static void
refused(const char *const *words, int exit_code, const char *what, const char *expected)
{
    struct options options;
    struct failure failure;
    int result = parse(&options, &failure, words);

    if (result >= 0)
        fail_msg("taken, though it should be refused for: %s", what);
    if (strstr(failure.text, what) == NULL || strstr(failure.text, expected) == NULL)
        fail_msg("\"%s\" says nothing of \"%s\" and \"%s\"", failure.text, what, expected);
    assert_int_equal(failure.exit_code, exit_code);
    assert_null(strchr(failure.text, '\n'));
    options_free(&options);
}

#define REFUSED(code, what, expected, ...) refused((const char *const[]){ __VA_ARGS__, NULL }, code, what, expected)
/* With all that a start needs beside the words in question. */
#define REFUSED_START(what, expected, ...) REFUSED(EX_USAGE, what, expected, "--plugin", "/p", "demo", __VA_ARGS__)

static void
test_defaults(void **state)
{
    struct options options;
    struct failure failure;

    (void)state;
    assert_int_equal(PARSE("--plugin", "p", "demo"), 0);
    assert_string_equal(options.name, "demo");
    assert_string_equal(options.plugin, "p");
    assert_int_equal(options.cpus, 1);
    assert_int_equal(options.grace, 1000);
    assert_int_equal(options.uid_first, 1900000000);
    assert_int_equal(options.uid_count, 65536);
    assert_int_equal(options.log_level, LOG_LEVEL_INFO);
    assert_string_equal(options.runtime_dir, "/run/vmsup");
    assert_false(options.foreground || options.disable_sandbox || options.has_network || options.has_guest);
    assert_null(options.plugin_root);
    assert_null(options.policy_dir);
    assert_int_equal(options.memory_max, 0);
    assert_int_equal(options.argument_count + options.mount_count + options.gid_map_count, 0);
    options_free(&options);
}

static void
test_all(void **state)
{
    struct options options;
    struct failure failure;

    (void)state;
    assert_int_equal(PARSE("-f", "-c", "2", "--plugin=/p", "--plugin-root", "/r", "--plugin-mount", "/a", "--plugin-mount", "/b:/c:true",
                           "--plugin-gid-map", "5", "--seccomp-policy-dir", "/s", "--host-ip", "10.118.0.1", "--netmask",
                           "255.255.255.252", "--mac", "de:21:e8:47:6b:6a", "--guest-ip", "10.118.0.2", "--guest-mac",
                           "DE:21:E8:47:6B:6B", "--uid-range", "5000:10", "--grace", "0", "--memory-max", "2g", "--disable-sandbox",
                           "--log-level", "debug", "--runtime-dir", "/tmp/r", "web-1", "--", "-c", "--", "last"),
                     0);
    assert_true(options.foreground && options.disable_sandbox && options.has_network && options.has_guest);
    assert_string_equal(options.name, "web-1");
    assert_int_equal(options.cpus, 2);
    assert_string_equal(options.plugin_root, "/r");
    assert_int_equal(options.mount_count, 2);
    assert_string_equal(options.mounts[0].target, "/a");
    assert_false(options.mounts[0].writable);
    assert_string_equal(options.mounts[1].source, "/b");
    assert_string_equal(options.mounts[1].target, "/c");
    assert_true(options.mounts[1].writable);
    assert_string_equal(options.policy_dir, "/s");
    assert_int_equal(options.host_ip.s_addr, inet_addr("10.118.0.1"));
    assert_int_equal(options.netmask.s_addr, inet_addr("255.255.255.252"));
    assert_memory_equal(options.mac, "\xde\x21\xe8\x47\x6b\x6a", 6);
    assert_int_equal(options.guest_ip.s_addr, inet_addr("10.118.0.2"));
    assert_memory_equal(options.guest_mac, "\xde\x21\xe8\x47\x6b\x6b", 6);
    assert_int_equal(options.uid_first, 5000);
    assert_int_equal(options.uid_count, 10);
    assert_int_equal(options.grace, 0);
    assert_int_equal(options.memory_max, UINT64_C(2) << 30);
    assert_int_equal(options.log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(options.runtime_dir, "/tmp/r");
    assert_int_equal(options.argument_count, 3);
    assert_string_equal(options.arguments[0], "-c");
    assert_string_equal(options.arguments[1], "--");
    assert_string_equal(options.arguments[2], "last");
    options_free(&options);
}

static void
test_words(void **state)
{
    struct options options;
    struct failure failure;

    (void)state;
    /* The name may stand anywhere before "--"; after it everything is the plugin's. */
    assert_int_equal(PARSE("demo", "--plugin", "p", "-f"), 0);
    assert_true(options.foreground);
    assert_int_equal(PARSE("--plugin", "--", "demo"), 0);
    assert_string_equal(options.plugin, "--");
    REFUSED(EX_USAGE, "no name", "NAME", "--plugin", "p");
    REFUSED(EX_USAGE, "no name", "NAME", "--plugin", "p", "--", "demo");
    REFUSED(EX_USAGE, "neither --kernel nor --plugin", "path", "demo");
    REFUSED_START("\"other\"", "one name only", "other");
    REFUSED_START("--bogus", "no such option", "--bogus");
    REFUSED_START("-x", "no such option", "-x");
    REFUSED_START("--plugin-m", "more than one", "--plugin-m", "/x");
    REFUSED_START("--cpus", "a value after it", "--cpus");
    REFUSED_START("-c", "a value after it", "-c");
    REFUSED_START("--foreground", "no value", "--foreground=yes");
}

static void
test_names(void **state)
{
    static const char *const good[] = { "a", "0", "web-1", "a_b.c-d", "abcdefghijklmnopqrstuvwxyz012345" };
    static const char *const bad[] = { "", "A", "aB", ".a", "_a", "-a", "a/b", "a b", "..", "a\n", "\xc3\xa4",
                                       "abcdefghijklmnopqrstuvwxyz0123456" };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(name_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(name_is_valid(bad[i]));
    REFUSED(EX_USAGE, "\"Demo\"", "lower-case", "--plugin", "p", "Demo");
    REFUSED(EX_USAGE, "\"\"", "lower-case", "--plugin", "p", "");
}

static void
test_numbers(void **state)
{
    static const char *const bad_cpus[] = { "0", "127", "-1", "+1", " 1", "1 ", "1x", "0x1", "", "99999999999999999999" };
    static const char *const bad_sizes[] = { "", "0", "K", "1Gx", "-1", "+1G", " 1G", "1 G", "1KB", "1P", "1.5G", "99999999999G",
                                             "9223372036854775808", "99999999999999999999999999", "15M" };
    struct options options;
    struct failure failure;
    uint64_t size;

    (void)state;
    for (size_t i = 0; i < sizeof bad_cpus / sizeof bad_cpus[0]; i++)
        REFUSED_START("--cpus", "from 1 to 126", "-c", bad_cpus[i]);
    assert_int_equal(PARSE("--plugin", "p", "demo", "-c", "126"), 0);
    assert_int_equal(options.cpus, 126);
    for (size_t i = 0; i < sizeof bad_sizes / sizeof bad_sizes[0]; i++)
        REFUSED_START("--memory-max", "expected bytes", "--memory-max", bad_sizes[i]);
    assert_int_equal(value_size("1024", &size), 0);
    assert_int_equal(size, 1024);
    assert_int_equal(value_size("3K", &size), 0);
    assert_int_equal(size, 3072);
    assert_int_equal(value_size("5m", &size), 0);
    assert_int_equal(size, 5 << 20);
    assert_int_equal(value_size("8388607T", &size), 0);
    assert_int_equal(size, UINT64_C(8388607) << 40);
    assert_int_equal(value_size("8388608T", &size), -ERANGE);
    REFUSED_START("--grace", "milliseconds", "--grace", "1s");
    REFUSED_START("--grace", "milliseconds", "--grace", "3600001");
    REFUSED_START("--log-level", "error, warning", "--log-level", "loud");
    REFUSED_START("--runtime-dir", "absolute", "--runtime-dir", "run");
    REFUSED_START("--runtime-dir", "at most", "--runtime-dir",
                  "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    REFUSED_START("--plugin-root", "absolute", "--plugin-root", "root");
}

static void
test_uid_ranges(void **state)
{
    static const char *const bad[] = { "", "1000", "1000:", ":5", "1000:1", "999:5", "0:65536", "60000:5535", "65534:10", "65535:10",
                                       "4294967290:6", "4294967295:2", "4294967296:2", "1000:4294967295", "1000:-1", "a:b", "1000:2:3" };
    struct options options;
    struct failure failure;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        REFUSED_START("--uid-range", "expected", "--uid-range", bad[i]);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--uid-range", "60000:5534"), 0);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--uid-range", "65536:2"), 0);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--uid-range", "4294967290:5"), 0);
}

static void
test_addresses(void **state)
{
    static const char *const bad_ips[] = { "", "10.0.0", "10.0.0.256", "010.0.0.1x", "0.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255",
                                           "::1", "host" };
    static const char *const bad_masks[] = { "0.0.0.0", "255.0.255.0", "255.255.255.253", "24", "255.255.255", "0.255.255.255" };
    static const char *const bad_macs[] = { "", "de:21:e8:47:6b", "de:21:e8:47:6b:6", "de:21:e8:47:6b:6a:00", "de-21-e8-47-6b-6a",
                                            "df:21:e8:47:6b:6a", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "ge:21:e8:47:6b:6a" };
    const char *ip = "10.0.0.1", *mask = "255.255.255.0", *mac = "de:21:e8:47:6b:6a";
    struct options options;
    struct failure failure;

    (void)state;
    for (size_t i = 0; i < sizeof bad_ips / sizeof bad_ips[0]; i++)
        REFUSED_START("--host-ip", "IPv4 address", "--host-ip", bad_ips[i]);
    for (size_t i = 0; i < sizeof bad_masks / sizeof bad_masks[0]; i++)
        REFUSED_START("--netmask", "contiguous", "--netmask", bad_masks[i]);
    for (size_t i = 0; i < sizeof bad_macs / sizeof bad_macs[0]; i++)
        REFUSED_START("--mac", "one station", "--mac", bad_macs[i]);
    REFUSED_START("--mac is missing", "all of", "--host-ip", ip, "--netmask", mask);
    REFUSED_START("--netmask is missing", "all of", "--host-ip", ip, "--mac", mac);
    REFUSED_START("--host-ip is missing", "all of", "--mac", mac);
    REFUSED_START("broadcast", "a host", "--host-ip", "10.0.0.255", "--netmask", mask, "--mac", mac);
    REFUSED_START("its network's own", "a host", "--host-ip", "10.0.0.0", "--netmask", mask, "--mac", mac);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--host-ip", "10.0.0.0", "--netmask", "255.255.255.254", "--mac", mac), 0);
    REFUSED_START("--guest-mac is missing", "both", "--host-ip", ip, "--netmask", mask, "--mac", mac, "--guest-ip", "10.0.0.2");
    REFUSED_START("--guest-ip is missing", "both", "--host-ip", ip, "--netmask", mask, "--mac", mac, "--guest-mac", mac);
    REFUSED_START("--guest-ip", "beside it", "--guest-ip", ip, "--guest-mac", mac);
    REFUSED_START("--guest-ip is that of", "another", "--host-ip", ip, "--netmask", mask, "--mac", mac, "--guest-ip", ip, "--guest-mac",
                  "de:21:e8:47:6b:6b");
    REFUSED_START("--guest-mac is that of", "another", "--host-ip", ip, "--netmask", mask, "--mac", mac, "--guest-ip", "10.0.0.2",
                  "--guest-mac", mac);
}

static void
test_mounts(void **state)
{
    struct options options;
    struct failure failure;
    const char *words[2 * OPTIONS_MOUNTS_MAX + 8] = { "--plugin", "p", "demo" };
    char targets[OPTIONS_MOUNTS_MAX + 1][16];
    size_t count = 3;

    (void)state;
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-mount", "/a:", "--plugin-mount", "/b::true", "--plugin-mount", "//c/./../x",
                           "x"),
                     -EINVAL);
    assert_non_null(strstr(failure.text, "\"..\""));
    options_free(&options);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-mount", "/a:", "--plugin-mount", "/b::true", "--plugin-mount", "//c//d/:/e/:false"),
                     0);
    assert_string_equal(options.mounts[0].target, "/a");
    assert_string_equal(options.mounts[1].target, "/b");
    assert_true(options.mounts[1].writable);
    assert_string_equal(options.mounts[2].source, "/c/d");
    assert_string_equal(options.mounts[2].target, "/e");
    assert_false(options.mounts[2].writable);
    options_free(&options);
    REFUSED_START("the source is \"a\"", "absolute", "--plugin-mount", "a");
    REFUSED_START("the source is \"\"", "absolute", "--plugin-mount", "");
    REFUSED_START("the destination is \"b\"", "absolute", "--plugin-mount", "/a:b");
    REFUSED_START("the destination is \"/\"", "below", "--plugin-mount", "/a:/");
    REFUSED_START("the destination is \"/x/../y\"", "\"..\"", "--plugin-mount", "/a:/x/../y");
    REFUSED_START("third field", "true (writable) or false", "--plugin-mount", "/a:/b:rw");
    REFUSED_START("third field", "true (writable) or false", "--plugin-mount", "/a:/b:");
    REFUSED_START("4 fields", "SRC[:[DST][:true|false]]", "--plugin-mount", "/a:/b:true:x");
    REFUSED_START("a mount at /x already", "another", "--plugin-mount", "/a:/x", "--plugin-mount", "/b:/x/");
    for (size_t i = 0; i <= OPTIONS_MOUNTS_MAX; i++) {
        snprintf(targets[i], sizeof targets[i], "/m%zu", i);
        words[count++] = "--plugin-mount";
        words[count++] = targets[i];
        if (count + 2 > WORDS_MAX)
            break;
    }
    assert_int_equal(parse(&options, &failure, words), 0);
    for (size_t i = options.mount_count; i < OPTIONS_MOUNTS_MAX; i++) {
        snprintf(targets[i], sizeof targets[i], "/m%zu", i);
        assert_int_equal(options_add_mount(&options, targets[i], "here", EX_USAGE, &failure), 0);
    }
    assert_int_equal(options_add_mount(&options, "/one-more", "here", EX_USAGE, &failure), -E2BIG);
    assert_non_null(strstr(failure.text, "at most 64"));
    options_free(&options);
}

static void
test_gid_maps(void **state)
{
    struct options options;
    struct failure failure;

    (void)state;
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-gid-map", "5", "--plugin-gid-map", "6:", "--plugin-gid-map", "7:70",
                           "--plugin-gid-map", "8::2", "--plugin-gid-map", "100:1000:10"),
                     0);
    assert_int_equal(options.gid_map_count, 5);
    assert_memory_equal(&options.gid_maps[0], (&(struct jail_id_map){ 5, 5, 1 }), sizeof options.gid_maps[0]);
    assert_memory_equal(&options.gid_maps[1], (&(struct jail_id_map){ 6, 6, 1 }), sizeof options.gid_maps[0]);
    assert_memory_equal(&options.gid_maps[2], (&(struct jail_id_map){ 7, 70, 1 }), sizeof options.gid_maps[0]);
    assert_memory_equal(&options.gid_maps[3], (&(struct jail_id_map){ 8, 8, 2 }), sizeof options.gid_maps[0]);
    assert_memory_equal(&options.gid_maps[4], (&(struct jail_id_map){ 100, 1000, 10 }), sizeof options.gid_maps[0]);
    REFUSED_START("inner group is \"\"", "number", "--plugin-gid-map", "");
    REFUSED_START("inner group is \"x\"", "number", "--plugin-gid-map", "x");
    REFUSED_START("inner group is \"4294967295\"", "number", "--plugin-gid-map", "4294967295");
    REFUSED_START("inner group is \"00000000000000000005\"", "number", "--plugin-gid-map", "00000000000000000005");
    REFUSED_START("outer group is \"-1\"", "number", "--plugin-gid-map", "5:-1");
    REFUSED_START("count is \"0\"", "from 1", "--plugin-gid-map", "5:5:0");
    REFUSED_START("count is \"\"", "from 1", "--plugin-gid-map", "5:5:");
    REFUSED_START("inner group 0", "another", "--plugin-gid-map", "0");
    REFUSED_START("beyond the last group", "at most", "--plugin-gid-map", "5:4294967290:6");
    REFUSED_START("4 fields", "INNER[:[OUTER][:COUNT]]", "--plugin-gid-map", "1:1:1:1");
    REFUSED_START("overlaps 5:5:10", "once", "--plugin-gid-map", "5::10", "--plugin-gid-map", "14:100");
    REFUSED_START("overlaps 5:5:10", "once", "--plugin-gid-map", "5::10", "--plugin-gid-map", "20:14");
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-gid-map", "5::10", "--plugin-gid-map", "15:15"), 0);
}

static void
write_text(const char *path, const char *text, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
}

static void
test_files(void **state)
{
    static const char good[] = "# comment\n\n  /a # why\n/b:/c:true\r\n\t\n/d";
    static const char bad[] = "/a\n# x\n/b:c\n";
    static const char nul[] = "/a\n\0/b\n";
    char folder[] = "/tmp/vmsup-test-XXXXXX", path[64], *large;
    struct options options;
    struct failure failure;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/list", folder);
    write_text(path, good, sizeof good - 1);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-mount-file", path), 0);
    assert_int_equal(options.mount_count, 3);
    assert_string_equal(options.mounts[0].source, "/a");
    assert_true(options.mounts[1].writable);
    assert_string_equal(options.mounts[2].source, "/d");
    options_free(&options);
    write_text(path, bad, sizeof bad - 1);
    REFUSED(EX_DATAERR, "list:3: the destination is \"c\"", "absolute", "--plugin", "p", "demo", "--plugin-mount-file", path);
    write_text(path, nul, sizeof nul - 1);
    REFUSED(EX_DATAERR, "NUL", "text", "--plugin", "p", "demo", "--plugin-mount-file", path);
    write_text(path, "5\n6:60:2 # two\n", 15);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-gid-map-file", path), 0);
    assert_int_equal(options.gid_map_count, 2);
    assert_int_equal(options.gid_maps[1].outer, 60);
    write_text(path, "5\nfive\n", 7);
    REFUSED(EX_DATAERR, "list:2: the inner group is \"five\"", "number", "--plugin", "p", "demo", "--plugin-gid-map-file", path);
    large = malloc(OPTIONS_FILE_MAX + 1);
    memset(large, '#', OPTIONS_FILE_MAX + 1);
    write_text(path, large, OPTIONS_FILE_MAX);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-mount-file", path), 0);
    write_text(path, large, OPTIONS_FILE_MAX + 1);
    REFUSED(EX_DATAERR, "too large", "at most", "--plugin", "p", "demo", "--plugin-mount-file", path);
    free(large);
    unlink(path);
    REFUSED(EX_NOINPUT, "No such file", "list", "--plugin", "p", "demo", "--plugin-mount-file", path);
    rmdir(folder);
}

/* Checks of the host: the same words, with folders that are there or not. */
static void
test_check(void **state)
{
    char folder[] = "/tmp/vmsup-test-XXXXXX", file[64];
    struct options options;
    struct failure failure;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/plugin.policy", folder);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-root", folder), 0);
    assert_int_equal(options_check(&options, &failure), 0);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-root", file), 0);
    assert_int_equal(options_check(&options, &failure), -ENOENT);
    assert_int_equal(failure.exit_code, EX_NOINPUT);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--policy-dir", folder), 0);
    assert_int_equal(options_check(&options, &failure), -ENOENT);
    assert_non_null(strstr(failure.text, "plugin.policy"));
    write_text(file, "", 0);
    assert_int_equal(options_check(&options, &failure), 0);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-root", file), 0);
    assert_int_equal(options_check(&options, &failure), -ENOTDIR);
    assert_int_equal(failure.exit_code, EX_CONFIG);
    assert_int_equal(PARSE("--plugin", "p", "demo", "--plugin-mount", file, "--plugin-mount", "/no/such:/x"), 0);
    assert_int_equal(options_check(&options, &failure), -ENOENT);
    assert_non_null(strstr(failure.text, "/no/such"));
    options_free(&options);
    unlink(file);
    rmdir(folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_all),       cmocka_unit_test(test_words),
        cmocka_unit_test(test_names),    cmocka_unit_test(test_numbers),   cmocka_unit_test(test_uid_ranges),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_mounts),   cmocka_unit_test(test_gid_maps),
        cmocka_unit_test(test_files),    cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
