/* A layer that cannot be had: the start fails, says which, and leaves nothing. */
#include "jail_driver.h"

#include <limits.h>
#include <sys/capability.h>

/* The start must fail at `step` with `error`. */
static void
expect_failure(struct driver *driver, const char *step, int error)
{
    size_t descriptors = scratch_count_descriptors();
    int result = driver_start(driver, "sleep", NULL);

    if (result != -error || driver->error.error != error || strstr(driver->error.text, step) == NULL ||
        strncmp(driver->error.text, "inmate: ", 8) != 0)
        fail_msg("%d, \"%s\" instead of \"%s\" (%s)", result, driver->error.text, step, strerror(error));
    assert_int_equal(driver->process.pid, -1);
    assert_int_equal(driver->process.pidfd, -1);
    assert_int_equal(driver->process.listener, -1);
    driver_check_host(driver, descriptors);
}

static void
test_early_steps(void **state)
{
    struct driver *driver = driver_take(state);
    const struct jail whole = driver->jail;
    const struct jail_limit no_limit = { 99, 1 };

    driver->jail.cgroup = driver->null;
    expect_failure(driver, "cannot make its namespaces", EBADF);
    driver->jail = whole;
    driver->jail.pid_namespace = driver->null;
    expect_failure(driver, "cannot make its namespaces", EINVAL);
    driver->jail = whole;
    driver->jail.oom_score_adjust = 5000;
    expect_failure(driver, "cannot set its score", EINVAL);
    driver->jail = whole;
    driver->jail.limits = &no_limit;
    driver->jail.limit_count = 1;
    expect_failure(driver, "cannot set limits", EINVAL);
    driver->jail = whole;
    driver->jail.mount_count = JAIL_MOUNTS_MAX + 1;
    expect_failure(driver, "more descriptors, mounts", E2BIG);
}

static void
test_mounts(void **state)
{
    struct driver *driver = driver_take(state);
    const struct jail whole = driver->jail;
    struct jail_mount mounts[2] = { { .source = "/nonexistent", .target = "/a" }, { .source = "/dev/null", .target = "/a/file" } };

    driver->jail.root = "/nonexistent";
    expect_failure(driver, "cannot mount its root over /nonexistent", ENOENT);
    driver->jail.root = "/etc/passwd";
    expect_failure(driver, "cannot mount its root over /etc/passwd", ENOTDIR);
    driver->jail = whole;
    driver->jail.mounts = mounts;
    driver->jail.mount_count = 1;
    expect_failure(driver, "cannot show /nonexistent at /a", ENOENT);
    mounts[0] = (struct jail_mount){ .source = "/etc", .target = "/a/../../b" };
    expect_failure(driver, "cannot show /etc at /a/../../b", EINVAL);
    mounts[0] = (struct jail_mount){ .source = "/dev/zero", .target = "/dev" };
    expect_failure(driver, "cannot show /dev/null at /dev/null", ENOTDIR);
    mounts[0].target = "/proc";
    expect_failure(driver, "cannot mount /proc", ENOTDIR);
    /* What is shown read-only is not changed for the sake of another. */
    mounts[0] = (struct jail_mount){ .source = driver->root, .target = "/a" };
    driver->jail.mount_count = 2;
    expect_failure(driver, "cannot show /dev/null at /a/file", EROFS);
}

/* A link in something shown must lead nowhere: not to the host, not elsewhere in the room. */
static void
test_links(void **state)
{
    struct driver *driver = driver_take(state);
    char folder[] = "/tmp/vmsup-test-XXXXXX", link[64];
    struct jail_mount mounts[2] = { { .source = folder, .target = "/a", .writable = true }, { .source = "/dev/null", .target = "/a/link/new" } };

    assert_non_null(mkdtemp(folder));
    snprintf(link, sizeof link, "%s/link", folder);
    assert_int_equal(symlink(driver->root, link), 0);
    driver->jail.mounts = mounts;
    driver->jail.mount_count = 2;
    expect_failure(driver, "cannot show /dev/null at /a/link/new", ENOTDIR);
    mounts[1].target = "/a/link";
    expect_failure(driver, "cannot show /dev/null at /a/link", ELOOP);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void
test_ids(void **state)
{
    struct driver *driver = driver_take(state);
    const struct jail whole = driver->jail;
    static const struct jail_id_map overlapping[] = { { 0, 1911400100, 1 } };

    driver->jail.gid_map = overlapping;
    driver->jail.gid_map_count = 1;
    expect_failure(driver, "cannot write the maps", EINVAL);
    driver->jail = whole;
    driver->jail.user_namespace = false;
    driver->terms.uid = (uid_t)-1;
    expect_failure(driver, "could be had back", EPERM);
}

static void
test_descriptors(void **state)
{
    struct driver *driver = driver_take(state);
    struct jail_fd fds[2] = { { driver->null, 64 }, { driver->null, 0 } };

    driver->jail.fds = fds;
    driver->jail.fd_count = 2;
    expect_failure(driver, "cannot arrange its descriptors", EINVAL);
    fds[0].number = -1;
    expect_failure(driver, "cannot arrange its descriptors", EINVAL);
    fds[0] = (struct jail_fd){ 1000, 3 };
    expect_failure(driver, "cannot arrange its descriptors", EBADF);
}

static void
execute_other(struct driver *driver, const char *path, int error)
{
    int other = open(path, O_PATH | O_CLOEXEC);

    assert_true(other >= 0);
    driver->jail.executable = other;
    expect_failure(driver, "cannot execute", error);
    close(other);
}

static void
test_executables(void **state)
{
    struct driver *driver = driver_take(state);
    char path[] = "/tmp/vmsup-test-XXXXXX";
    int file = mkostemp(path, O_CLOEXEC);

    assert_true(file >= 0);
    assert_int_equal(write(file, "no program\n", 11), 11);
    execute_other(driver, "/etc", EACCES);
    assert_int_equal(fchmod(file, 0700), 0);
    execute_other(driver, path, EACCES); /* it is root's, and the inmate is not */
    assert_int_equal(fchmod(file, 0755), 0);
    fd_close(&file);
    execute_other(driver, path, ENOEXEC);
    assert_int_equal(unlink(path), 0);
}

/* A supervisor that lacks a capability: each is needed by another step. Runs in a child, whose exit code is the outcome. */
static int
start_without(struct driver *driver, cap_value_t capability)
{
    cap_t set = cap_get_proc();
    int result;

    if (set == NULL || cap_set_flag(set, CAP_EFFECTIVE, 1, &capability, CAP_CLEAR) < 0 ||
        cap_set_flag(set, CAP_PERMITTED, 1, &capability, CAP_CLEAR) < 0 || cap_set_proc(set) < 0)
        return 100;
    cap_free(set);
    result = driver_start(driver, "exit", NULL);
    if (result == 0)
        kill(driver->process.pid, SIGKILL);
    if (write(driver->output[1], driver->error.text, strlen(driver->error.text)) < 0)
        return 101;
    return -result;
}

static void
test_capabilities(void **state)
{
    struct driver *driver = driver_take(state);
    static const struct {
        cap_value_t capability;
        bool user_namespace;
        const char *step;
    } cases[] = {
        { CAP_SYS_ADMIN, true, "cannot make its namespaces" },
        { CAP_SYS_CHROOT, false, "cannot enter its room" },
        { CAP_SETPCAP, false, "cannot drop the capability bounding set" },
        { CAP_SETGID, false, "cannot become uid" },
        { CAP_SETUID, false, "cannot become uid" },
        { CAP_SETUID, true, "cannot write the maps" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[JAIL_ERROR_MAX];
        ssize_t size;
        int status;
        pid_t pid;

        driver->jail.user_namespace = cases[i].user_namespace;
        pid = fork();
        if (pid == 0)
            _exit(start_without(driver, cases[i].capability));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        size = read(driver->output[0], text, sizeof text - 1);
        assert_true(size > 0);
        text[size] = '\0';
        if (!WIFEXITED(status) || WEXITSTATUS(status) != EPERM || strstr(text, cases[i].step) == NULL)
            fail_msg("without capability %d: code %d, \"%s\" instead of \"%s\"", cases[i].capability, WEXITSTATUS(status), text,
                     cases[i].step);
    }
    driver_check_host(driver, driver->descriptors);
}

/* A filter that no socket's buffer takes; the kernel would not either. */
static void
test_terms(void **state)
{
    struct driver *driver = driver_take(state);
    struct policy_program endless = { .length = USHRT_MAX };

    endless.instructions = calloc(endless.length, sizeof *endless.instructions);
    assert_non_null(endless.instructions);
    driver->terms.program = &endless;
    expect_failure(driver, "cannot tell the child its ids and filter", EMSGSIZE);
    free(endless.instructions);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, driver_create, driver_destroy)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_early_steps),
        TEST(test_mounts),
        TEST(test_links),
        TEST(test_ids),
        TEST(test_descriptors),
        TEST(test_executables),
        TEST(test_capabilities),
        TEST(test_terms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
