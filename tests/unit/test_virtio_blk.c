/* The disk: each request, each way it may be refused, and what of it reaches the file. */
#include "plugin/microvm/virtio_blk.h"
#include "tests/unit/virtio_driver.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
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

/* A disk of its own for a test, with these settings in place of the usual ones. */
static void
replace_disk(void **state, int fd, struct virtio_blk_settings settings)
{
    tear_down(state);
    disk = fd;
    settings.fd = fd;
    settings.serial = "other";
    settings.queues = 2;
    *state = driver_make();
    assert_int_equal(virtio_blk_create(&((struct driver *)*state)->memory, &settings, &blk), 0);
    driver_connect(*state, virtio_blk_device(blk));
}

static uint64_t
milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A file system of 64 KiB that no folder shows. */
static int
make_small_file(void)
{
    int context = fsopen("tmpfs", FSOPEN_CLOEXEC), mount, fd;

    if (context < 0)
        return -1;
    assert_int_equal(fsconfig(context, FSCONFIG_SET_STRING, "size", "64k", 0), 0);
    assert_int_equal(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), 0);
    mount = fsmount(context, FSMOUNT_CLOEXEC, 0);
    assert_true(mount >= 0);
    fd = openat(mount, "disk", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(mount);
    close(context);
    return fd;
}

/* The host's disk is full: an I/O error, and what fits before and after is written. */
static void
test_full(void **state)
{
    int fd = make_small_file();
    struct driver *driver;
    unsigned failed = 0;

    if (fd < 0)
        skip();
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    replace_disk(state, fd, (struct virtio_blk_settings){ .read_only = false });
    driver = *state;
    driver_ready(driver);
    memset(driver_at(driver, DATA), 7, 4096);
    for (uint64_t i = 0; i < 32; i++) {
        uint8_t status = request(driver, VIRTIO_BLK_T_OUT, i * 8, 4096);

        assert_int_equal(status, i < 16 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
        failed += status != VIRTIO_BLK_S_OK;
    }
    assert_int_equal(failed, 16);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_OK);
    memset(driver_at(driver, DATA), 7, 4096);
    assert_int_equal(request(driver, VIRTIO_BLK_T_OUT, 20 * 8, 4096), VIRTIO_BLK_S_OK);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 15);
}

/* O_DIRECT: buffers that are not aligned are served all the same, and what is no whole block is refused. */
static void
test_direct(void **state)
{
    char path[] = "/var/tmp/vmsup-disk.XXXXXX";
    int fd = mkostemp(path, O_DIRECT | O_CLOEXEC);
    struct driver *driver;
    struct virtio_blk_config config;
    uint8_t there[8192], *data;

    assert_true(fd >= 0);
    unlink(path);
    if ((fcntl(fd, F_GETFL) & O_DIRECT) == 0 || ftruncate(fd, 1 << 20) != 0)
        skip();
    replace_disk(state, fd, (struct virtio_blk_settings){ .direct = true });
    driver = *state;
    virtio_mmio_operations.read(driver->mmio, VIRTIO_MMIO_CONFIG, (uint8_t *)&config, sizeof config);
    assert_true(config.blk_size >= 512 && config.blk_size <= 4096);
    driver_ready(driver);
    data = driver_at(driver, DATA);
    for (size_t i = 0; i < sizeof there; i++)
        data[i] = there[i] = (uint8_t)(i * 13 / 7);
    assert_int_equal(request(driver, VIRTIO_BLK_T_OUT, 8, sizeof there), VIRTIO_BLK_S_OK);
    memset(data, 0, sizeof there);
    /* In two buffers, at an odd address each, and the first of an odd size. */
    driver_describe(driver, 1, 0, (struct vring_desc){ HEADER, 16, NEXT, 1 });
    driver_describe(driver, 1, 1, (struct vring_desc){ DATA + 3, 1001, NEXT | WRITE, 2 });
    driver_describe(driver, 1, 2, (struct vring_desc){ DATA + 1004, sizeof there - 1001, NEXT | WRITE, 3 });
    driver_describe(driver, 1, 3, (struct vring_desc){ STATUS, 1, WRITE, 0 });
    memcpy(driver_at(driver, HEADER), &(struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN, .sector = 8 }, 16);
    driver_offer(driver, 1, 0);
    driver_ring(driver, 1);
    driver_wait_used(driver, 1, 1);
    assert_int_equal(*(uint8_t *)driver_at(driver, STATUS), VIRTIO_BLK_S_OK);
    assert_int_equal(driver_used_at(driver, 1, 0).len, sizeof there + 1);
    assert_memory_equal(data + 3, there, sizeof there);
    if (config.blk_size > 512)
        assert_int_equal(request(driver, VIRTIO_BLK_T_IN, 1, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(segment(driver, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(request(driver, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
    for (size_t i = 0; i < 4096; i++)
        assert_int_equal(data[i], 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(request(driver, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_IOERR);
}

/* Who asks for O_DIRECT gets it or an error; who opens for reading only gets a disk for reading only. */
static void
test_descriptor(void **state)
{
    struct driver *driver = *state;
    struct virtio_blk_settings settings = { .fd = disk, .queues = 1, .serial = "", .direct = true };
    struct virtio_blk *other;
    char path[32];
    int fd;

    assert_int_equal(virtio_blk_create(&driver->memory, &settings, &other), -EOPNOTSUPP);
    snprintf(path, sizeof path, "/proc/self/fd/%d", disk);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    settings.fd = fd;
    settings.direct = false;
    assert_int_equal(virtio_blk_create(&driver->memory, &settings, &other), 0);
    assert_true((virtio_blk_device(other)->offered & VIRTIO_FEATURE(VIRTIO_BLK_F_RO)) != 0);
    virtio_blk_destroy(other);
    close(fd);
    settings.fd = disk;
    settings.queues = VIRTIO_BLK_QUEUES_MAX + 1;
    assert_int_equal(virtio_blk_create(&driver->memory, &settings, &other), -EINVAL);
}

/* Under a limit requests wait, none is lost, and all come in their order, over both queues together; and a reset does not wait. */
static void
test_limit(void **state)
{
    struct driver *driver;
    uint64_t begin;

    replace_disk(state, memfd_create("disk", MFD_CLOEXEC),
                 (struct virtio_blk_settings){ .limit = { .bandwidth = { 65536, 4096 }, .operations = { 40, 4 } } });
    driver = *state;
    driver_set_up(driver, driver->device->offered & ~VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
    begin = milliseconds();
    for (uint16_t i = 0; i < 6; i++) {
        driver_describe(driver, i % 2, i, (struct vring_desc){ HEADER, 16, NEXT, 7 });
        driver_describe(driver, i % 2, 7, (struct vring_desc){ STATUS, 1, WRITE, 0 });
        driver_offer(driver, i % 2, i);
    }
    memcpy(driver_at(driver, HEADER), &(struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_FLUSH }, 16);
    driver_ring(driver, 0);
    driver_ring(driver, 1);
    driver_wait_used(driver, 0, 3);
    driver_wait_used(driver, 1, 3);
    /* Four at once, and two of the forty a second after. */
    assert_true(milliseconds() - begin >= 49);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(driver_used_at(driver, i % 2, i / 2).id, i);
    for (uint16_t i = 0; i < 8; i++) {
        driver_describe(driver, 0, i, (struct vring_desc){ HEADER, 16, NEXT, 7 });
        if (i < 7)
            driver_offer(driver, 0, i);
    }
    driver_describe(driver, 0, 7, (struct vring_desc){ STATUS, 1, WRITE, 0 });
    driver_ring(driver, 0);
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(driver_read(driver, VIRTIO_MMIO_STATUS), 0);
    assert_true(milliseconds() - begin < DRIVER_ENOUGH_MS);
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
        DISK_TEST(test_full),
        DISK_TEST(test_direct),
        DISK_TEST(test_descriptor),
        DISK_TEST(test_limit),
        cmocka_unit_test_setup_teardown(test_read_only, set_up_read_only, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
