/* A filter as the jail loads it: past it by the key, with the listener handed over. A small one, made by hand. */
#include "jail_driver.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>

#define KEY 0x0123456789abcdefULL
#define OTHER_KEY 0x0123456789abcdeeULL
#define FIELD(field) ((unsigned)offsetof(struct seccomp_data, field))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(field))
#define EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), yes, no)
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)

/* The two calls pass where their sixth argument is the key; without it they fail with EPERM. getppid(2) fails, getsid(2) is told. */
static struct sock_filter filter[] = {
    LOAD(nr),
    EQUAL(SYS_sendmsg, 1, 0),
    EQUAL(SYS_execveat, 0, 6),
    LOAD(args[5]),
    EQUAL(KEY, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(args[5]) + 4),
    EQUAL(KEY >> 32, 0, 1),
    RETURN(SECCOMP_RET_ALLOW),
    RETURN(SECCOMP_RET_ERRNO | EPERM),
    EQUAL(SYS_getppid, 0, 1),
    RETURN(SECCOMP_RET_ERRNO | E2BIG),
    EQUAL(SYS_getsid, 0, 1),
    RETURN(SECCOMP_RET_USER_NOTIF),
    RETURN(SECCOMP_RET_ALLOW),
};

static const struct policy_program program = {
    .instructions = filter, .length = sizeof filter / sizeof filter[0], .listener = true,
};

static void
test_filter(void **state)
{
    struct driver *driver = driver_take(state);
    struct seccomp_notif notification = { 0 };
    struct pollfd listener;

    driver->terms.program = &program;
    driver->terms.key = KEY;
    if (driver_start(driver, "meet-filter", NULL) != 0)
        fail_msg("%s", driver->error.text);
    assert_true(driver->process.listener >= 0);
    assert_int_equal(fcntl(driver->process.listener, F_GETFD), FD_CLOEXEC);
    listener = (struct pollfd){ .fd = driver->process.listener, .events = POLLIN };
    assert_int_equal(poll(&listener, 1, DRIVER_TIMEOUT_MS), 1);
    assert_int_equal(ioctl(driver->process.listener, SECCOMP_IOCTL_NOTIF_RECV, &notification), 0);
    assert_int_equal(notification.data.nr, SYS_getsid);
    assert_int_equal((pid_t)notification.pid, driver->process.pid);
    assert_int_equal(kill(driver->process.pid, SIGKILL), 0);
    fd_close(&driver->output[1]);
    driver_hear(driver, NULL);
    assert_int_equal(driver_wait(driver), SIGKILL);
    driver_expect(driver, "getppid E2BIG");
    driver_expect(driver, "sendmsg EPERM");
    assert_null(strstr(driver->text, "getsid"));
    driver_check_host(driver, driver->descriptors - 1);
}

/* With another key the jail cannot speak from behind its filter, and must not be taken for started. */
static void
test_wrong_key(void **state)
{
    struct driver *driver = driver_take(state);

    driver->terms.program = &program;
    driver->terms.key = OTHER_KEY;
    assert_true(driver_start(driver, "exit", NULL) < 0);
    assert_non_null(strstr(driver->error.text, "before it was its program"));
    driver_check_host(driver, driver->descriptors);
}

static void
test_broken_filter(void **state)
{
    struct driver *driver = driver_take(state);
    static struct sock_filter endless[] = { LOAD(nr) }; /* it ends without a verdict */
    const struct policy_program broken = { .instructions = endless, .length = 1 };

    driver->terms.program = &broken;
    driver->terms.key = KEY;
    assert_int_equal(driver_start(driver, "exit", NULL), -EINVAL);
    assert_non_null(strstr(driver->error.text, "cannot load its system call filter"));
    driver_check_host(driver, driver->descriptors);
}

/* A program that cannot be executed is told from behind the filter too. */
static void
test_failure_behind_filter(void **state)
{
    struct driver *driver = driver_take(state);

    driver->terms.program = &program;
    driver->terms.key = KEY;
    driver->jail.executable = driver->null;
    assert_int_equal(driver_start(driver, "exit", NULL), -EACCES);
    assert_non_null(strstr(driver->error.text, "cannot execute"));
    assert_int_equal(driver->process.listener, -1);
    driver_check_host(driver, driver->descriptors);
}

static void
test_keys_differ(void **state)
{
    uint64_t first = jail_make_key(), second = jail_make_key();

    (void)state;
    assert_true(first != 0 && second != 0 && first != second);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, driver_create, driver_destroy)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_filter), TEST(test_wrong_key), TEST(test_broken_filter), TEST(test_failure_behind_filter),
        cmocka_unit_test(test_keys_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
