/* The plugin's file, each thing it can be instead of a program; and how much memory a VM may have. */
#include "supervisor/memory.h"
#include "supervisor/plugin_file.h"

#include <elf.h>
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

static int
make_folder(void **state)
{
    char path[] = "/tmp/vmsup-test-XXXXXX";

    if (mkdtemp(path) == NULL)
        return -1;
    *state = strdup(path);
    return *state == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
    int result = rmdir(*state);

    free(*state);
    return result;
}

static void
write_file(const char *path, const void *data, size_t size, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* The file must be refused, by one of the two steps, with this code and word. */
static void
refused(const char *path, int error, int exit_code, const char *word)
{
    struct options options = { 0 };
    struct plugin_mounts mounts;
    struct plugin_file file;
    struct failure failure = { 0 };
    int result = plugin_file_open(path, &file, &failure);

    if (result == 0) {
        result = plugin_file_mounts(&file, &options, &mounts, &failure);
        plugin_file_close(&file);
    }
    assert_int_equal(result, error);
    assert_int_equal(failure.exit_code, exit_code);
    if (strstr(failure.text, word) == NULL || strncmp(failure.text, "--plugin", 8) != 0)
        fail_msg("\"%s\" says nothing of \"%s\"", failure.text, word);
}

static void
test_refusals(void **state)
{
    Elf64_Ehdr header = { .e_ident = ELFMAG, .e_type = ET_DYN, .e_machine = EM_AARCH64, .e_version = EV_CURRENT };
    char path[64];

    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    snprintf(path, sizeof path, "%s/plugin", (char *)*state);
    refused(path, -ENOENT, EX_NOINPUT, "No such file");
    refused(*state, -EINVAL, EX_CONFIG, "is a directory");
    refused("/dev/null", -EINVAL, EX_CONFIG, "no regular file");
    assert_int_equal(mkfifo(path, 0777), 0);
    refused(path, -EINVAL, EX_CONFIG, "no regular file");
    unlink(path);
    write_file(path, "x", 1, 0644);
    refused(path, -EINVAL, EX_CONFIG, "not executable");
    write_file(path, "x", 1, 0700);
    refused(path, -EINVAL, EX_CONFIG, "everybody");
    write_file(path, "x", 1, 04755);
    refused(path, -EINVAL, EX_CONFIG, "setuid");
    write_file(path, "x", 1, 02755);
    refused(path, -EINVAL, EX_CONFIG, "setgid");
    write_file(path, "#!/bin/sh\n", 10, 0755);
    refused(path, -ENOEXEC, EX_CONFIG, "script");
    write_file(path, "x", 1, 0755);
    refused(path, -ENOEXEC, EX_CONFIG, "no ELF");
    write_file(path, &header, sizeof header, 0755);
    refused(path, -ENOEXEC, EX_CONFIG, "architecture");
    unlink(path);
    assert_int_equal(symlink("plugin", path), 0);
    refused(path, -ELOOP, EX_NOINPUT, "Too many");
    unlink(path);
}

static const struct jail_mount *
find_mount(const struct plugin_mounts *mounts, const char *word)
{
    for (size_t i = 0; i < mounts->count; i++)
        if (strstr(mounts->mount[i].target, word) != NULL)
            return &mounts->mount[i];
    return NULL;
}

static void
test_program(void **state)
{
    struct options options = { .mount_count = 1 };
    struct plugin_mounts mounts;
    struct plugin_file file;
    struct failure failure;
    char path[64];

    snprintf(path, sizeof path, "%s/link", (char *)*state);
    assert_int_equal(symlink("/bin/ls", path), 0);
    options.mounts[0] = (struct options_mount){ .source = (char *)"/etc", .target = (char *)"/config", .writable = true };
    assert_int_equal(plugin_file_open(path, &file, &failure), 0);
    assert_non_null(strstr(file.path, "/bin/ls"));
    assert_true((fcntl(file.fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
    assert_true((fcntl(file.fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(plugin_file_mounts(&file, &options, &mounts, &failure), 0);
    assert_string_equal(mounts.mount[0].source, file.path);
    assert_string_equal(mounts.mount[0].target, file.path);
    assert_non_null(find_mount(&mounts, "libc.so.6"));
    assert_non_null(find_mount(&mounts, "ld-linux"));
    assert_false(find_mount(&mounts, "libc.so.6")->writable);
    assert_string_equal(mounts.mount[mounts.count - 1].source, "/etc");
    assert_string_equal(mounts.mount[mounts.count - 1].target, "/config");
    assert_true(mounts.mount[mounts.count - 1].writable);
    plugin_mounts_free(&mounts);
    plugin_file_close(&file);
    plugin_file_close(&file);
    unlink(path);
}

static void
test_memory(void **state)
{
    /* 1 GiB available: 768 MiB beside the reserve. */
    static const char meminfo[] = "MemTotal:        2000000 kB\nMemFree:  5 kB\nMemAvailable:    1048576 kB\nBuffers: 1 kB\n";
    struct failure failure;
    uint64_t limit;

    (void)state;
    assert_int_equal(memory_decide_from(meminfo, 0, &limit, &failure), 0);
    assert_int_equal(limit, UINT64_C(768) << 20);
    assert_int_equal(memory_decide_from(meminfo, UINT64_C(768) << 20, &limit, &failure), 0);
    assert_int_equal(limit, UINT64_C(768) << 20);
    assert_int_equal(memory_decide_from(meminfo, UINT64_C(64) << 20, &limit, &failure), 0);
    assert_int_equal(limit, UINT64_C(64) << 20);
    assert_int_equal(memory_decide_from(meminfo, (UINT64_C(768) << 20) + 1, &limit, &failure), -ENOMEM);
    assert_int_equal(failure.exit_code, EX_TEMPFAIL);
    assert_non_null(strstr(failure.text, "at most 768 MiB"));
    assert_int_equal(memory_decide_from("MemAvailable: 270000 kB\n", 0, &limit, &failure), -ENOMEM);
    assert_int_equal(memory_decide_from("MemAvailable: 1 kB\n", 0, &limit, &failure), -ENOMEM);
    assert_int_equal(memory_decide_from("MemFree: 270000 kB\n", 0, &limit, &failure), -ENOENT);
    assert_int_equal(memory_decide_from("MemAvailable: 99999999999999999999 kB\n", 0, &limit, &failure), -ERANGE);
    /* This host has less than four exbibytes. */
    assert_int_equal(memory_decide(UINT64_C(4) << 60, &limit, &failure), -ENOMEM);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refusals, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_program, make_folder, remove_folder),
        cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
