/* The layers of a jail, each seen from inside. */
#include "jail_driver.h"

#include <linux/securebits.h>
#include <mntent.h>
#include <sys/mount.h>
#include <sys/resource.h>

static void
expect_all(const struct driver *driver, const char *const *lines, size_t count)
{
    for (size_t i = 0; i < count; i++)
        driver_expect(driver, lines[i]);
}

#define EXPECT(driver, ...)                                                                                                        \
    do {                                                                                                                           \
        static const char *const lines_[] = { __VA_ARGS__ };                                                                      \
        expect_all(driver, lines_, sizeof lines_ / sizeof lines_[0]);                                                             \
    } while (0)

/* How often a line begins with `word`. */
static size_t
count_lines(const struct driver *driver, const char *word)
{
    size_t count = strncmp(driver->text, word, strlen(word)) == 0;
    char needle[64];

    snprintf(needle, sizeof needle, "\n%s", word);
    for (const char *at = driver->text; (at = strstr(at, needle)) != NULL; at++)
        count++;
    return count;
}

static void
test_ids(void **state)
{
    /* Whoever starts the supervisor may have ignored any signal, the C library's two included. */
    static const struct {
        uintptr_t handler;
        unsigned long flags, restorer, mask;
    } ignore = { .handler = 1 };
    struct driver *driver = driver_take(state);
    char line[64];

    assert_int_equal(syscall(SYS_rt_sigaction, SIGHUP, &ignore, NULL, sizeof ignore.mask), 0);
    assert_int_equal(syscall(SYS_rt_sigaction, 33, &ignore, NULL, sizeof ignore.mask), 0);
    driver_run(driver, "tell", NULL);
    EXPECT(driver, "Uid:\t0\t0\t0\t0", "Gid:\t0\t0\t0\t0", "Groups:\t ", "CapInh:\t0000000000000000", "CapPrm:\t0000000000000000",
           "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "NSpid:\t1",
           "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "pid 1", "parent 0", "session 1", "umask 77", "death-signal 9",
           "host inmate", "score 500", "cwd /");
    snprintf(line, sizeof line, "securebits %d",
             SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                 SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED);
    driver_expect(driver, line);
}

static void
test_ids_without_user_namespace(void **state)
{
    struct driver *driver = driver_take(state);
    char line[64];

    driver->jail.user_namespace = false;
    driver_run(driver, "tell", NULL);
    snprintf(line, sizeof line, "Uid:\t%u\t%u\t%u\t%u", DRIVER_UID, DRIVER_UID, DRIVER_UID, DRIVER_UID);
    driver_expect(driver, line);
    snprintf(line, sizeof line, "Gid:\t%u\t%u\t%u\t%u", DRIVER_GID, DRIVER_GID, DRIVER_GID, DRIVER_GID);
    driver_expect(driver, line);
    EXPECT(driver, "Groups:\t ", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "death-signal 9");
}

/* The host's ids of a process, as the host sees them. */
static void
test_ids_outside(void **state)
{
    struct driver *driver = driver_take(state);
    static const struct jail_id_map maps[] = { { 5, 1911400100, 3 }, { 100, 1911400200, 1 } };
    char path[64], text[1024];
    unsigned numbers[9];

    driver->jail.gid_map = maps;
    driver->jail.gid_map_count = 2;
    assert_int_equal(driver_start(driver, "sleep", NULL), 0);
    driver_hear(driver, "sleeping");
    snprintf(path, sizeof path, "/proc/%d/uid_map", driver->process.pid);
    assert_true(fd_read_file(AT_FDCWD, path, text, sizeof text) > 0);
    assert_int_equal(sscanf(text, "%u %u %u", &numbers[0], &numbers[1], &numbers[2]), 3);
    assert_true(numbers[0] == 0 && numbers[1] == DRIVER_UID && numbers[2] == 1);
    snprintf(path, sizeof path, "/proc/%d/gid_map", driver->process.pid);
    assert_true(fd_read_file(AT_FDCWD, path, text, sizeof text) > 0);
    assert_int_equal(sscanf(text, "%u %u %u %u %u %u %u %u %u", &numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4],
                            &numbers[5], &numbers[6], &numbers[7], &numbers[8]), 9);
    assert_true(numbers[0] == 0 && numbers[1] == DRIVER_GID && numbers[2] == 1);
    assert_true(numbers[3] == 5 && numbers[4] == 1911400100 && numbers[5] == 3);
    assert_true(numbers[6] == 100 && numbers[7] == 1911400200 && numbers[8] == 1);
    assert_int_equal(kill(driver->process.pid, SIGKILL), 0);
    assert_int_equal(driver_wait(driver), SIGKILL);
    driver_check_host(driver, driver->descriptors);
}

static void
test_descriptors(void **state)
{
    struct driver *driver = driver_take(state);
    int leaked = open("/etc/passwd", O_RDONLY); /* not close-on-exec */
    int high = fcntl(leaked, F_DUPFD, 900);
    /* The first two are wanted at each other's place. */
    struct jail_fd fds[] = {
        { driver->null, driver->output[1] }, { driver->output[1], STDOUT_FILENO }, { driver->null, 60 }, { driver->output[1], driver->null },
    };
    char line[64];

    assert_true(leaked >= 0 && high >= 900);
    driver->jail.fds = fds;
    driver->jail.fd_count = 4;
    assert_int_equal(driver_start(driver, "tell", NULL), 0);
    fd_close(&leaked);
    fd_close(&high);
    snprintf(line, sizeof line, "descriptor %d", driver->output[1]);
    fd_close(&driver->output[1]);
    driver_hear(driver, NULL);
    driver_wait(driver);
    driver_expect(driver, line);
    snprintf(line, sizeof line, "descriptor %d", driver->null);
    driver_expect(driver, line);
    EXPECT(driver, "descriptor 1", "descriptor 60");
    assert_int_equal(count_lines(driver, "descriptor "), 4);
}

static void
test_room(void **state)
{
    struct driver *driver = driver_take(state);

    driver_run(driver, "tell", NULL);
    EXPECT(driver, "entry / dev", "entry / proc", "entry /dev null", "entry /dev zero", "entry /dev full", "entry /dev urandom", "lo down",
           "link lo");
    assert_int_equal(count_lines(driver, "entry / "), 2);
    assert_int_equal(count_lines(driver, "entry /dev "), 4);
    assert_int_equal(count_lines(driver, "link "), 1);
    /* What is mounted: /proc and four devices; the root is outside of what is seen. */
    assert_int_equal(count_lines(driver, "proc /proc proc ro,nosuid,nodev,noexec,relatime"), 1);
    assert_non_null(strstr(driver->text, "subset=pid"));
}

static void
test_empty_room(void **state)
{
    struct driver *driver = driver_take(state);

    driver->jail.root_bytes = 0;
    driver->jail.devices = driver->jail.proc = false;
    driver->jail.user_namespace = false;
    driver_run(driver, "tell", NULL);
    assert_int_equal(count_lines(driver, "entry "), 0);
    driver_expect(driver, "folder /dev ENOENT");
    driver_expect(driver, "cwd /");
}

static void
test_limits(void **state)
{
    struct driver *driver = driver_take(state);
    const struct jail_limit limits[] = { { RLIMIT_CORE, 1 }, { RLIMIT_NOFILE, 300 }, { RLIMIT_NPROC, 20 } };

    driver->jail.limits = limits;
    driver->jail.limit_count = 3;
    driver_run(driver, "tell", NULL);
    EXPECT(driver, "limit 4 1 1", "limit 7 300 300", "limit 6 20 20");
}

static void
test_attacks_on_ids(void **state)
{
    struct driver *driver = driver_take(state);
    const struct jail_limit limit = { RLIMIT_CORE, 1 };

    driver->jail.limits = &limit;
    driver->jail.limit_count = 1;
    driver_run(driver, "attack-ids", NULL);
    /* In the user namespace there is no id 1. */
    EXPECT(driver, "setuid EINVAL", "setgid EINVAL", "setgroups EPERM", "securebits EPERM", "ambient EPERM", "user-namespace EPERM",
           "user-namespace-clone EPERM", "mount-namespace EPERM", "host-name EPERM", "kill ESRCH", "limit EPERM", "score EROFS");
}

static void
test_attacks_on_host_ids(void **state)
{
    struct driver *driver = driver_take(state);

    driver->jail.user_namespace = false;
    driver_run(driver, "attack-ids", NULL);
    EXPECT(driver, "setuid EPERM", "setgid EPERM", "setgroups EPERM", "securebits EPERM", "ambient EPERM", "user-namespace EPERM",
           "user-namespace-clone EPERM", "mount-namespace EPERM", "host-name EPERM", "score EROFS");
}

/* Where the host has cgroup v2; false: nowhere. */
static bool
find_cgroups(char path[PATH_MAX])
{
    FILE *mounts = setmntent("/proc/self/mounts", "r");
    const struct mntent *each;
    bool found = false;

    assert_non_null(mounts);
    while (!found && (each = getmntent(mounts)) != NULL) {
        found = strcmp(each->mnt_type, "cgroup2") == 0;
        snprintf(path, PATH_MAX, "%.1024s/vmsup-test-%d", each->mnt_dir, getpid());
    }
    endmntent(mounts);
    return found;
}

/* Its cgroup is the root of all that it can name: nothing says what the host calls it. */
static void
test_cgroup(void **state)
{
    struct driver *driver = driver_take(state);
    char path[PATH_MAX];

    if (!find_cgroups(path))
        skip();
    assert_int_equal(mkdir(path, 0755), 0);
    driver->jail.cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(driver->jail.cgroup >= 0);
    driver->descriptors++;
    driver_run(driver, "tell", NULL);
    fd_close(&driver->jail.cgroup);
    assert_int_equal(rmdir(path), 0);
    driver_expect(driver, "cgroup 0::/");
}

/* Folders of a host's: one shown writable, one not, and one with something mounted below it. */
struct folders {
    char base[PATH_MAX];
    char open[PATH_MAX], closed[PATH_MAX], below[PATH_MAX];
};

static void
make_folders(struct folders *folders)
{
    strcpy(folders->base, "/tmp/vmsup-test-XXXXXX");
    assert_non_null(mkdtemp(folders->base));
    assert_int_equal(chmod(folders->base, 0755), 0);
    snprintf(folders->open, sizeof folders->open, "%.64s/open", folders->base);
    snprintf(folders->closed, sizeof folders->closed, "%.64s/closed", folders->base);
    snprintf(folders->below, sizeof folders->below, "%.64s/closed/below", folders->base);
    assert_int_equal(mkdir(folders->open, 0777), 0);
    assert_int_equal(chmod(folders->open, 0777), 0);
    assert_int_equal(mkdir(folders->closed, 0777), 0);
    assert_int_equal(chmod(folders->closed, 0777), 0);
    assert_int_equal(mkdir(folders->below, 0777), 0);
    assert_int_equal(mount("below", folders->below, "tmpfs", 0, "mode=0777,size=65536"), 0);
}

static void
remove_folders(const struct folders *folders)
{
    char command[PATH_MAX];

    assert_int_equal(umount(folders->below), 0);
    snprintf(command, sizeof command, "rm -r %.64s", folders->base);
    assert_int_equal(system(command), 0);
}

static void
run_with_mounts(struct driver *driver, const char *path)
{
    struct folders folders;
    struct jail_mount mounts[2];

    make_folders(&folders);
    mounts[0] = (struct jail_mount){ .source = folders.open, .target = "/a/open", .writable = true };
    mounts[1] = (struct jail_mount){ .source = folders.closed, .target = "/a/closed" };
    driver->jail.mounts = mounts;
    driver->jail.mount_count = 2;
    driver_run(driver, "attack-files", path);
    remove_folders(&folders);
}

static void
test_attacks_on_files(void **state)
{
    struct driver *driver = driver_take(state);

    run_with_mounts(driver, "/a/open/file");
    EXPECT(driver, "chroot EPERM", "mount EPERM", "unmount EPERM", "remount EPERM", "device EPERM", "host-file ENOENT",
           "parent-folder ENOENT", "host-process ENOENT", "proc-system ENOENT", "write-root done", "write-mount done");
}

static void
test_read_only_mount(void **state)
{
    struct driver *driver = driver_take(state);

    run_with_mounts(driver, "/a/closed/file");
    driver_expect(driver, "write-mount EROFS");
}

static void
test_read_only_below_mount(void **state)
{
    struct driver *driver = driver_take(state);

    driver->jail.root_bytes = 0;
    run_with_mounts(driver, "/a/closed/below/file");
    driver_expect(driver, "write-mount EROFS");
    driver_expect(driver, "write-root EROFS");
}

/* From here the loader takes $ORIGIN; and what /proc leads to is what is shown, not the file on the host's own mount. */
static void
test_program_on_a_mount(void **state)
{
    struct driver *driver = driver_take(state);
    struct folders folders;
    char path[PATH_MAX], command[2 * PATH_MAX], line[PATH_MAX + 16];
    struct jail_mount mount_of_it = { .source = path, .target = path };

    make_folders(&folders);
    snprintf(path, sizeof path, "%.64s/program", folders.below);
    assert_int_equal(umount(folders.below), 0);
    assert_int_equal(mount("below", folders.below, "tmpfs", 0, "mode=0755,size=8m"), 0);
    snprintf(command, sizeof command, "cp '%.1024s' '%.1024s'", driver->inmate, path);
    assert_int_equal(system(command), 0);
    fd_close(&driver->executable);
    driver->jail.executable = driver->executable = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(driver->executable >= 0);
    driver->jail.mounts = &mount_of_it;
    driver->jail.mount_count = 1;
    driver_run(driver, "tell", NULL);
    fd_close(&driver->executable);
    remove_folders(&folders);
    snprintf(line, sizeof line, "program %s", path);
    driver_expect(driver, line);
    driver_expect(driver, "program-mount read-only nosuid nodev");
}

/* That the attack on user namespaces can succeed: outside of a room it does. */
static void
test_user_namespace_outside(void **state)
{
    struct driver *driver = driver_take(state);

    driver->jail.unconfined = true;
    driver_run(driver, "user-namespace", NULL);
    driver_expect(driver, "user-namespace done");
}

static void
test_unconfined(void **state)
{
    struct driver *driver = driver_take(state);

    driver->jail.unconfined = true;
    driver_run(driver, "tell", NULL);
    EXPECT(driver, "Uid:\t0\t0\t0\t0", "death-signal 9", "descriptor 0", "descriptor 1", "descriptor 2");
    assert_int_equal(count_lines(driver, "descriptor "), 3);
    assert_false(driver_said(driver, "pid 1"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, driver_create, driver_destroy)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ids),
        TEST(test_ids_without_user_namespace),
        TEST(test_ids_outside),
        TEST(test_descriptors),
        TEST(test_room),
        TEST(test_empty_room),
        TEST(test_limits),
        TEST(test_attacks_on_ids),
        TEST(test_attacks_on_host_ids),
        TEST(test_cgroup),
        TEST(test_attacks_on_files),
        TEST(test_read_only_mount),
        TEST(test_read_only_below_mount),
        TEST(test_program_on_a_mount),
        TEST(test_user_namespace_outside),
        TEST(test_unconfined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
