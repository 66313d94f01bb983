/* The host's ends of a VM's sockets, in a runtime folder of the test's. */
#include "common/fd.h"
#include "supervisor/vsock.h"
#include "tests/unit/runtime_folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void
test_listener(void **state)
{
    struct runtime long_one = runtime;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct failure failure;
    struct stat status;
    int listener = -1, client = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(vsock_listen(&runtime, &listener, &failure), 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s/vsock", runtime.path, runtime.name);
    assert_int_equal(stat(address.sun_path, &status), 0);
    assert_int_equal(status.st_mode, S_IFSOCK | 0600);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    /* Twice is once too often. */
    assert_int_equal(vsock_listen(&runtime, &client, &failure), -EADDRINUSE);
    memset(long_one.path, 'x', RUNTIME_BASE_MAX);
    long_one.path[RUNTIME_BASE_MAX] = '\0';
    memset(long_one.name, 'y', NAME_LENGTH_MAX);
    long_one.name[NAME_LENGTH_MAX] = '\0';
    assert_int_equal(vsock_listen(&long_one, &client, &failure), -ENAMETOOLONG);
    assert_int_equal(vsock_connect(&long_one, UINT32_MAX), -ENAMETOOLONG);
    close(client);
    fd_close(&listener);
}

/* A file that is no socket, and one whose queue is full. */
static void
test_no_connection(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char path[128];
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd, result;
    FILE *file;

    (void)state;
    assert_int_equal(vsock_connect(&runtime, 1), -ENOENT);
    snprintf(path, sizeof path, "%.40s/%s/vsock_2", runtime.path, runtime.name);
    file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(vsock_connect(&runtime, 2), -ECONNREFUSED);
    assert_true(snprintf(address.sun_path, sizeof address.sun_path, "%.40s/%s/vsock_4294967295", runtime.path, runtime.name) < 108);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 0), 0);
    fd = vsock_connect(&runtime, UINT32_MAX);
    assert_true(fd >= 0);
    result = vsock_connect(&runtime, UINT32_MAX);
    assert_int_equal(result, -EAGAIN);
    fd_close(&fd);
    fd_close(&listener);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_listener, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_no_connection, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
