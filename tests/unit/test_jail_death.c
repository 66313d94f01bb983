/* Who dies with whom: an inmate with its supervisor, at any point of its start, and with whoever holds its pid namespace. */
#include "jail_driver.h"

#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>

/* Kills at points of time spread over the start, which takes some milliseconds. */
#define RANDOM_KILLS 60
#define RANDOM_KILL_STEP_US 120

/* A supervisor of its own process, which starts an inmate and then sleeps. Whatever holds the pipe's other end is alive. */
static pid_t
start_supervisor(struct driver *driver, const char *role)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        driver_start(driver, role, NULL);
        for (;;)
            pause();
    }
    fd_close(&driver->output[1]);
    return pid;
}

static void
end_supervisor(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void
renew_output(struct driver *driver)
{
    fd_close_all(driver->output, 2);
    assert_int_equal(pipe2(driver->output, O_CLOEXEC), 0);
    driver->fds[1].fd = driver->output[1];
}

/* Nobody holds the pipe any more, within the driver's time. */
static void
expect_all_dead(struct driver *driver)
{
    driver_hear(driver, NULL);
    driver_check_host(driver, driver->descriptors - 1);
}

static void
test_supervisor_killed_any_time(void **state)
{
    struct driver *driver = driver_take(state);

    for (unsigned i = 0; i < RANDOM_KILLS; i++) {
        pid_t supervisor;

        renew_output(driver);
        driver->jail.user_namespace = i % 2 == 0;
        supervisor = start_supervisor(driver, "sleep");
        usleep(i * RANDOM_KILL_STEP_US);
        end_supervisor(supervisor);
        expect_all_dead(driver);
    }
}

static void
test_supervisor_killed_later(void **state)
{
    struct driver *driver = driver_take(state);
    pid_t supervisor = start_supervisor(driver, "sleep");

    driver_hear(driver, "sleeping");
    end_supervisor(supervisor);
    expect_all_dead(driver);
}

/* Holds the supervisor, traced, where it has just made its child, which is held before its first instruction. Gives the child's pid. */
static pid_t
hold_at_birth(pid_t supervisor)
{
    unsigned long child = 0;
    int status;

    assert_int_equal(waitpid(supervisor, &status, __WALL), supervisor);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, supervisor, NULL, PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK), 0);
    assert_int_equal(ptrace(PTRACE_CONT, supervisor, NULL, NULL), 0);
    assert_int_equal(waitpid(supervisor, &status, __WALL), supervisor);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && status >> 16 != 0);
    assert_int_equal(ptrace(PTRACE_GETEVENTMSG, supervisor, NULL, &child), 0);
    assert_int_equal(waitpid((pid_t)child, &status, __WALL), (pid_t)child);
    assert_true(WIFSTOPPED(status));
    return (pid_t)child;
}

static pid_t
start_traced_supervisor(struct driver *driver, const char *role)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 && raise(SIGSTOP) == 0)
            driver_start(driver, role, NULL);
        for (;;)
            pause();
    }
    fd_close(&driver->output[1]);
    return pid;
}

/* Has the supervisor, held at the birth, tell its child the terms, and holds it where it comes to hear what the child says. */
static void
hold_once_settled(pid_t supervisor)
{
    struct user_regs_struct registers;
    int status;

    do {
        assert_int_equal(ptrace(PTRACE_SYSCALL, supervisor, NULL, NULL), 0);
        assert_int_equal(waitpid(supervisor, &status, __WALL), supervisor);
        assert_true(WIFSTOPPED(status));
        assert_int_equal(ptrace(PTRACE_GETREGS, supervisor, NULL, &registers), 0);
    } while (registers.orig_rax != SYS_poll);
}

/* Waits until the process waits in this call: in recvfrom(2) for an answer to what it asked, in recvmsg(2) for its terms. */
static void
wait_until_it_is_in(pid_t pid, long number)
{
    char path[64], text[256], call[16];

    snprintf(path, sizeof path, "/proc/%d/syscall", pid);
    snprintf(call, sizeof call, "%ld ", number);
    for (int i = 0; i < DRIVER_TIMEOUT_MS; i++) {
        if (fd_read_file(AT_FDCWD, path, text, sizeof text) > 0 && strncmp(text, call, strlen(call)) == 0)
            return;
        usleep(1000);
    }
    fail_msg("the child does not wait");
}

/* The supervisor dies while the child is held before its first instruction: no signal can have been armed. */
static void
test_supervisor_dead_before_the_first_step(void **state)
{
    struct driver *driver = driver_take(state);
    pid_t supervisor = start_traced_supervisor(driver, "sleep");
    pid_t child = hold_at_birth(supervisor);

    end_supervisor(supervisor);
    assert_int_equal(ptrace(PTRACE_DETACH, child, NULL, NULL), 0);
    expect_all_dead(driver);
}

/* The supervisor dies while the child waits in call `number`: for its terms, or, once it has these, for what it asked. */
static void
die_while_waited_for(struct driver *driver, bool user_namespace, bool settled, long number)
{
    pid_t supervisor, child;

    driver->jail.user_namespace = user_namespace;
    supervisor = start_traced_supervisor(driver, "sleep");
    child = hold_at_birth(supervisor);
    assert_int_equal(ptrace(PTRACE_DETACH, child, NULL, NULL), 0);
    if (settled)
        hold_once_settled(supervisor);
    wait_until_it_is_in(child, number);
    end_supervisor(supervisor);
    expect_all_dead(driver);
}

static void
test_supervisor_dead_while_terms_are_awaited(void **state)
{
    die_while_waited_for(driver_take(state), true, false, SYS_recvmsg);
}

static void
test_supervisor_dead_while_maps_are_asked(void **state)
{
    die_while_waited_for(driver_take(state), true, true, SYS_recvfrom);
}

static void
test_supervisor_dead_while_life_is_asked(void **state)
{
    die_while_waited_for(driver_take(state), false, true, SYS_recvfrom);
}

/* As a plugin stands in vmproc's namespace: it does what it can to outlive, and cannot. */
static void
test_outer_death_kills_inner(void **state)
{
    struct driver *driver = driver_take(state), inner = *driver;

    driver->jail.user_namespace = false;
    assert_int_equal(driver_start(driver, "sleep", NULL), 0);
    driver_hear(driver, "sleeping");
    inner.argv[0] = driver->inmate;
    inner.jail.argv = inner.argv;
    inner.terms.uid = DRIVER_UID + 1;
    inner.jail.pid_namespace = driver->process.pidfd;
    if (driver_start(&inner, "sleep-unbound", NULL) != 0)
        fail_msg("%s", inner.error.text);
    driver_hear(driver, "sleeping");
    assert_int_equal(kill(driver->process.pid, SIGKILL), 0);
    assert_int_equal(driver_wait(&inner), SIGKILL);
    assert_int_equal(driver_wait(driver), SIGKILL);
    driver_check_host(driver, driver->descriptors);
    /* This process's own children are born where they always were. */
    inner.jail.pid_namespace = -1;
    driver_run(driver, "tell", NULL);
    driver_expect(driver, "NSpid:\t1");
}

/* The namespace that was to hold it is gone. */
static void
test_outer_already_dead(void **state)
{
    struct driver *driver = driver_take(state), inner = *driver;

    assert_int_equal(driver_start(driver, "sleep", NULL), 0);
    assert_int_equal(kill(driver->process.pid, SIGKILL), 0);
    siginfo_t info;

    assert_int_equal(waitid(P_PIDFD, (id_t)driver->process.pidfd, &info, WEXITED | WNOWAIT), 0);
    inner.jail.argv = inner.argv;
    inner.jail.pid_namespace = driver->process.pidfd;
    assert_true(driver_start(&inner, "sleep", NULL) < 0);
    assert_non_null(strstr(inner.error.text, "cannot make its namespaces"));
    driver_wait(driver);
    driver_check_host(driver, driver->descriptors);
    driver_run(driver, "tell", NULL);
}

/* A crash in the program's first instructions is the program's: the start succeeded, whichever is noticed first. */
static void
test_crash_is_the_programs(void **state)
{
    struct driver *driver = driver_take(state);

    for (int i = 0; i < 20; i++) {
        int status;

        if (driver_start(driver, "crash", NULL) != 0)
            fail_msg("%s", driver->error.text);
        status = driver_wait(driver);
        assert_true(WIFSIGNALED(status) && (WTERMSIG(status) == SIGILL || WTERMSIG(status) == SIGTRAP));
        if (driver_start(driver, "exit", NULL) != 0)
            fail_msg("%s", driver->error.text);
        status = driver_wait(driver);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    }
    driver_check_host(driver, driver->descriptors);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, driver_create, driver_destroy)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_supervisor_killed_any_time),
        TEST(test_supervisor_killed_later),
        TEST(test_supervisor_dead_before_the_first_step),
        TEST(test_supervisor_dead_while_terms_are_awaited),
        TEST(test_supervisor_dead_while_maps_are_asked),
        TEST(test_supervisor_dead_while_life_is_asked),
        TEST(test_outer_death_kills_inner),
        TEST(test_outer_already_dead),
        TEST(test_crash_is_the_programs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
