/* What a program needs to start: the same that the loader itself finds, for programs of this host; and files that are damaged or miss something. */
#include "jail/elf.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static bool
has_source(const struct elf_files *files, const char *path)
{
    char *real = realpath(path, NULL);
    bool has = false;

    for (size_t i = 0; i < files->count && real != NULL; i++)
        has = has || strcmp(files->file[i].source, real) == 0;
    free(real);
    return has;
}

static int
find(const char *path, struct elf_files *files, char error[ELF_ERROR_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), result;

    assert_true(fd >= 0);
    result = elf_find_files(fd, path, files, error);
    close(fd);
    return result;
}

/* Every path that the loader prints, which it does without starting the program. */
static void
compare_with_loader(const char *program)
{
    struct elf_files files;
    char error[ELF_ERROR_MAX], command[PATH_MAX + 64], *line = NULL;
    size_t size = 0, listed = 0, extra = 0;
    FILE *loader;

    if (find(program, &files, error) != 0)
        fail_msg("%s", error);
    snprintf(command, sizeof command, "LD_TRACE_LOADED_OBJECTS=1 '%s'", program);
    loader = popen(command, "r");
    assert_non_null(loader);
    while (getline(&line, &size, loader) >= 0) {
        char *path = strchr(line, '/');

        if (path == NULL)
            continue; /* the vdso */
        path[strcspn(path, " \n")] = '\0';
        listed++;
        if (!has_source(&files, path))
            fail_msg("%s: the loader takes %s, which was not found", program, path);
    }
    assert_int_equal(pclose(loader), 0);
    free(line);
    /* libgcc_s, which no program lists, is the only other one. */
    for (size_t i = 0; i < files.count; i++)
        extra += strstr(files.file[i].path, "libgcc_s.so.1") != NULL;
    assert_true(listed > 0);
    assert_true(files.count >= listed && files.count <= listed + extra);
    elf_files_free(&files);
}

static void
test_as_the_loader(void **state)
{
    static const char *const programs[] = { "/bin/sh", "/bin/bash", "/usr/bin/env", "/bin/ls", "/usr/bin/strace" };
    const char *vmsup = getenv("VMSUP");
    unsigned compared = 0;

    (void)state;
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        if (access(programs[i], X_OK) == 0) {
            compare_with_loader(programs[i]);
            compared++;
        }
    if (vmsup != NULL)
        compare_with_loader(vmsup);
    assert_true(compared >= 3);
}

/* --- small ELF files that are kept with the fuzz targets: `dynamic` needs libl.so, and has the run path $ORIGIN/../lib */

struct place {
    char program[96], library[96];
};

static void
copy_seed(const char *seed, const char *to)
{
    const char *tree = getenv("TREE");
    char command[512];

    snprintf(command, sizeof command, "cp '%s/tests/fuzz/corpus/plugin_file/%s' '%s'", tree != NULL ? tree : ".", seed, to);
    assert_int_equal(system(command), 0);
}

/* The folder's bin/program and lib/libl.so. */
static struct place
make_place(void **state)
{
    const struct scratch *scratch = *state;
    char below[96];
    struct place place;

    snprintf(below, sizeof below, "%s/bin", scratch->path);
    assert_int_equal(mkdir(below, 0755), 0);
    snprintf(below, sizeof below, "%s/lib", scratch->path);
    assert_int_equal(mkdir(below, 0755), 0);
    snprintf(place.program, sizeof place.program, "%s/bin/program", scratch->path);
    snprintf(place.library, sizeof place.library, "%s/lib/libl.so", scratch->path);
    return place;
}

static void
test_run_path(void **state)
{
    const struct place place = make_place(state);
    struct elf_files files;
    char error[ELF_ERROR_MAX];

    copy_seed("dynamic", place.program);
    assert_int_equal(find(place.program, &files, error), -ENOENT);
    assert_non_null(strstr(error, "libl.so"));
    assert_non_null(strstr(error, place.program));
    assert_int_equal(files.count, 0);
    /* Something else of that name is not taken. */
    assert_int_equal(mkdir(place.library, 0755), 0);
    assert_int_equal(find(place.program, &files, error), -ENOENT);
    assert_int_equal(rmdir(place.library), 0);
    copy_seed("script", place.library);
    assert_int_equal(find(place.program, &files, error), -ENOEXEC);
    assert_non_null(strstr(error, place.library));
    copy_seed("library", place.library);
    if (find(place.program, &files, error) != 0)
        fail_msg("%s", error);
    assert_true(has_source(&files, place.library));
    assert_true(has_source(&files, "/lib64/ld-linux-x86-64.so.2"));
    elf_files_free(&files);
}

/* Runs a command of the shell in the scratch folder. */
static void
run_in(const struct scratch *scratch, const char *command)
{
    char line[1024];

    snprintf(line, sizeof line, "cd '%s' && %s", scratch->path, command);
    if (system(line) != 0)
        fail_msg("%s", line);
}

/* A program of the scratch folder's and the two libraries that it needs, one by the other, with the linker's options given. */
static void
build_chain(const struct scratch *scratch, const char *options)
{
    char command[512];

    if (system("command -v cc >/dev/null") != 0) {
        print_message("no compiler here\n");
        skip();
    }
    run_in(scratch, "mkdir -p far && echo 'int b(void);int b(void){return 7;}' | cc -xc -shared -fPIC -o far/libjb.so - && "
                    "echo 'int b(void);int a(void);int a(void){return b();}' | cc -xc -shared -fPIC -o far/libja.so - -Lfar -ljb");
    snprintf(command, sizeof command, "echo 'int a(void);int main(void){return a();}' | cc -xc -o program - -Lfar -lja -Wl,-rpath-link,far %s",
             options);
    run_in(scratch, command);
}

/* The run path of a program serves its libraries' libraries if it is a DT_RPATH, and only then. */
static void
test_passed_on(void **state)
{
    const struct scratch *scratch = *state;
    struct elf_files files;
    char error[ELF_ERROR_MAX], path[128];

    snprintf(path, sizeof path, "%s/program", scratch->path);
    build_chain(scratch, "-Wl,--disable-new-dtags,-rpath,'$ORIGIN/far'");
    compare_with_loader(path);
    build_chain(scratch, "-Wl,--enable-new-dtags,-rpath,'$ORIGIN/far'");
    assert_int_equal(find(path, &files, error), -ENOENT);
    assert_non_null(strstr(error, "libjb.so"));
}

/* Inside there are no links: a library is to be seen where the loader will look, not where it is. */
static void
test_run_path_of_links(void **state)
{
    const struct scratch *scratch = *state;
    struct elf_files files;
    char error[ELF_ERROR_MAX], path[128], expected[128];
    bool seen = false;

    snprintf(path, sizeof path, "%s/program", scratch->path);
    snprintf(expected, sizeof expected, "%s/now/libja.so", scratch->path);
    build_chain(scratch, "-Wl,--disable-new-dtags,-rpath,'$ORIGIN/./none/..//now'");
    run_in(scratch, "ln -s far now && mkdir none");
    if (find(path, &files, error) != 0)
        fail_msg("%s", error);
    for (size_t i = 0; i < files.count; i++)
        seen = seen || strcmp(files.file[i].path, expected) == 0;
    assert_true(seen);
    elf_files_free(&files);
}

static void
test_static(void **state)
{
    const struct place place = make_place(state);
    struct elf_files files;
    char error[ELF_ERROR_MAX];

    copy_seed("static", place.program);
    assert_int_equal(find(place.program, &files, error), 0);
    assert_int_equal(files.count, 0);
}

static void
test_refusals(void **state)
{
    static const struct {
        const char *seed, *said;
    } cases[] = {
        { "script", "is a script" }, { "aarch64", "another architecture" }, { "header", "damaged" }, { "cut", "damaged" },
    };
    const struct place place = make_place(state);
    struct elf_files files;
    char error[ELF_ERROR_MAX];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        copy_seed(cases[i].seed, place.program);
        assert_int_equal(find(place.program, &files, error), -ENOEXEC);
        if (strstr(error, cases[i].said) == NULL || strstr(error, place.program) == NULL)
            fail_msg("%s: \"%s\"", cases[i].seed, error);
    }
}

/* Cut at each place, and with each byte made the largest: refused or read, but never beyond its end. */
static void
test_damage(void **state)
{
    const struct place place = make_place(state);
    static uint8_t bytes[8192];
    struct elf_files files;
    char error[ELF_ERROR_MAX];
    ssize_t size;
    int fd;

    copy_seed("dynamic", place.program);
    fd = open(place.program, O_RDWR | O_CLOEXEC);
    size = read(fd, bytes, sizeof bytes);
    assert_true(size > 256 && size < (ssize_t)sizeof bytes);
    for (off_t i = 0; i < size; i++) {
        const uint8_t high = 0xff;

        assert_int_equal(pwrite(fd, &high, 1, i), 1);
        if (elf_find_files(fd, place.program, &files, error) == 0)
            elf_files_free(&files);
        assert_int_equal(pwrite(fd, &bytes[i], 1, i), 1);
    }
    for (off_t i = size - 1; i >= 0; i--) {
        assert_int_equal(ftruncate(fd, i), 0);
        if (elf_find_files(fd, place.program, &files, error) == 0)
            elf_files_free(&files);
    }
    assert_int_equal(elf_find_files(fd, place.program, &files, error), -ENOEXEC);
    close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_the_loader),
        cmocka_unit_test_setup_teardown(test_run_path, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_passed_on, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_run_path_of_links, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_static, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_refusals, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_damage, scratch_make, scratch_remove),
    };

    return cmocka_run_group_tests_name("elf", tests, NULL, NULL);
}
