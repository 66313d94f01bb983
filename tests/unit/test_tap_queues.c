/* A TAP with queues and with a header in front of its frames, in a network namespace of the test's own. Needs root. */
#include "supervisor/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

static int
make(bool vnet_header, unsigned int queues, struct tap *tap, struct failure *failure)
{
    const struct tap_settings settings = {
        .host_ip.s_addr = inet_addr("10.118.0.1"), .netmask.s_addr = inet_addr("255.255.255.252"),
        .mac = { 0xde, 0x21, 0xe8, 0x47, 0x6b, 0x6a }, .vnet_header = vnet_header, .queues = queues,
    };

    return tap_create(&settings, tap, failure);
}

/* The flags of the descriptor, which must be attached to the TAP. */
static int
flags_of(const struct tap *tap, int fd)
{
    struct ifreq request = { 0 };

    assert_int_equal(ioctl(fd, TUNGETIFF, &request), 0);
    assert_string_equal(request.ifr_name, tap->name);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    return request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
}

static void
test_plain(void **state)
{
    struct failure failure;
    struct tap tap;

    (void)state;
    assert_int_equal(make(false, 1, &tap, &failure), 0);
    assert_int_equal(flags_of(&tap, tap.fd), IFF_TAP | IFF_NO_PI);
    assert_int_equal(tap.more[0], -1);
    tap_destroy(&tap);
    assert_int_equal(make(false, 0, &tap, &failure), 0);
    assert_int_equal(flags_of(&tap, tap.fd), IFF_TAP | IFF_NO_PI);
    tap_destroy(&tap);
}

static void
test_header(void **state)
{
    struct failure failure;
    struct tap tap;
    int size = 12, found = 0;

    (void)state;
    assert_int_equal(make(true, 1, &tap, &failure), 0);
    assert_int_equal(flags_of(&tap, tap.fd), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    assert_int_equal(ioctl(tap.fd, TUNSETVNETHDRSZ, &size), 0);
    assert_int_equal(ioctl(tap.fd, TUNGETVNETHDRSZ, &found), 0);
    assert_int_equal(found, 12);
    tap_destroy(&tap);
}

static void
test_queues(void **state)
{
    struct failure failure;
    struct tap tap;
    char name[IFNAMSIZ];
    int held;

    (void)state;
    for (unsigned int queues = 2; queues <= TAP_QUEUES_MAX; queues++) {
        assert_int_equal(make(true, queues, &tap, &failure), 0);
        assert_int_equal(flags_of(&tap, tap.fd), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
        for (unsigned int i = 0; i < TAP_QUEUES_MAX - 1; i++) {
            if (i < queues - 1)
                assert_int_equal(flags_of(&tap, tap.more[i]), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
            else
                assert_int_equal(tap.more[i], -1);
        }
        strlcpy(name, tap.name, sizeof name);
        tap_destroy(&tap);
        assert_int_equal(if_nametoindex(name), 0);
    }
    /* A queue that somebody still holds keeps the link; with that one it is gone. */
    assert_int_equal(make(false, 2, &tap, &failure), 0);
    strlcpy(name, tap.name, sizeof name);
    held = fcntl(tap.more[0], F_DUPFD_CLOEXEC, 0);
    tap_destroy(&tap);
    assert_int_not_equal(if_nametoindex(name), 0);
    close(held);
    assert_int_equal(if_nametoindex(name), 0);
    assert_int_equal(make(false, TAP_QUEUES_MAX + 1, &tap, &failure), -EINVAL);
    assert_non_null(strstr(failure.text, "at most 8"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain), cmocka_unit_test(test_header), cmocka_unit_test(test_queues),
    };

    if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0) {
        printf("test_tap_queues: skipped: needs root and /dev/net/tun\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
