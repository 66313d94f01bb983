/* The runtime folder: its lock, its leftovers, its reasons. */
#include "supervisor/runtime.h"
#include "supervisor/runtime_files.h"

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
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

/* A folder of the test's own, and BASE in it, which does not exist yet. */
struct place {
    char folder[32];
    char base[48];
};

static int
make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    if (place == NULL)
        return -1;
    strlcpy(place->folder, "/tmp/vmsup-test-XXXXXX", sizeof place->folder);
    if (mkdtemp(place->folder) == NULL)
        return -1;
    snprintf(place->base, sizeof place->base, "%s/run", place->folder);
    *state = place;
    return 0;
}

static int
remove_place(void **state)
{
    struct place *place = *state;
    char command[64];
    int result;

    snprintf(command, sizeof command, "rm -rf %s", place->folder);
    result = system(command);
    free(place);
    return result;
}

static bool
exists(const struct place *place, const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", place->base, name);
    return access(path, F_OK) == 0;
}

static int
open_file(const struct place *place, const char *name, int flags)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", place->base, name);
    return open(path, flags | O_CLOEXEC, 0600);
}

static void
test_life(void **state)
{
    const struct place *place = *state;
    struct runtime runtime, second;
    struct failure failure;
    struct stat status;
    char expected[64];

    assert_int_equal(runtime_open(place->base, "demo", &runtime, &failure), 0);
    assert_false(runtime.found_leftovers);
    assert_int_equal(fstat(runtime.folder, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    assert_int_equal(runtime_read_pid(runtime.folder), getpid());
    assert_true((fcntl(runtime.folder, F_GETFD) & FD_CLOEXEC) != 0);

    assert_int_equal(runtime_open(place->base, "demo", &second, &failure), -EBUSY);
    assert_int_equal(failure.exit_code, EX_TEMPFAIL);
    snprintf(expected, sizeof expected, "demo is already running (pid %d)", (int)getpid());
    assert_string_equal(failure.text, expected);
    assert_int_equal(second.folder, -1);
    assert_int_equal(runtime_open_leftover(place->base, "demo", &second, &failure), -EBUSY);
    /* Another name is another VM. */
    assert_int_equal(runtime_open(place->base, "other", &second, &failure), 0);
    runtime_remove(&second);
    assert_false(exists(place, "other"));

    runtime_remove(&runtime);
    assert_false(exists(place, "demo"));
    assert_int_equal(runtime.folder, -1);
    runtime_remove(&runtime);
    assert_int_equal(runtime_open_leftover(place->base, "demo", &second, &failure), -ENOENT);
    assert_int_equal(runtime_open(place->base, "demo", &runtime, &failure), 0);
    runtime_remove(&runtime);
}

static void
make_socket(const struct place *place, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", place->base, name);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

/* The lock is shared with who is forked off, and ends with the last of them, even by SIGKILL. */
static void
test_killed(void **state)
{
    const struct place *place = *state;
    struct runtime_entry entry;
    struct runtime runtime;
    struct failure failure;
    int ready[2];
    pid_t child;
    char byte;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
        if (runtime_open(place->base, "demo", &runtime, &failure) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    make_socket(place, "demo/control");
    assert_int_equal(runtime_look(place->base, "demo", &entry, &failure), 0);
    assert_int_equal(entry.state, RUNTIME_RUNNING);
    assert_int_equal(entry.pid, child);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(runtime_look(place->base, "demo", &entry, &failure), 0);
    assert_int_equal(entry.state, RUNTIME_LEFTOVER);
    assert_int_equal(entry.pid, 0);

    assert_int_equal(runtime_open_leftover(place->base, "demo", &runtime, &failure), 0);
    assert_true(runtime.found_leftovers);
    runtime_remove(&runtime);
    assert_false(exists(place, "demo"));

    /* And so does a start of the same name. */
    assert_int_equal(runtime_open(place->base, "demo", &runtime, &failure), 0);
    make_socket(place, "demo/control");
    runtime_close(&runtime);
    assert_true(exists(place, "demo/control"));
    assert_int_equal(runtime_open(place->base, "demo", &runtime, &failure), 0);
    assert_true(runtime.found_leftovers);
    assert_false(exists(place, "demo/control"));
    runtime_remove(&runtime);
    close(ready[0]);
    close(ready[1]);
}

static void
test_reasons(void **state)
{
    const struct place *place = *state;
    struct runtime_entry entry, *entries;
    struct runtime runtime;
    struct failure failure;
    int fd;

    assert_int_equal(runtime_list(place->base, &entries, &failure), 0);
    assert_int_equal(runtime_look(place->base, "demo", &entry, &failure), -ENOENT);
    assert_int_equal(runtime_open(place->base, "demo", &runtime, &failure), 0);
    assert_int_equal(runtime_write_reason(&runtime, 101, "first"), 0);
    assert_int_equal(runtime_write_reason(&runtime, 102, "plugin said \033[2J\nand more"), 0);
    runtime_remove(&runtime);
    assert_int_equal(runtime_look(place->base, "demo", &entry, &failure), 0);
    assert_int_equal(entry.state, RUNTIME_STOPPED);
    assert_int_equal(entry.reason.exit_code, 102);
    assert_string_equal(entry.reason.text, "plugin said \\^[[2J\\nand more");
    assert_in_range(entry.reason.time, time(NULL) - 60, time(NULL));

    /* Three in all, sorted, each once. */
    assert_int_equal(runtime_open(place->base, "b", &runtime, &failure), 0);
    runtime_write_reason(&runtime, 0, "old");
    assert_int_equal(mkdirat(runtime.base, "a", 0700), 0);
    assert_int_equal(runtime_list(place->base, &entries, &failure), 3);
    assert_string_equal(entries[0].name, "a");
    assert_int_equal(entries[0].state, RUNTIME_LEFTOVER);
    assert_string_equal(entries[1].name, "b");
    assert_int_equal(entries[1].state, RUNTIME_RUNNING);
    assert_string_equal(entries[2].name, "demo");
    assert_int_equal(entries[2].state, RUNTIME_STOPPED);
    free(entries);
    /* Looking takes no lock away. */
    assert_int_equal(flock(runtime.folder, LOCK_EX | LOCK_NB), 0);
    runtime_remove(&runtime);

    /* Started again, it has no last reason; a damaged one is said to be so. */
    assert_int_equal(runtime_open(place->base, "demo", &runtime, &failure), 0);
    assert_false(exists(place, ".last/demo"));
    runtime_remove(&runtime);
    assert_int_equal(runtime_look(place->base, "demo", &entry, &failure), -ENOENT);
    fd = open_file(place, ".last/demo", O_WRONLY | O_CREAT);
    assert_int_equal(write(fd, "1 2", 3), 3);
    close(fd);
    assert_int_equal(runtime_look(place->base, "demo", &entry, &failure), 0);
    assert_non_null(strstr(entry.reason.text, "cannot be read"));
}

static void
test_reason_text(void **state)
{
    char file[RUNTIME_REASON_FILE_MAX], large[2 * RUNTIME_REASON_MAX];
    struct runtime_reason reason;
    static const char *const bad[] = { "", "1", "1 2", "x 2 text", "1 -2 text", "1 256 text", "1 2 a\tb", "99999999999999999999 1 x" };

    (void)state;
    memset(large, '\n', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    runtime_reason_format(7, 3, large, file);
    assert_true(strlen(file) < sizeof file);
    assert_int_equal(runtime_reason_parse(file, &reason), 0);
    assert_int_equal(reason.time, 7);
    assert_int_equal(reason.exit_code, 3);
    assert_int_equal(strlen(reason.text), RUNTIME_REASON_MAX - 1);
    assert_int_equal(runtime_reason_parse("1 2 ", &reason), 0);
    assert_string_equal(reason.text, "");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(runtime_reason_parse(bad[i], &reason), -EBADMSG);
}

static void
expect_refused(const struct place *place, const char *words)
{
    struct runtime runtime;
    struct failure failure;

    assert_int_equal(runtime_open(place->base, "demo", &runtime, &failure), -EPERM);
    assert_int_equal(failure.exit_code, EX_NOPERM);
    if (strstr(failure.text, words) == NULL)
        fail_msg("\"%s\" says nothing of \"%s\"", failure.text, words);
    assert_int_equal(runtime.base, -1);
}

static void
test_distrust(void **state)
{
    const struct place *place = *state;
    struct runtime runtime;
    struct failure failure;
    char path[64];

    /* BASE a link, BASE that others can write. */
    assert_int_equal(symlink("/tmp", place->base), 0);
    expect_refused(place, "nobody else can write");
    unlink(place->base);
    assert_int_equal(mkdir(place->base, 0700), 0);
    assert_int_equal(chmod(place->base, 0770), 0);
    expect_refused(place, "nobody else can write");
    assert_int_equal(chmod(place->base, 0701), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(place->base, 12345, 0), 0);
        expect_refused(place, "nobody else can write");
        assert_int_equal(chown(place->base, 0, 0), 0);
    }
    /* The folder a link or a file: left alone. */
    snprintf(path, sizeof path, "%s/demo", place->base);
    assert_int_equal(symlink(place->folder, path), 0);
    expect_refused(place, "demo");
    unlink(path);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    expect_refused(place, "demo");
    unlink(path);
    assert_int_equal(runtime_open(place->base, "demo", &runtime, &failure), 0);
    runtime_remove(&runtime);
    assert_int_equal(runtime_open(place->base, "../demo", &runtime, &failure), -EINVAL);
    assert_int_equal(runtime_open("/no/such/base", "demo", &runtime, &failure), -ENOENT);
    assert_int_equal(failure.exit_code, EX_CANTCREAT);
}

/* Many starts of one name at once: one wins, each time, and the lock is never one of a folder that is gone. */
static void
test_races(void **state)
{
    const struct place *place = *state;
    int counter[2], status;

    assert_int_equal(pipe2(counter, O_CLOEXEC), 0);
    for (int i = 0; i < 8; i++) {
        if (fork() == 0) {
            for (int round = 0; round < 100; round++) {
                struct runtime runtime;
                struct failure failure;
                int fd;

                if (runtime_open(place->base, "demo", &runtime, &failure) < 0)
                    continue;
                /* Alone with the folder: a file that is made exclusively, and removed with the rest. */
                fd = openat(runtime.folder, "mine", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (fd < 0 || write(counter[1], "x", 1) != 1)
                    _exit(1);
                close(fd);
                runtime_remove(&runtime);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 8; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    close(counter[1]);
    status = 0;
    while (read(counter[0], &(char){ 0 }, 1) == 1)
        status++;
    assert_true(status >= 100);
    close(counter[0]);
    assert_false(exists(place, "demo"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_killed, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_reasons, make_place, remove_place),
        cmocka_unit_test(test_reason_text),
        cmocka_unit_test_setup_teardown(test_distrust, make_place, remove_place),
        cmocka_unit_test_setup_teardown(test_races, make_place, remove_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
