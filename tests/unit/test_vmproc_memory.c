/* Memory of kinds that a hostile plugin may choose: what is counted is what is held, and nothing stays mapped. */
#include "tests/unit/vmproc_driver.h"

#include <linux/memfd.h>

#define HUGE_PAGE (2u << 20)

/* How many lines of vmproc's map name a memfd. */
static unsigned
count_mappings(struct driver *driver)
{
    char path[64], line[512];
    unsigned count = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/maps", driver->pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, "memfd:") != NULL;
    fclose(file);
    return count;
}

static int
create_memory(struct driver *driver, int memfd, uint64_t length)
{
    return driver_create_memory(driver, 1, memfd,
                                &(MainRequest__Create__Memory){ .start = 0x400000, .length = length });
}

static int
make_huge_memfd(void)
{
    int memfd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB);

    if (memfd < 0)
        return -1;
    assert_int_equal(ftruncate(memfd, 2 * HUGE_PAGE), 0);
    assert_int_equal(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    return memfd;
}

/* A part of a huge page would hold all of it, and cannot be unmapped by itself. */
static void
test_huge_pages_are_taken_whole(void **state)
{
    int memfd = make_huge_memfd();
    struct driver driver;

    (void)state;
    if (memfd < 0)
        skip();
    driver_start(&driver, 1);
    assert_int_equal(create_memory(&driver, memfd, PAGE), EINVAL);
    assert_int_equal(create_memory(&driver, memfd, HUGE_PAGE + PAGE), EINVAL);
    assert_int_equal(count_mappings(&driver), 0);
    for (int round = 0; round < 100; round++) {
        assert_int_equal(create_memory(&driver, memfd, HUGE_PAGE), 0);
        assert_int_equal(count_mappings(&driver), 1);
        assert_int_equal(driver_destroy_object(&driver, 1), 0);
    }
    assert_int_equal(count_mappings(&driver), 0);
    fd_close(&memfd);
    driver_stop(&driver);
}

static void
test_what_is_destroyed_or_refused_is_not_mapped(void **state)
{
    int memfd = driver_make_memfd(4 * PAGE, F_SEAL_SHRINK),
        written = driver_make_memfd(PAGE, F_SEAL_SHRINK | F_SEAL_WRITE);
    struct driver driver;

    (void)state;
    driver_start(&driver, 1);
    for (int round = 0; round < 100; round++) {
        assert_int_equal(create_memory(&driver, memfd, 4 * PAGE), 0);
        /* The id is in use; then the place is. */
        assert_int_equal(create_memory(&driver, memfd, PAGE), EEXIST);
        assert_int_equal(driver_create_memory(&driver, 2, memfd,
                                              &(MainRequest__Create__Memory){ .start = 0x401000, .length = PAGE }),
                         EEXIST);
        assert_int_equal(count_mappings(&driver), 1);
        assert_int_equal(driver_destroy_object(&driver, 1), 0);
        /* One that may not be written can only be read. */
        assert_int_not_equal(create_memory(&driver, written, PAGE), 0);
    }
    assert_int_equal(count_mappings(&driver), 0);
    fd_close(&memfd);
    fd_close(&written);
    driver_stop(&driver);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge_pages_are_taken_whole),
        cmocka_unit_test(test_what_is_destroyed_or_refused_is_not_mapped),
    };

    if (!driver_can_run()) {
        fputs("SKIP: no /dev/kvm\n", stderr);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
