/*
 * Puts tests/unit/helper_inmate.c into jails and hears what it says. driver_check_host() looks whether anything is left of it: descriptors,
 * mounts, children. Every wait has an end.
 */
#ifndef VMSUP_TESTS_UNIT_JAIL_DRIVER_H
#define VMSUP_TESTS_UNIT_JAIL_DRIVER_H

#include "common/fd.h"
#include "jail/jail.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DRIVER_TIMEOUT_MS 20000
#define DRIVER_TEXT_MAX (64 * 1024)
/* Ids that no account of a host has. */
#define DRIVER_UID 1911400000
#define DRIVER_GID 1911400001

struct driver {
    char root[PATH_MAX];
    char inmate[PATH_MAX];
    int executable, output[2], null;
    struct jail_fd fds[3];
    char *argv[4], *environment[1];
    struct jail jail; /* a whole one, for tests to change */
    struct jail_terms terms;
    struct jail_process process;
    struct jail_error error;
    char text[DRIVER_TEXT_MAX]; /* what it said */
    size_t descriptors;
};

static inline void
driver_find_inmate(struct driver *driver)
{
    ssize_t length = readlink("/proc/self/exe", driver->inmate, sizeof driver->inmate - 1);

    assert_true(length > 0);
    driver->inmate[length] = '\0';
    *strrchr(driver->inmate, '/') = '\0';
    assert_true(strlcat(driver->inmate, "/helper_inmate", sizeof driver->inmate) < sizeof driver->inmate);
}

/* cmocka's set-up: a driver whose jail has every layer but a filter. */
static inline int
driver_create(void **state)
{
    struct driver *driver = calloc(1, sizeof *driver);

    if (geteuid() != 0) {
        free(driver);
        return 0;
    }
    assert_non_null(driver);
    strcpy(driver->root, "/tmp/vmsup-test-XXXXXX");
    assert_non_null(mkdtemp(driver->root));
    driver_find_inmate(driver);
    driver->executable = open(driver->inmate, O_RDONLY | O_CLOEXEC);
    driver->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(driver->executable >= 0 && driver->null >= 0);
    assert_int_equal(pipe2(driver->output, O_CLOEXEC), 0);
    driver->fds[0] = (struct jail_fd){ driver->null, STDIN_FILENO };
    driver->fds[1] = (struct jail_fd){ driver->output[1], STDOUT_FILENO };
    driver->fds[2] = (struct jail_fd){ driver->null, STDERR_FILENO };
    driver->argv[0] = driver->inmate;
    driver->jail = (struct jail){
        .name = "inmate", .user_namespace = true, .root = driver->root, .root_bytes = 1 << 20, .devices = true, .proc = true,
        .oom_score_adjust = 500, .cgroup = -1, .pid_namespace = -1,
        .fds = driver->fds, .fd_count = 3, .executable = driver->executable, .argv = driver->argv, .environment = driver->environment,
    };
    driver->terms = (struct jail_terms){ .uid = DRIVER_UID, .gid = DRIVER_GID };
    driver->process = (struct jail_process){ -1, -1, -1 };
    driver->descriptors = scratch_count_descriptors();
    *state = driver;
    return 0;
}

/* Nothing is left: no child, no mount, no descriptor, no folder. */
static inline void
driver_check_host(struct driver *driver, size_t descriptors)
{
    static char mounts[DRIVER_TEXT_MAX];

    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(scratch_count_descriptors(), descriptors);
    assert_true(fd_read_file(AT_FDCWD, "/proc/self/mounts", mounts, sizeof mounts) > 0);
    assert_null(strstr(mounts, driver->root));
}

static inline int
driver_destroy(void **state)
{
    struct driver *driver = *state;

    if (driver == NULL)
        return 0;
    /* Of a test that failed. */
    if (driver->process.pidfd >= 0) {
        kill(driver->process.pid, SIGKILL);
        waitpid(driver->process.pid, NULL, 0);
        fd_close(&driver->process.pidfd);
        fd_close(&driver->process.listener);
    }
    fd_close(&driver->executable);
    fd_close(&driver->null);
    fd_close_all(driver->output, 2);
    assert_int_equal(rmdir(driver->root), 0);
    free(driver);
    return 0;
}

static inline struct driver *
driver_take(void **state)
{
    if (*state == NULL)
        skip();
    return *state;
}

/* Starts it in `role`; `argument` may be NULL. */
static inline int
driver_start(struct driver *driver, const char *role, const char *argument)
{
    driver->argv[1] = (char *)(uintptr_t)role;
    driver->argv[2] = (char *)(uintptr_t)argument;
    return jail_start(&driver->jail, &driver->terms, &driver->process, &driver->error);
}

/* Hears until nobody holds the other end, or, with `word`, until that was said. */
static inline void
driver_hear(struct driver *driver, const char *word)
{
    struct pollfd output = { .fd = driver->output[0], .events = POLLIN };
    size_t size = 0;

    for (;;) {
        ssize_t got;

        if (poll(&output, 1, DRIVER_TIMEOUT_MS) != 1)
            fail_msg("nothing is heard within %d ms", DRIVER_TIMEOUT_MS);
        got = read(output.fd, driver->text + size, sizeof driver->text - size - 1);
        assert_true(got >= 0);
        size += (size_t)got;
        driver->text[size] = '\0';
        if (got == 0 || (word != NULL && strstr(driver->text, word) != NULL))
            return;
    }
}

/* Waits until it has ended; gives its wait status and lets go of it. */
static inline int
driver_wait(struct driver *driver)
{
    struct pollfd pidfd = { .fd = driver->process.pidfd, .events = POLLIN };
    int status;

    assert_int_equal(poll(&pidfd, 1, DRIVER_TIMEOUT_MS), 1);
    assert_int_equal(waitpid(driver->process.pid, &status, 0), driver->process.pid);
    fd_close(&driver->process.pidfd);
    fd_close(&driver->process.listener);
    return status;
}

/* Starts, hears all and waits: the whole life of an inmate that ends by itself. */
static inline void
driver_run(struct driver *driver, const char *role, const char *argument)
{
    if (driver_start(driver, role, argument) != 0)
        fail_msg("%s", driver->error.text);
    assert_string_equal(driver->error.text, "");
    assert_true(driver->process.pid > 0 && driver->process.pidfd >= 0);
    fd_close(&driver->output[1]);
    driver_hear(driver, NULL);
    assert_int_equal(driver_wait(driver), 0);
    driver_check_host(driver, driver->descriptors - 1);
}

/* Whether it said this line, alone. */
static inline bool
driver_said(const struct driver *driver, const char *line)
{
    size_t length = strlen(line);

    for (const char *at = driver->text; (at = strstr(at, line)) != NULL; at += length)
        if ((at == driver->text || at[-1] == '\n') && (at[length] == '\n' || at[length] == '\0'))
            return true;
    return false;
}

static inline void
driver_expect(const struct driver *driver, const char *line)
{
    if (!driver_said(driver, line))
        fail_msg("\"%s\" was not said, but:\n%s", line, driver->text);
}

#endif
