/* vmproc's start-up, and what it says when somebody starts it by hand. */
#include "tests/unit/vmproc_driver.h"

#include "vmproc/limits.h"

static int
exit_code(struct driver *driver)
{
    int status = driver_wait(driver);

    fd_close(&driver->control);
    driver_close(driver);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
test_start_up_errors(void **state)
{
    ControlHello hello = CONTROL_HELLO__INIT;
    ControlSetup setup = CONTROL_SETUP__INIT;
    char other[] = "of another build";
    struct driver driver;
    int fds[3] = { 0, 0, 0 }, code;

    (void)state;
    driver_launch(&driver);
    hello.build_id = other;
    driver_send_control(&driver, TO_VMPROC__MESSAGE_HELLO, &hello, NULL, 0);
    assert_int_equal(exit_code(&driver), 76);
    driver_launch(&driver);
    driver_send_control(&driver, TO_VMPROC__MESSAGE_STOP, &(ControlStop)CONTROL_STOP__INIT, NULL, 0);
    assert_int_equal(exit_code(&driver), 76);
    /* The supervisor goes before, or after, it is greeted. */
    driver_launch(&driver);
    fd_close(&driver.control);
    code = exit_code(&driver);
    assert_true(code == 71 || code == 76);
    for (uint32_t cpus = 0; cpus <= LIMIT_VCPUS + 1; cpus += LIMIT_VCPUS + 1) {
        driver_launch(&driver);
        driver_hello(&driver);
        setup.cpu_count = cpus;
        driver_send_control(&driver, TO_VMPROC__MESSAGE_SETUP, &setup, fds, 3);
        assert_int_equal(exit_code(&driver), 76);
    }
    /* No KVM behind the descriptor. */
    driver_launch(&driver);
    driver_hello(&driver);
    setup.cpu_count = 1;
    driver_send_control(&driver, TO_VMPROC__MESSAGE_SETUP, &setup, fds, 3);
    assert_int_equal(exit_code(&driver), 71);
    driver_launch(&driver);
    driver_hello(&driver);
    driver_send_control(&driver, TO_VMPROC__MESSAGE_SETUP, &setup, fds, 2);
    assert_int_equal(exit_code(&driver), 76);
}

/* The VM's own descriptor, once, and nothing else. */
static void
test_the_vm_is_given_to_its_keeper(void **state)
{
    struct message_fds fds;
    struct driver driver;
    char path[64], name[64], byte;
    ssize_t length;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(message_receive(driver.keeper, &byte, 1, &fds, 1, MSG_DONTWAIT), 1);
    assert_int_equal(fds.count, 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fds.fd[0]);
    length = readlink(path, name, sizeof name - 1);
    assert_true(length > 0);
    name[length] = '\0';
    assert_string_equal(name, "anon_inode:kvm-vm");
    message_close_fds(&fds);
    assert_int_equal(message_receive(driver.keeper, &byte, 1, &fds, 1, MSG_DONTWAIT), 0);
    driver_stop(&driver);
}

static void
test_by_hand_it_says_what_it_is(void **state)
{
    char path[PATH_MAX], text[512] = { 0 };
    int pipes[2], status;
    pid_t pid;

    (void)state;
    driver_vmproc_path(path);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        char name[] = "vmproc", *argv[] = { name, NULL };

        dup2(pipes[1], 2);
        close_range(3, ~0u, 0);
        execv(path, argv);
        _exit(127);
    }
    fd_close(&pipes[1]);
    assert_true(read(pipes[0], text, sizeof text - 1) > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 64);
    assert_non_null(strstr(text, "vmproc"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    fd_close(&pipes[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_up_errors),
        cmocka_unit_test(test_the_vm_is_given_to_its_keeper),
        cmocka_unit_test(test_by_hand_it_says_what_it_is),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
