/* Granted files: what is opened and how, what is refused, and who holds which lock for how long. */
#include "supervisor/grants.h"

#include "common/fd.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* The supervisor opens as root, whom no mode stops; the owner can be changed by root alone. */
static bool
is_root(void)
{
    return geteuid() == 0;
}

struct scene {
    struct options options;
    struct grants grants;
    struct failure failure;
    char path[4][96];
};

/* `count` files of 8 KiB. */
static void
make_files(struct scene *scene, const struct scratch *scratch, size_t count)
{
    *scene = (struct scene){ .options = { .uid_first = 1900000000, .uid_count = 100 } };
    for (size_t i = 0; i < count; i++) {
        int fd;

        snprintf(scene->path[i], sizeof scene->path[i], "%s/file%zu", scratch->path, i);
        fd = open(scene->path[i], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 8192), 0);
        close(fd);
        scene->options.grants[i] = (struct options_grant){ .path = scene->path[i], .option = "--grant" };
        snprintf(scene->options.grants[i].name, sizeof scene->options.grants[i].name, "grant%zu", i);
    }
    scene->options.grant_count = count;
}

static int
open_all(struct scene *scene)
{
    return grants_open(&scene->options, &scene->grants, &scene->failure);
}

/* Must be refused with one line that has the text, and nothing stays open. */
static void
refused(struct scene *scene, int exit_code, const char *text)
{
    const size_t before = scratch_count_descriptors();

    if (open_all(scene) >= 0)
        fail_msg("taken, though it should be refused for: %s", text);
    if (strstr(scene->failure.text, text) == NULL || strstr(scene->failure.text, "expected") == NULL)
        fail_msg("\"%s\" does not say \"%s\" and what was expected", scene->failure.text, text);
    assert_int_equal(scene->failure.exit_code, exit_code);
    assert_int_equal(scratch_count_descriptors(), before);
}

/* As another process would: a description of its own. 0, or -EAGAIN. */
static int
try_lock(const char *path, short type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET };
    int fd = open(path, O_RDWR | O_CLOEXEC), result;

    assert_true(fd >= 0);
    result = fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
    close(fd);
    return result;
}

static void
drop_lock(int fd)
{
    struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
}

static void
test_modes(void **state)
{
    struct scene scene;
    char byte = 'x', *described;

    make_files(&scene, *state, 2);
    scene.options.grants[1].writable = true;
    assert_int_equal(open_all(&scene), 0);
    assert_int_equal(scene.grants.count, 2);
    assert_string_equal(scene.grants.grant[1].name, "grant1");
    assert_int_equal(pread(scene.grants.grant[0].fd, &byte, 1, 0), 1);
    assert_int_equal(pwrite(scene.grants.grant[0].fd, &byte, 1, 0), -1);
    assert_int_equal(pwrite(scene.grants.grant[1].fd, &byte, 1, 0), 1);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(fcntl(scene.grants.grant[i].fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(scene.grants.grant[i].lock, -1);
        assert_int_equal(try_lock(scene.path[i], F_WRLCK), 0);
    }
    described = grants_describe(&scene.grants, "VMSUP_FDS", 4);
    assert_string_equal(described, "VMSUP_FDS=grant0=4,grant1=5");
    free(described);
    grants_close(&scene.grants);
}

static void
test_added(void **state)
{
    struct scene scene;
    char *described;
    int fd;

    make_files(&scene, *state, 1);
    assert_int_equal(open_all(&scene), 0);
    for (size_t i = 1; i < GRANTS_MAX; i++) {
        fd = dup(STDIN_FILENO);
        assert_int_equal(grants_add(&scene.grants, "more", &fd), 0);
        assert_int_equal(fd, -1);
    }
    fd = dup(STDIN_FILENO);
    assert_int_equal(grants_add(&scene.grants, "more", &fd), -E2BIG);
    assert_int_equal(fd, -1);
    scene.grants.count = 2;
    described = grants_describe(&scene.grants, "V", 10);
    assert_string_equal(described, "V=grant0=10,more=11");
    free(described);
    scene.grants.count = GRANTS_MAX;
    grants_close(&scene.grants);
    assert_int_equal(scene.grants.count, 0);
}

static void
test_refused(void **state)
{
    const struct scratch *scratch = *state;
    char path[128];
    struct scene scene;

    make_files(&scene, scratch, 2);
    chmod(scene.path[1], 0646);
    refused(&scene, EX_CONFIG, "written by everybody");
    chmod(scene.path[1], 0664);
    assert_int_equal(open_all(&scene), 0);
    grants_close(&scene.grants);
    unlink(scene.path[1]);
    refused(&scene, EX_NOINPUT, "No such file");
    assert_int_equal(symlink(scene.path[0], scene.path[1]), 0);
    refused(&scene, EX_CONFIG, "symbolic link");
    unlink(scene.path[1]);
    assert_int_equal(mkdir(scene.path[1], 0755), 0);
    refused(&scene, EX_CONFIG, "neither a regular file nor a block device");
    rmdir(scene.path[1]);
    /* Nobody writes to it: an open would wait for ever. */
    assert_int_equal(mkfifo(scene.path[1], 0644), 0);
    refused(&scene, EX_CONFIG, "neither a regular file nor a block device");
    scene.options.grants[1].path = (char[]){ "/dev/null" };
    refused(&scene, EX_CONFIG, "neither a regular file nor a block device");
    snprintf(path, sizeof path, "%s/file0/x", scratch->path);
    scene.options.grants[1].path = path;
    refused(&scene, EX_NOINPUT, "Not a directory");
}

static void
test_owners(void **state)
{
    struct scene scene;

    if (!is_root())
        skip();
    make_files(&scene, *state, 1);
    assert_int_equal(chown(scene.path[0], 1899999999, 1900000100), 0);
    assert_int_equal(open_all(&scene), 0);
    grants_close(&scene.grants);
    assert_int_equal(chown(scene.path[0], 1900000000, 0), 0);
    refused(&scene, EX_CONFIG, "an id that VMs run under");
    assert_int_equal(chown(scene.path[0], 0, 1900000099), 0);
    refused(&scene, EX_CONFIG, "an id that VMs run under");
}

/* A folder above it may be a link. */
static void
test_folders(void **state)
{
    const struct scratch *scratch = *state;
    char link[96], path[128];
    struct scene scene;

    make_files(&scene, scratch, 1);
    snprintf(link, sizeof link, "%s/link", scratch->path);
    snprintf(path, sizeof path, "%s/file0", link);
    assert_int_equal(symlink(scratch->path, link), 0);
    scene.options.grants[0].path = path;
    assert_int_equal(open_all(&scene), 0);
    grants_close(&scene.grants);
}

static void
test_exclusive(void **state)
{
    struct scene scene;
    int plugin;

    make_files(&scene, *state, 1);
    scene.options.grants[0].writable = scene.options.grants[0].lock = true;
    assert_int_equal(open_all(&scene), 0);
    assert_int_equal(try_lock(scene.path[0], F_RDLCK), -EAGAIN);
    /* A plugin that gives up what it can. */
    plugin = dup(scene.grants.grant[0].fd);
    grants_hand_over(&scene.grants);
    assert_int_equal(scene.grants.grant[0].fd, -1);
    drop_lock(plugin);
    assert_int_equal(try_lock(scene.path[0], F_RDLCK), -EAGAIN);
    close(plugin);
    assert_int_equal(try_lock(scene.path[0], F_WRLCK), -EAGAIN);
    grants_close(&scene.grants);
    assert_int_equal(try_lock(scene.path[0], F_WRLCK), 0);
}

/* The supervisor is killed: the file is taken as long as the plugin lives. */
static void
test_survivor(void **state)
{
    struct scene scene;
    int plugin;

    make_files(&scene, *state, 1);
    scene.options.grants[0].writable = scene.options.grants[0].lock = true;
    assert_int_equal(open_all(&scene), 0);
    plugin = dup(scene.grants.grant[0].fd);
    grants_close(&scene.grants);
    assert_int_equal(try_lock(scene.path[0], F_WRLCK), -EAGAIN);
    refused(&scene, EX_TEMPFAIL, "locked by another process");
    close(plugin);
    assert_int_equal(try_lock(scene.path[0], F_WRLCK), 0);
}

static void
test_shared(void **state)
{
    struct scene scene, other;
    struct failure failure;

    make_files(&scene, *state, 1);
    scene.options.grants[0].lock = true;
    assert_int_equal(open_all(&scene), 0);
    assert_int_equal(try_lock(scene.path[0], F_RDLCK), 0);
    assert_int_equal(try_lock(scene.path[0], F_WRLCK), -EAGAIN);
    other = scene;
    assert_int_equal(grants_open(&other.options, &other.grants, &failure), 0);
    grants_close(&other.grants);
    other.options.grants[0].writable = true;
    refused(&other, EX_TEMPFAIL, "locked by another process");
    grants_close(&scene.grants);
}

static void
test_twice(void **state)
{
    struct scene scene;

    make_files(&scene, *state, 2);
    unlink(scene.path[1]);
    assert_int_equal(link(scene.path[0], scene.path[1]), 0);
    for (size_t i = 0; i < 2; i++)
        scene.options.grants[i].writable = scene.options.grants[i].lock = true;
    refused(&scene, EX_CONFIG, "is granted as grant0 already");
    scene.options.grants[0].writable = false;
    refused(&scene, EX_CONFIG, "is granted as grant0 already");
    scene.options.grants[1].writable = false;
    assert_int_equal(open_all(&scene), 0);
    grants_close(&scene.grants);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_modes),     CASE(test_added),    CASE(test_refused), CASE(test_owners), CASE(test_folders),
        CASE(test_exclusive), CASE(test_survivor), CASE(test_shared),  CASE(test_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
