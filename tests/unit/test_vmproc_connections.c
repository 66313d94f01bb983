/* Main connections of a real vmproc: several of them, hostile bytes, floods, limits. */
#include "tests/unit/vmproc_driver.h"

#include "vmproc/limits.h"

#define SEALS F_SEAL_SHRINK

static int
create_memory(struct driver *driver, uint32_t id, int memfd, uint64_t offset, uint64_t start, uint64_t length)
{
    return driver_create_memory(driver, id, memfd,
                                &(MainRequest__Create__Memory){ .offset = offset, .start = start, .length = length });
}

static int
new_connection(struct driver *driver, int *socket)
{
    struct message_fds fds;
    int error = driver_call_fds(driver, EMPTY_REQUEST(NEW_CONNECTION, new_connection), NULL, 0, NULL, &fds);

    *socket = -1;
    if (error == 0) {
        assert_int_equal(fds.count, 1);
        *socket = fds.fd[0];
    }
    return error;
}

/* Whether the connection serves: on it, range 0x7000 is asked to be released. */
static bool
connection_serves(struct driver *driver, int socket)
{
    MainRequest__ReserveRange range = MAIN_REQUEST__RESERVE_RANGE__INIT;
    const MainResponse *response;
    struct message_fds fds;

    range.start = 0x7000;
    driver_send_on(socket, REQUEST(RESERVE_RANGE, &range), NULL, 0);
    response = driver_receive_on(driver, socket, &fds);
    return response != NULL && response->error == ENOENT;
}

static void
test_connections_are_independent_and_objects_outlive_them(void **state)
{
    int memfd = driver_make_memfd(PAGE, SEALS), second, third;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(new_connection(&driver, &second), 0);
    assert_true(connection_serves(&driver, second));
    assert_true(connection_serves(&driver, driver.plugin));
    assert_int_equal(create_memory(&driver, 5, memfd, 0, 0, PAGE), 0);
    fd_close(&driver.plugin);
    driver.plugin = second;
    assert_int_equal(create_memory(&driver, 5, memfd, 0, PAGE, PAGE), EEXIST);
    assert_int_equal(driver_destroy_object(&driver, 5), 0);
    /* With no connection left the VM lives on. */
    assert_int_equal(new_connection(&driver, &third), 0);
    fd_close(&third);
    fd_close(&driver.plugin);
    assert_false(driver_readable(driver.control, 50));
    fd_close(&memfd);
    driver_stop(&driver);
}

static void
test_connections_are_limited(void **state)
{
    int sockets[LIMIT_CONNECTIONS];
    struct driver driver;
    int count = 0;

    (void)state;
    driver_start(&driver, 1);
    while (count < LIMIT_CONNECTIONS && new_connection(&driver, &sockets[count]) == 0)
        count++;
    assert_int_equal(count, LIMIT_CONNECTIONS - 1);
    assert_int_equal(new_connection(&driver, &sockets[count]), EMFILE);
    fd_close(&sockets[3]);
    /* The hang-up is seen before the next request of this one, or right after. */
    for (int attempt = 0; attempt < 100 && sockets[3] < 0; attempt++)
        if (new_connection(&driver, &sockets[3]) != 0)
            usleep(1000);
    assert_true(sockets[3] >= 0);
    fd_close_all(sockets, LIMIT_CONNECTIONS - 1);
    driver_stop(&driver);
}

/* --- hostile bytes */

static void
send_raw(int socket, const void *data, size_t size)
{
    assert_int_equal(message_send(socket, data, size, NULL, 0, 0), 0);
}

static void
test_undecodable_requests_drop_their_connection_alone(void **state)
{
    static uint8_t large[WIRE_REQUEST_MAX + 1];
    static const uint8_t truncated[] = { 0x0a, 0x05, 0x08 }, group[] = { 0x0b, 0x0c };
    static const struct {
        const void *data;
        size_t size;
    } bad[] = {
        { truncated, sizeof truncated },
        { group, sizeof group },
        { large, sizeof large },
        { "", 0 },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11 },
    };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct message_fds fds;
        int socket;

        assert_int_equal(new_connection(&driver, &socket), 0);
        send_raw(socket, bad[i].data, bad[i].size);
        assert_null(driver_receive_on(&driver, socket, &fds));
        fd_close(&socket);
        assert_true(connection_serves(&driver, driver.plugin));
    }
    driver_stop(&driver);
}

/* However often the plugin errs, the log gets few lines of it, and every line is whole. */
static void
test_warnings_are_limited(void **state)
{
    static char text[65536];
    struct driver driver;
    unsigned lines = 0;
    ssize_t size;

    (void)state;
    if (getenv("VMSUP_TEST_VERBOSE") != NULL)
        skip();
    driver_start(&driver, 1);
    for (int i = 0; i < 10 * LIMIT_LOG_BURST; i++) {
        struct message_fds fds;
        int socket;

        assert_int_equal(new_connection(&driver, &socket), 0);
        send_raw(socket, "\x0b", 1);
        assert_null(driver_receive_on(&driver, socket, &fds));
        fd_close(&socket);
    }
    size = read(driver.log, text, sizeof text);
    assert_true(size > 0 && text[size - 1] == '\n');
    for (ssize_t i = 0; i < size; i++)
        lines += i + 3 < size && memcmp(text + i, "<4>", 3) == 0;
    assert_true(lines >= LIMIT_LOG_BURST && lines < 3 * LIMIT_LOG_BURST);
    driver_stop(&driver);
}

static void
test_too_many_descriptors_drop_the_connection(void **state)
{
    struct message_fds fds;
    int sent[2] = { 0, 0 }, socket;
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(new_connection(&driver, &socket), 0);
    driver_send_on(socket, EMPTY_REQUEST(GET_NET_CONFIG, get_net_config), sent, 2);
    assert_null(driver_receive_on(&driver, socket, &fds));
    fd_close(&socket);
    /* One that does not belong there is closed, and the request answered. */
    assert_int_equal(driver_call_fds(&driver, EMPTY_REQUEST(GET_NET_CONFIG, get_net_config), sent, 1, NULL, &fds),
                     ENODATA);
    driver_stop(&driver);
}

static void
test_unknown_requests_are_enotty(void **state)
{
    static const struct {
        uint8_t bytes[8];
        size_t size;
        int error;
    } odd[] = {
        { { 0xa2, 0x01, 0x00 }, 3, ENOTTY },                   /* field 20 */
        { { 0xb2, 0x06, 0x00 }, 3, ENOTTY },                   /* field 102 */
        { { 0x0a, 0x02, 0x08, 0x03 }, 4, ENOTTY },             /* create with no object */
        { { 0x0a, 0x04, 0x08, 0x03, 0x2a, 0x00 }, 6, ENOTTY }, /* create with an unknown one */
        { { 0x12, 0x02, 0x08, 0x63 }, 4, ENOENT },             /* destroy 99 */
        { { 0x12, 0x00 }, 2, ENOENT },                         /* destroy 0 */
        { { 0x2a, 0x02, 0x48, 0x01 }, 4, EINVAL },             /* check extension with an unknown field */
        { { 0x52, 0x04, 0x08, 0x07, 0x18, 0x01 }, 6, EINVAL }, /* reserve range in space 7 */
    };
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        const MainResponse *response;
        struct message_fds fds;

        send_raw(driver.plugin, odd[i].bytes, odd[i].size);
        response = driver_receive_on(&driver, driver.plugin, &fds);
        assert_non_null(response);
        assert_int_equal(response->error, odd[i].error);
        assert_int_equal(response->message_case, MAIN_RESPONSE__MESSAGE__NOT_SET);
    }
    driver_stop(&driver);
}

/* --- floods */

/* Sends until the socket is full for a while: how many went out. */
static size_t
flood(int socket, const MainRequest *request)
{
    uint8_t buffer[WIRE_REQUEST_MAX];
    ssize_t size = message_pack(&request->base, buffer, sizeof buffer);
    size_t count = 0;

    for (int patience = 0; patience < 100;) {
        if (message_send(socket, buffer, (size_t)size, NULL, 0, MSG_DONTWAIT) == 0) {
            count++;
            patience = 0;
        } else {
            usleep(1000);
            patience++;
        }
        assert_true(count < 1000000);
    }
    return count;
}

static long
resident_kilobytes(pid_t pid)
{
    char path[64], line[256];
    long found = -1;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %ld", &found) == 1)
            break;
    fclose(file);
    return found;
}

static void
test_a_flood_with_unread_answers_stops_and_drains(void **state)
{
    struct message_fds fds;
    struct driver driver;
    size_t sent, other;
    int second;
    long before;

    (void)state;
    driver_start(&driver, 16);
    assert_int_equal(new_connection(&driver, &second), 0);
    before = resident_kilobytes(driver.pid);
    sent = flood(second, EMPTY_REQUEST(GET_SUPPORTED_CPUID, cpuid_request));
    assert_true(sent > 10);
    assert_true(resident_kilobytes(driver.pid) < before + 2048);
    /* The others are served meanwhile. */
    assert_true(connection_serves(&driver, driver.plugin));
    /* And nothing is lost: each gets its answer, in order. */
    for (size_t i = 0; i < sent; i++) {
        const MainResponse *response = driver_receive_on(&driver, second, &fds);

        assert_non_null(response);
        assert_int_equal(response->message_case, MAIN_RESPONSE__MESSAGE_GET_SUPPORTED_CPUID);
    }
    assert_false(driver_readable(second, 20));
    /* The same with descriptors. */
    other = flood(second, EMPTY_REQUEST(GET_VCPUS, get_vcpus));
    for (size_t i = 0; i < other; i++) {
        const MainResponse *response = driver_receive_on(&driver, second, &fds);

        assert_non_null(response);
        assert_true((response->error == 0 && fds.count == 32) || (response->error == ETOOMANYREFS && fds.count == 0));
        message_close_fds(&fds);
    }
    /* One that goes away with its answers unread. */
    flood(second, EMPTY_REQUEST(GET_VCPUS, get_vcpus));
    fd_close(&second);
    assert_true(connection_serves(&driver, driver.plugin));
    driver_stop(&driver);
}

static double
seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
test_set_irq_waits_beyond_its_rate(void **state)
{
    const int count = LIMIT_SET_IRQ_BURST + LIMIT_SET_IRQ_RATE / 2;
    MainRequest__SetIrq request = MAIN_REQUEST__SET_IRQ__INIT;
    struct driver driver;
    double begin;
    int second;

    (void)state;
    driver_start(&driver, 1);
    assert_int_equal(new_connection(&driver, &second), 0);
    request.irq_id = 5;
    begin = seconds();
    for (int i = 0; i < count; i++) {
        request.active = (i & 1) != 0;
        assert_int_equal(driver_call(&driver, REQUEST(SET_IRQ, &request), NULL), 0);
    }
    /* So many more than the burst take half a second. */
    assert_true(seconds() - begin >= 0.45);
    assert_true(connection_serves(&driver, second));
    assert_true(connection_serves(&driver, driver.plugin));
    fd_close(&second);
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_are_independent_and_objects_outlive_them),
        cmocka_unit_test(test_connections_are_limited),
        cmocka_unit_test(test_undecodable_requests_drop_their_connection_alone),
        cmocka_unit_test(test_warnings_are_limited),
        cmocka_unit_test(test_too_many_descriptors_drop_the_connection),
        cmocka_unit_test(test_unknown_requests_are_enotty),
        cmocka_unit_test(test_a_flood_with_unread_answers_stops_and_drains),
        cmocka_unit_test(test_set_irq_waits_beyond_its_rate),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
