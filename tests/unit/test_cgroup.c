/* The VM's cgroup: the parsers anywhere, the rest where cgroup v2 is mounted, as root. */
#include "supervisor/cgroup.h"
#include "supervisor/cgroup_files.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

static const struct cgroup_limits no_limits;

static void
test_find_mount(void **state)
{
    static const char legacy[] = "22 1 0:5 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
                                 "40 31 0:37 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,name=systemd\n"
                                 "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    char path[PATH_MAX];

    (void)state;
    assert_int_equal(cgroup_find_mount(legacy, path), 0);
    assert_string_equal(path, "/sys/fs/cgroup/unified");
    assert_int_equal(cgroup_find_mount("41 31 0:38 / /sys/fs/cgroup rw shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n", path), 0);
    assert_string_equal(path, "/sys/fs/cgroup");
    assert_int_equal(cgroup_find_mount("41 31 0:38 / /a\\040b\\134c rw - cgroup2 none rw", path), 0);
    assert_string_equal(path, "/a b\\c");
    /* A part of the hierarchy only; another type; lines cut off. */
    assert_int_equal(cgroup_find_mount("41 31 0:38 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", path), -ENOENT);
    assert_int_equal(cgroup_find_mount("41 31 0:38 / /cgroup2 rw - ext4 cgroup2 rw\n", path), -ENOENT);
    assert_int_equal(cgroup_find_mount("41 31 - cgroup2 cgroup2 rw\n", path), -ENOENT);
    assert_int_equal(cgroup_find_mount("", path), -ENOENT);
}

static void
test_parsers(void **state)
{
    static const char events[] = "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n";
    uint64_t number;

    (void)state;
    assert_int_equal(cgroup_parse_key(events, "oom_kill", &number), 0);
    assert_int_equal(number, 2);
    assert_int_equal(cgroup_parse_key(events, "low", &number), 0);
    assert_int_equal(number, 0);
    assert_int_equal(cgroup_parse_key(events, "oom_k", &number), -ENOENT);
    assert_int_equal(cgroup_parse_key("populated x\n", "populated", &number), -EBADMSG);
    assert_int_equal(cgroup_parse_key("", "populated", &number), -ENOENT);
    assert_true(cgroup_has_word("cpu memory pids\n", "memory"));
    assert_true(cgroup_has_word("cpu memory pids\n", "pids"));
    assert_false(cgroup_has_word("cpuset memory\n", "cpu"));
    assert_false(cgroup_has_word("", "cpu"));
}

/* --- for real */

static int
name_cgroup(void **state)
{
    char name[NAME_LENGTH_MAX];

    snprintf(name, sizeof name, "test-%d", (int)getpid());
    *state = strdup(name);
    return *state == NULL ? -1 : 0;
}

static int
forget_name(void **state)
{
    int result = cgroup_remove_leftover(*state);

    free(*state);
    return result;
}

static bool
can_run(void)
{
    char path[PATH_MAX];
    int fd = cgroup_open_mount(path);
    bool can = fd >= 0 && geteuid() == 0;

    if (fd >= 0)
        close(fd);
    if (!can)
        print_message("skipped: needs root and cgroup v2\n");
    return can;
}

static void
create(const char *name, struct cgroup *cgroup)
{
    struct failure failure;

    if (cgroup_create(name, &no_limits, cgroup, &failure) < 0)
        fail_msg("%s", failure.text);
    assert_true(cgroup->directory >= 0);
}

/* A process that waits in the cgroup, whatever signals but SIGKILL come. */
static pid_t
fork_into(const struct cgroup *cgroup)
{
    int ready[2];
    pid_t child;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
        int procs = openat(cgroup->directory, "cgroup.procs", O_WRONLY | O_CLOEXEC);

        signal(SIGTERM, SIG_IGN);
        if (write(procs, "0", 1) != 1 || dup2(ready[1], 3) != 3)
            _exit(1);
        /* The locks of the parent's descriptors are its own: they are let go before it goes on. */
        close_range(4, ~0u, 0);
        if (write(3, "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &(char){ 0 }, 1), 1);
    close(ready[0]);
    return child;
}

static void
assert_killed(pid_t child)
{
    int status = 0;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
test_life(void **state)
{
    struct cgroup cgroup, second;
    struct failure failure;
    uint64_t populated;
    char path[PATH_MAX];
    pid_t one, other;

    if (!can_run())
        skip();
    create(*state, &cgroup);
    strlcpy(path, cgroup.path, sizeof path);
    assert_int_equal(access(path, F_OK), 0);
    assert_true((fcntl(cgroup.directory, F_GETFD) & FD_CLOEXEC) != 0);
    /* Held by its supervisor, with whatever runtime folder. */
    assert_int_equal(cgroup_create(*state, &no_limits, &second, &failure), -EBUSY);
    assert_int_equal(failure.exit_code, EX_TEMPFAIL);
    assert_non_null(strstr(failure.text, path));
    assert_int_equal(cgroup_remove_leftover(*state), -EBUSY);
    assert_int_equal(access(path, F_OK), 0);

    one = fork_into(&cgroup);
    other = fork_into(&cgroup);
    assert_int_equal(cgroup_read_key(cgroup.events, "populated", &populated), 0);
    assert_int_equal(populated, 1);
    assert_int_equal(cgroup_kill(&cgroup), 0);
    assert_killed(one);
    assert_killed(other);
    assert_int_equal(cgroup_oom_kills(&cgroup), 0);
    /* Removing kills by itself. */
    one = fork_into(&cgroup);
    assert_int_equal(cgroup_remove(&cgroup), 0);
    assert_killed(one);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(cgroup.directory, -1);
    assert_int_equal(cgroup_remove(&cgroup), 0);
    assert_int_equal(cgroup_kill(&cgroup), 0);
}

/* Its supervisor is killed; the next command, or the next start, kills what is left. */
static void
test_leftover(void **state)
{
    struct cgroup cgroup;
    int left[2];
    pid_t supervisor, plugin;

    if (!can_run())
        skip();
    assert_int_equal(pipe2(left, O_CLOEXEC), 0);
    for (int again = 0; again <= 1; again++) {
        /* The plugin becomes ours when its parent dies, so that its end can be seen. */
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        supervisor = fork();
        if (supervisor == 0) {
            create(*state, &cgroup);
            plugin = fork_into(&cgroup);
            if (write(left[1], &plugin, sizeof plugin) != sizeof plugin)
                _exit(1);
            for (;;)
                pause();
        }
        assert_int_equal(read(left[0], &plugin, sizeof plugin), sizeof plugin);
        kill(supervisor, SIGKILL);
        assert_killed(supervisor);
        assert_int_equal(kill(plugin, 0), 0);
        if (again) {
            create(*state, &cgroup);
            assert_killed(plugin);
            assert_int_equal(cgroup_remove(&cgroup), 0);
        } else {
            assert_int_equal(cgroup_remove_leftover(*state), 0);
            assert_killed(plugin);
        }
    }
    assert_int_equal(cgroup_remove_leftover(*state), 0);
    close(left[0]);
    close(left[1]);
}

static void
test_without_capabilities(void **state)
{
    struct cgroup cgroup;
    char path[PATH_MAX];
    int status;
    pid_t child;

    if (!can_run())
        skip();
    create(*state, &cgroup);
    strlcpy(path, cgroup.path, sizeof path);
    child = fork();
    if (child == 0) {
        cap_t none = cap_init();
        pid_t inside = fork_into(&cgroup);

        if (none == NULL || cap_set_proc(none) < 0)
            _exit(1);
        if (cgroup_remove(&cgroup) < 0 || waitpid(inside, &status, 0) != inside || !WIFSIGNALED(status))
            _exit(2);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(access(path, F_OK), -1);
    cgroup_close(&cgroup);
}

/* A limit holds, or the start fails and says which controller is missing. */
static void
test_limits(void **state)
{
    const struct cgroup_limits limits = { .memory_max = 64 << 20, .pids_max = 32 };
    char controllers[CGROUP_FILE_MAX], path[PATH_MAX], text[64] = "";
    struct cgroup cgroup;
    struct failure failure;
    int fd, mount, result;

    if (!can_run())
        skip();
    mount = cgroup_open_mount(path);
    fd = openat(mount, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
    result = (int)read(fd, controllers, sizeof controllers - 1);
    assert_true(result >= 0);
    controllers[result] = '\0';
    close(fd);
    result = cgroup_create(*state, &limits, &cgroup, &failure);
    if (cgroup_has_word(controllers, "memory") && cgroup_has_word(controllers, "pids")) {
        assert_int_equal(result, 0);
        fd = openat(cgroup.directory, "memory.max", O_RDONLY | O_CLOEXEC);
        assert_true(read(fd, text, sizeof text - 1) > 0);
        assert_string_equal(text, "67108864\n");
        close(fd);
        assert_true(cgroup.memory >= 0);
        assert_int_equal(cgroup_remove(&cgroup), 0);
    } else {
        print_message("no controllers here: their absence is what is tested\n");
        assert_true(result < 0);
        assert_int_equal(failure.exit_code, EX_UNAVAILABLE);
        assert_non_null(strstr(failure.text, "controller"));
        assert_int_equal(cgroup.directory, -1);
    }
    snprintf(path + strlen(path), sizeof path - strlen(path), "/vmsup/%s", (char *)*state);
    assert_int_equal(access(path, F_OK), -1);
    close(mount);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_mount),
        cmocka_unit_test(test_parsers),
        cmocka_unit_test_setup_teardown(test_life, name_cgroup, forget_name),
        cmocka_unit_test_setup_teardown(test_leftover, name_cgroup, forget_name),
        cmocka_unit_test_setup_teardown(test_without_capabilities, name_cgroup, forget_name),
        cmocka_unit_test_setup_teardown(test_limits, name_cgroup, forget_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
