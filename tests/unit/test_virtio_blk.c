/* The disk: each request, each way it may be refused, and what of it reaches the file. */
#include "plugin/microvm/virtio_blk.h"
#include "tests/unit/virtio_driver.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTORS 64
#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define HEADER DRIVER_BUFFERS
#define STATUS (DRIVER_BUFFERS + 0x100)
#define DATA (DRIVER_BUFFERS + 0x1000)
#define NO_STATUS 0xff

static struct virtio_blk *blk;
static int disk = -1;

static struct driver *
make(int fd, bool read_only, unsigned queues)
{
    struct driver *driver = driver_make();
    struct virtio_blk_settings settings = { .fd = fd, .read_only = read_only, .queues = queues, .serial = "serial-number-that-is-long" };

    assert_int_equal(virtio_blk_create(&driver->memory, &settings, &blk), 0);
    driver_connect(driver, virtio_blk_device(blk));
    return driver;
}

static int
set_up(void **state)
{
    disk = memfd_create("disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(disk, SECTORS * 512 + 100), 0);
    *state = make(disk, false, 2);
    return 0;
}

static int
set_up_read_only(void **state)
{
    disk = memfd_create("disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(disk, SECTORS * 512), 0);
    *state = make(disk, true, 1);
    return 0;
}

static int
tear_down(void **state)
{
    driver_free(*state);
    virtio_blk_destroy(blk);
    fd_close(&disk);
    return 0;
}

static void
driver_ready(struct driver *driver)
{
    driver_set_up(driver, driver->device->offered);
}

/* Header, data of `size` bytes, status; its answer, and how much was written in *written. */
static uint8_t
request_on(struct driver *driver, unsigned queue, uint32_t type, uint64_t sector, uint32_t size, bool reads, uint32_t *written)
{
    struct virtio_blk_outhdr header = { .type = type, .sector = sector };
    uint16_t before = driver_used(driver, queue);
    uint8_t *status = driver_at(driver, STATUS);

    memcpy(driver_at(driver, HEADER), &header, sizeof header);
    *status = NO_STATUS;
    driver_describe(driver, queue, 0, (struct vring_desc){ HEADER, sizeof header, NEXT, size > 0 ? 1 : 2 });
    driver_describe(driver, queue, 1, (struct vring_desc){ DATA, size, (__virtio16)(NEXT | (reads ? WRITE : 0)), 2 });
    driver_describe(driver, queue, 2, (struct vring_desc){ STATUS, 1, WRITE, 0 });
    driver_offer(driver, queue, 0);
    driver_ring(driver, queue);
    while (driver_used(driver, queue) == before)
        ;
    if (written != NULL)
        *written = driver_used_at(driver, queue, before).len;
    return *status;
}

static uint8_t
request(struct driver *driver, uint32_t type, uint64_t sector, uint32_t size)
{
    return request_on(driver, 0, type, sector, size, type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID, NULL);
}

static void
test_config(void **state)
{
    struct driver *driver = *state;
    struct virtio_blk_config config;
    uint8_t past = 0xaa;

    virtio_mmio_operations.read(driver->mmio, VIRTIO_MMIO_CONFIG, (uint8_t *)&config, sizeof config);
    assert_int_equal(config.capacity, SECTORS);
    assert_int_equal(config.num_queues, 2);
    assert_int_equal(config.blk_size, 512);
    assert_int_equal(config.seg_max, QUEUE_SIZE_MAX - 2);
    virtio_mmio_operations.read(driver->mmio, VIRTIO_MMIO_CONFIG + sizeof config, &past, 1);
    assert_int_equal(past, 0);
    driver_write(driver, VIRTIO_MMIO_CONFIG, 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_CONFIG), SECTORS);
}

static void
test_write_and_read(void **state)
{
    struct driver *driver = *state;
    uint8_t *data = driver_at(driver, DATA), there[1024];
    uint32_t written;

    driver_ready(driver);
    for (size_t i = 0; i < sizeof there; i++)
        data[i] = (uint8_t)(i * 7);
    assert_int_equal(request_on(driver, 1, VIRTIO_BLK_T_OUT, SECTORS - 2, sizeof there, false, &written), VIRTIO_BLK_S_OK);
    assert_int_equal(written, 1);
    assert_int_equal(pread(disk, there, sizeof there, (SECTORS - 2) * 512), sizeof there);
    assert_memory_equal(there, data, sizeof there);
    memset(data, 0, sizeof there);
    assert_int_equal(request_on(driver, 0, VIRTIO_BLK_T_IN, SECTORS - 2, sizeof there, true, &written), VIRTIO_BLK_S_OK);
    assert_int_equal(written, sizeof there + 1);
    assert_memory_equal(there, data, sizeof there);
    assert_int_equal(request(driver, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(request(driver, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
    assert_memory_equal(data, "serial-number-that-i", 20);
}

static void
test_refused(void **state)
{
    static const struct {
        uint32_t type;
        uint64_t sector;
        uint32_t size;
        uint8_t status;
    } refused[] = {
        { VIRTIO_BLK_T_IN, SECTORS, 512, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, SECTORS - 1, 1024, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, UINT64_MAX, 512, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, 0, 511, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, 0, 0, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, SECTORS, 512, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, 0, 100, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_GET_ID, 0, 19, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, 0, 15, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, 0, 16 * (VIRTIO_BLK_SEGMENTS_MAX + 1), VIRTIO_BLK_S_IOERR },
        { 2, 0, 512, VIRTIO_BLK_S_UNSUPP },
        { UINT32_MAX, 0, 0, VIRTIO_BLK_S_UNSUPP },
    };
    struct driver *driver = *state;
    struct stat is;

    driver_ready(driver);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (request(driver, refused[i].type, refused[i].sector, refused[i].size) != refused[i].status)
            fail_msg("request %zu was answered otherwise", i);
    }
    assert_int_equal(fstat(disk, &is), 0);
    assert_int_equal(is.st_size, SECTORS * 512 + 100);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

static uint8_t
segment(struct driver *driver, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes it = { .sector = sector, .num_sectors = sectors, .flags = flags };

    memcpy(driver_at(driver, DATA), &it, sizeof it);
    return request(driver, type, 0, sizeof it);
}

static void
test_segments(void **state)
{
    struct driver *driver = *state;
    uint8_t there[SECTORS * 512];

    driver_ready(driver);
    memset(there, 1, sizeof there);
    assert_int_equal(pwrite(disk, there, sizeof there, 0), sizeof there);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_DISCARD, 8, 8, 1), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 2), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_DISCARD, SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_WRITE_ZEROES, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_DISCARD, 8, 8, 0), VIRTIO_BLK_S_OK);
    /* A memfd cannot zero a range by itself: the device does. */
    assert_int_equal(segment(driver, VIRTIO_BLK_T_WRITE_ZEROES, 17, 3, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_WRITE_ZEROES, 30, 1, 1), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(disk, there, sizeof there, 0), sizeof there);
    for (unsigned i = 0; i < SECTORS; i++)
        assert_int_equal(there[i * 512 + 100], !((i >= 8 && i < 16) || (i >= 17 && i < 20) || i == 30));
}

static void
test_read_only(void **state)
{
    struct driver *driver = *state;
    uint8_t byte;

    assert_true((driver->device->offered & VIRTIO_FEATURE(VIRTIO_BLK_F_RO)) != 0);
    driver_ready(driver);
    memset(driver_at(driver, DATA), 1, 512);
    assert_int_equal(request(driver, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(driver, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(disk, &byte, 1, 0), 1);
    assert_int_equal(byte, 0);
}

/* The file is cut underneath: reads past its end are errors, and the device lives. */
static void
test_truncated(void **state)
{
    struct driver *driver = *state;

    driver_ready(driver);
    assert_int_equal(ftruncate(disk, 512 + 100), 0);
    assert_int_equal(request(driver, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(request(driver, VIRTIO_BLK_T_IN, 1, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(driver, VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

/* What the host cannot write is an error in the guest: a file that cannot grow stands for a full one. */
static void
test_host_error(void **state)
{
    struct driver *driver = *state;

    driver_ready(driver);
    assert_int_equal(ftruncate(disk, 512), 0);
    assert_int_equal(fcntl(disk, F_ADD_SEALS, F_SEAL_GROW), 0);
    assert_int_equal(request(driver, VIRTIO_BLK_T_OUT, 8, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(driver, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
}

/* A request in which nobody can be told of a failure: no status, or no whole header. */
static void
test_broken_requests(void **state)
{
    struct driver *driver = *state;

    driver_ready(driver);
    driver_describe(driver, 0, 0, (struct vring_desc){ HEADER, 16, 0, 0 });
    driver_offer(driver, 0, 0);
    driver_ring(driver, 0);
    driver_expect_broken(driver);
    driver_ready(driver);
    driver_describe(driver, 0, 0, (struct vring_desc){ HEADER, 15, NEXT, 1 });
    driver_describe(driver, 0, 1, (struct vring_desc){ STATUS, 1, WRITE, 0 });
    driver_offer(driver, 0, 0);
    driver_ring(driver, 0);
    driver_expect_broken(driver);
    driver_ready(driver);
    assert_int_equal(request(driver, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

#define DISK_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(test_config),
        DISK_TEST(test_write_and_read),
        DISK_TEST(test_refused),
        DISK_TEST(test_segments),
        DISK_TEST(test_truncated),
        DISK_TEST(test_host_error),
        DISK_TEST(test_broken_requests),
        cmocka_unit_test_setup_teardown(test_read_only, set_up_read_only, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
