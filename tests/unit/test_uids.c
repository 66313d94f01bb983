/* Two ids a VM: never one that somebody has. Needs root only where processes run under such an id. */
#include "supervisor/uids.h"
#include "supervisor/uids_host.h"

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
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

/* A range that no host uses. */
#define FIRST 1987654320u

static int
make_base(void **state)
{
    char path[] = "/tmp/vmsup-test-XXXXXX";

    if (mkdtemp(path) == NULL)
        return -1;
    *state = strdup(path);
    return *state == NULL ? -1 : 0;
}

static int
remove_base(void **state)
{
    char path[64];

    snprintf(path, sizeof path, "%s/uids", (char *)*state);
    remove(path);
    rmdir(*state);
    free(*state);
    return 0;
}

static int
open_base(void **state)
{
    int base = open(*state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(base >= 0);
    return base;
}

static void
test_pairs(void **state)
{
    int base = open_base(state);
    struct uids first, second, third;
    struct failure failure;

    assert_int_equal(uids_take(base, FIRST, 5, &first, &failure), 0);
    assert_int_equal(first.vmproc, FIRST);
    assert_int_equal(first.plugin, FIRST + 1);
    assert_true((fcntl(first.lock, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(uids_take(base, FIRST, 5, &second, &failure), 0);
    assert_int_equal(second.vmproc, FIRST + 2);
    assert_int_equal(second.plugin, FIRST + 3);
    /* One is left: not enough, and what was taken of it is given back. */
    assert_int_equal(uids_take(base, FIRST, 5, &third, &failure), -EAGAIN);
    assert_int_equal(failure.exit_code, EX_TEMPFAIL);
    assert_int_equal(third.lock, -1);
    uids_release(&first);
    assert_int_equal(uids_take(base, FIRST + 1, 4, &third, &failure), 0);
    assert_int_equal(third.vmproc, FIRST + 1);
    assert_int_equal(third.plugin, FIRST + 4);
    uids_release(&third);
    uids_release(&second);
    uids_release(&second);
    assert_int_equal(uids_take(base, 999, 5, &third, &failure), -ERANGE);
    close(base);
}

/* Death gives them back; a child that was forked off holds on to them. */
static void
test_death(void **state)
{
    int base = open_base(state), ready[2];
    struct uids uids;
    struct failure failure;
    pid_t child;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(uids_take(base, FIRST, 2, &uids, &failure), 0);
    child = fork();
    if (child == 0) {
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &(char){ 0 }, 1), 1);
    uids_release(&uids);
    assert_int_equal(uids_take(base, FIRST, 2, &uids, &failure), -EAGAIN);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(uids_take(base, FIRST, 2, &uids, &failure), 0);
    uids_release(&uids);
    close(ready[0]);
    close(ready[1]);
    close(base);
}

/* Twelve at once, for a range that holds exactly that many pairs. */
static void
test_at_once(void **state)
{
    int base = open_base(state), results[2], hold[2];
    bool taken[24] = { false };
    uid_t pair[2];

    assert_int_equal(pipe2(results, O_CLOEXEC), 0);
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
    for (int i = 0; i < 12; i++) {
        if (fork() == 0) {
            struct uids uids;
            struct failure failure;

            close(hold[1]);
            if (uids_take(base, FIRST, 24, &uids, &failure) < 0)
                _exit(1);
            pair[0] = uids.vmproc;
            pair[1] = uids.plugin;
            if (write(results[1], pair, sizeof pair) != sizeof pair)
                _exit(1);
            _exit(read(hold[0], &(char){ 0 }, 1) != 0);
        }
    }
    /* Where one of them fails, the read behind the last answer does. */
    close(results[1]);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(read(results[0], pair, sizeof pair), sizeof pair);
        for (size_t each = 0; each < 2; each++) {
            assert_in_range(pair[each], FIRST, FIRST + 23);
            assert_false(taken[pair[each] - FIRST]);
            taken[pair[each] - FIRST] = true;
        }
    }
    close(hold[1]);
    for (int i = 0; i < 12; i++) {
        int status = -1;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    close(hold[0]);
    close(results[0]);
    close(base);
}

static void
test_running(void **state)
{
    const uint32_t ids[] = { FIRST, FIRST + 1, FIRST + 2 };
    int base = open_base(state), ready[2];
    struct uids uids;
    struct failure failure;
    pid_t child;

    if (geteuid() != 0) {
        print_message("skipped: needs root to run a process under another id\n");
        skip();
    }
    assert_int_equal(uids_host_runs(ids, 3), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
        /* The real id only: root by its effective one. */
        if (setregid(FIRST + 2, (gid_t)-1) < 0 || setreuid(FIRST, (uid_t)-1) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &(char){ 0 }, 1), 1);
    assert_int_equal(uids_host_runs(ids, 3), 1 << 0 | 1 << 2);
    assert_int_equal(uids_take(base, FIRST, 4, &uids, &failure), 0);
    assert_int_equal(uids.vmproc, FIRST + 1);
    assert_int_equal(uids.plugin, FIRST + 3);
    uids_release(&uids);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(uids_host_runs(ids, 3), 0);
    close(ready[0]);
    close(ready[1]);
    close(base);
}

static void
test_known(void **state)
{
    char text[] = "ann:2000000:65536\n#x:1:\nbroken\nbob:5000\n:3000000:10\ncarl:2065536:5:\n";
    struct uids_ranges ranges = { 0 };

    (void)state;
    /* Root is known everywhere, as a user and as a group. */
    assert_int_equal(uids_host_knows(0), 1);
    assert_int_equal(uids_host_knows(FIRST), 0);
    assert_int_equal(uids_parse_ranges(text, &ranges), 0);
    assert_int_equal(ranges.count, 2);
    assert_int_equal(uids_past_ranges(&ranges, 1999999), 1999999);
    assert_int_equal(uids_past_ranges(&ranges, 2000000), 2065536);
    assert_int_equal(uids_past_ranges(&ranges, 2065535), 2065536);
    assert_int_equal(uids_past_ranges(&ranges, 2065536), 2065536);
    assert_int_equal(uids_past_ranges(&ranges, 3000009), 3000010);
    uids_free_ranges(&ranges);
    assert_int_equal(uids_read_ranges(&ranges), 0);
    uids_free_ranges(&ranges);
}

static void
test_lock_file(void **state)
{
    int base = open_base(state);
    struct uids uids;
    struct failure failure;

    assert_int_equal(symlinkat("/etc/passwd", base, "uids"), 0);
    assert_int_equal(uids_take(base, FIRST, 2, &uids, &failure), -ELOOP);
    assert_int_equal(unlinkat(base, "uids", 0), 0);
    assert_int_equal(mkfifoat(base, "uids", 0600), 0);
    assert_int_equal(uids_take(base, FIRST, 2, &uids, &failure), -EPERM);
    assert_int_equal(unlinkat(base, "uids", 0), 0);
    close(openat(base, "uids", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(fchmodat(base, "uids", 0660, 0), 0);
    assert_int_equal(uids_take(base, FIRST, 2, &uids, &failure), -EPERM);
    assert_int_equal(failure.exit_code, EX_NOPERM);
    close(base);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pairs, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_death, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_at_once, make_base, remove_base),
        cmocka_unit_test_setup_teardown(test_running, make_base, remove_base),
        cmocka_unit_test(test_known),
        cmocka_unit_test_setup_teardown(test_lock_file, make_base, remove_base),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
