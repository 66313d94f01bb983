/* The log, the descriptor helpers and the event loop. */
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/system_log.h"

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
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void
read_log_line(int fd, char *line, size_t size)
{
    ssize_t length = read(fd, line, size - 1);

    assert_true(length > 0);
    line[length] = '\0';
}

static void
test_log_lines(void **state)
{
    char line[2 * LOG_LINE_MAX], large[2 * LOG_LINE_MAX];
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    log_init("name", LOG_STYLE_TERMINAL, ends[1], LOG_LEVEL_INFO);
    log_info("plain");
    read_log_line(ends[0], line, sizeof line);
    assert_string_equal(line, "name: plain\n");
    log_warn("tap %s", "x\033[2Jy\nz");
    read_log_line(ends[0], line, sizeof line);
    assert_null(strchr(line, '\033'));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_true(strncmp(line, "name: warning: tap x", 20) == 0);
    log_debug("not at this level");
    assert_int_equal(read(ends[0], line, sizeof line), -1);

    log_init("name", LOG_STYLE_PIPE, ends[1], LOG_LEVEL_DEBUG);
    errno = EXDEV;
    log_debug("text");
    assert_int_equal(errno, EXDEV);
    read_log_line(ends[0], line, sizeof line);
    assert_string_equal(line, "<7>text\n");
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    log_error("%s", large);
    read_log_line(ends[0], line, sizeof line);
    assert_true(strlen(line) <= LOG_LINE_MAX);
    assert_int_equal(line[strlen(line) - 1], '\n');
    log_init("vmsup", LOG_STYLE_TERMINAL, STDERR_FILENO, LOG_LEVEL_INFO);
    fd_close_all(ends, 2);
}

static void
fill(int fd)
{
    static const char bytes[4096];

    while (write(fd, bytes, sizeof bytes) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
}

static void
empty(int fd)
{
    char bytes[4096];

    while (read(fd, bytes, sizeof bytes) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
}

/* A reader that does not read costs lines, and nothing else; how many is said once it reads again. */
static void
test_log_patience(void **state)
{
    char line[2 * LOG_LINE_MAX];
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    fill(ends[1]);
    /* It is the patience that keeps the log from waiting, not a mode of the descriptor, which may be shared. */
    assert_int_equal(fd_set_nonblocking(ends[1], false), 0);
    log_init("name", LOG_STYLE_TERMINAL, ends[1], LOG_LEVEL_INFO);
    log_set_patience(0);
    log_info("one");
    log_set_patience(20);
    log_info("two");
    empty(ends[0]);
    log_info("three");
    read_log_line(ends[0], line, sizeof line);
    assert_string_equal(line, "name: warning: 2 lines before this one were not taken and are lost\nname: three\n");
    log_info("four");
    read_log_line(ends[0], line, sizeof line);
    assert_string_equal(line, "name: four\n");
    log_set_patience(LOG_PATIENCE_ENDLESS);
    log_init("vmsup", LOG_STYLE_TERMINAL, STDERR_FILENO, LOG_LEVEL_INFO);
    fd_close_all(ends, 2);
}

static int
make_log_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    strlcpy(address.sun_path, path, sizeof address.sun_path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* A log daemon that is not there, that hangs, and that is started again. */
static void
test_system_log(void **state)
{
    char folder[] = "/tmp/vmsup-test-XXXXXX", path[64], line[2 * SYSTEM_LOG_LINE_MAX], expected[64];
    int daemon;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/log", folder);
    system_log_open("name", path);
    assert_false(system_log_send(LOG_INFO, "nobody"));
    daemon = make_log_socket(path);
    assert_true(system_log_send(LOG_WARNING, "text"));
    read_log_line(daemon, line, sizeof line);
    snprintf(expected, sizeof expected, "<%d>name[%d]: text", LOG_DAEMON | LOG_WARNING, (int)getpid());
    assert_string_equal(line, expected);
    while (system_log_send(LOG_INFO, "too much"))
        ;
    assert_false(system_log_send(LOG_INFO, "too much"));
    empty(daemon);
    assert_true(system_log_send(LOG_INFO, "again"));
    fd_close(&daemon);
    daemon = make_log_socket(path);
    assert_true(system_log_send(LOG_INFO, "started again"));
    read_log_line(daemon, line, sizeof line);
    assert_non_null(strstr(line, "started again"));
    memset(line, 'a', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    assert_true(system_log_send(LOG_INFO, line));
    read_log_line(daemon, line, sizeof line);
    assert_int_equal(strlen(line), SYSTEM_LOG_LINE_MAX - 1);
    fd_close(&daemon);
    unlink(path);
    rmdir(folder);
}

static void
test_log_level_names(void **state)
{
    enum log_level level;

    (void)state;
    assert_int_equal(log_level_parse("debug", &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_string_equal(log_level_name(LOG_LEVEL_WARNING), "warning");
    assert_int_equal(log_level_parse("loud", &level), -EINVAL);
}

static void
test_fd_files(void **state)
{
    char path[] = "/tmp/vmsup-test-XXXXXX", buffer[8];
    int fd = mkstemp(path), taken;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, "1234567", 7), 0);
    assert_int_equal(fd_read_file(AT_FDCWD, path, buffer, sizeof buffer), 7);
    assert_string_equal(buffer, "1234567");
    assert_int_equal(fd_read_file(AT_FDCWD, path, buffer, 7), -EFBIG);
    assert_int_equal(fd_read_file(AT_FDCWD, "/nonexistent", buffer, 7), -ENOENT);
    assert_int_equal(fd_write_file(AT_FDCWD, path, "x"), 0);
    assert_int_equal(fd_read_file(AT_FDCWD, path, buffer, sizeof buffer), 7);
    assert_string_equal(buffer, "x234567");
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(fd_read_all(fd, buffer, 7), 0);
    assert_int_equal(fd_read_all(fd, buffer, 1), -EPIPE);
    taken = fd_take(&fd);
    assert_int_equal(fd, -1);
    fd_close(&fd);
    fd_close(&taken);
    assert_int_equal(taken, -1);
    unlink(path);
}

struct scene {
    struct loop *loop;
    struct loop_source *first, *second, *timer, *signals;
    int calls, timer_calls, signal_number;
};

static void
on_event(void *context, uint32_t events)
{
    struct scene *scene = context;

    assert_true((events & EPOLLIN) != 0);
    scene->calls++;
    /* Both are ready in one batch: the one that runs removes the other, which must not run after that. */
    loop_remove(&scene->first);
    loop_remove(&scene->second);
    loop_set_timer(scene->timer, 0);
}

static void
on_timer(void *context)
{
    struct scene *scene = context;

    scene->timer_calls++;
    raise(SIGUSR2);
}

static void
on_signal(void *context, const struct signalfd_siginfo *signal)
{
    struct scene *scene = context;

    scene->signal_number = (int)signal->ssi_signo;
    loop_stop(scene->loop);
}

static void
test_loop(void **state)
{
    int fd = eventfd(1, EFD_CLOEXEC), other = eventfd(1, EFD_CLOEXEC);
    struct scene scene = { .loop = loop_create() };
    sigset_t set, before;

    (void)state;
    sigprocmask(SIG_BLOCK, NULL, &before);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    assert_non_null(scene.loop);
    scene.first = loop_add(scene.loop, fd, EPOLLIN, on_event, &scene);
    scene.second = loop_add(scene.loop, other, EPOLLIN, on_event, &scene);
    scene.timer = loop_add_timer(scene.loop, on_timer, &scene);
    scene.signals = loop_add_signals(scene.loop, &set, on_signal, &scene);
    assert_non_null(scene.first);
    assert_non_null(scene.second);
    assert_non_null(scene.timer);
    assert_non_null(scene.signals);
    assert_int_equal(loop_run(scene.loop), 0);
    assert_int_equal(scene.calls, 1);
    assert_int_equal(scene.timer_calls, 1);
    assert_int_equal(scene.signal_number, SIGUSR2);
    loop_remove(&scene.timer);
    loop_remove(&scene.timer);
    loop_remove(&scene.signals);
    loop_destroy(scene.loop);
    sigprocmask(SIG_SETMASK, &before, NULL);
    fd_close(&fd);
    fd_close(&other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_lines),
        cmocka_unit_test(test_log_patience),
        cmocka_unit_test(test_system_log),
        cmocka_unit_test(test_log_level_names),
        cmocka_unit_test(test_fd_files),
        cmocka_unit_test(test_loop),
    };

    return cmocka_run_group_tests_name("common", tests, NULL, NULL);
}
