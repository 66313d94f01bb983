/* The keeper of a VM: what is put into it lives as long as it does, and no longer. */
#include "common/fd.h"
#include "proto/message.h"
#include "supervisor/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 60000

/* A pipe's writing end is kept: the reading end tells whether it is closed. */
static int
keep_something(const struct keeper *keeper)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(message_send(keeper->entrance, "", 1, &ends[1], 1, 0), 0);
    close(ends[1]);
    return ends[0];
}

static void
assert_lives(int end)
{
    assert_int_equal(poll(&(struct pollfd){ .fd = end }, 1, 0), 0);
}

/* The kernel's collector comes by itself, but not at once. */
static void
assert_ends(int end)
{
    struct pollfd hang_up = { .fd = end };

    assert_int_equal(poll(&hang_up, 1, TIMEOUT_MS), 1);
    assert_int_equal(hang_up.revents, POLLHUP);
    close(end);
}

static void
test_release(void **state)
{
    struct keeper keeper;
    int kept;

    (void)state;
    assert_int_equal(keeper_make(&keeper), 0);
    kept = keep_something(&keeper);
    assert_lives(kept);
    keeper_release(&keeper);
    assert_int_equal(keeper.entrance, -1);
    assert_int_equal(keeper.chamber, -1);
    keeper_release(&keeper);
    assert_ends(kept);
}

/* As when the supervisor is killed. */
static void
test_mere_closing(void **state)
{
    struct keeper keeper;
    int kept;

    (void)state;
    assert_int_equal(keeper_make(&keeper), 0);
    kept = keep_something(&keeper);
    close(keeper.entrance);
    assert_lives(kept);
    close(keeper.chamber);
    assert_ends(kept);
}

/* No room is left for the chamber itself: then what is kept goes at once. */
static void
test_full(void **state)
{
    struct keeper keeper;
    int kept;

    (void)state;
    assert_int_equal(keeper_make(&keeper), 0);
    kept = keep_something(&keeper);
    while (message_send(keeper.entrance, "", 1, NULL, 0, MSG_DONTWAIT) == 0)
        continue;
    assert_lives(kept);
    keeper_release(&keeper);
    assert_ends(kept);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_mere_closing),
        cmocka_unit_test(test_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
