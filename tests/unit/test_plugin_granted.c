/* Granted descriptors: what the environment says, and each way in which it can be malformed. */
#include "plugin/vmsup-plugin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
test_found(void **state)
{
    (void)state;
    setenv("VMSUP_FDS", "kernel=4,initrd=50,disk0=2147483647,a.b-c_D=0", 1);
    assert_int_equal(vmsup_granted_fd("kernel"), 4);
    assert_int_equal(vmsup_granted_fd("initrd"), 50);
    assert_int_equal(vmsup_granted_fd("disk0"), 2147483647);
    assert_int_equal(vmsup_granted_fd("a.b-c_D"), 0);
    assert_int_equal(vmsup_granted_fd("disk"), -ENOENT);
    assert_int_equal(vmsup_granted_fd("disk00"), -ENOENT);
    assert_int_equal(vmsup_granted_fd(""), -ENOENT);
}

static void
test_nothing(void **state)
{
    (void)state;
    unsetenv("VMSUP_FDS");
    assert_int_equal(vmsup_granted_fd("kernel"), -ENOENT);
    setenv("VMSUP_FDS", "", 1);
    assert_int_equal(vmsup_granted_fd("kernel"), -ENOENT);
}

static void
test_malformed(void **state)
{
    static const char *const wrong[] = {
        "kernel", "kernel=", "kernel=x", "kernel=-1", "kernel=4x", "kernel=4,", ",kernel=4", "kernel=4,,a=5", "=4", "kernel=2147483648",
        "kernel=4 ,a=5", "kernel=4,a b=5",
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv("VMSUP_FDS", wrong[i], 1);
        assert_int_equal(vmsup_granted_fd("kernel"), -EINVAL);
        assert_int_equal(vmsup_granted_fd("other"), -EINVAL);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found), cmocka_unit_test(test_nothing), cmocka_unit_test(test_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
