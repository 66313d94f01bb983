/* The guest's memory: its parts and their places, its seals, and what is said where the host has not as much. */
#include "plugin/microvm/layout.h"
#include "plugin/microvm/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1ULL << 20)

static void
destroy(const struct guest_memory *memory, uint64_t size, int fd)
{
    assert_int_equal(munmap(memory->region[0].host, size), 0);
    close(fd);
}

static void
test_low(void **state)
{
    struct guest_memory memory;
    const char *what;
    struct stat status;
    int fd;

    (void)state;
    assert_int_equal(ram_create(33 * MIB, false, &memory, &fd, &what), 0);
    assert_int_equal(memory.count, 1);
    assert_int_equal(memory.region[0].start, 0);
    assert_int_equal(memory.region[0].size, 33 * MIB);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_size, 33 * MIB);
    assert_int_equal(status.st_blocks, 0);
    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    /* It is the file's: what is written to it is there. */
    memory.region[0].host[4096] = 0xa5;
    assert_int_equal(pread(fd, &(uint8_t){ 0 }, 1, 4096), 1);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_blocks, 8);
    destroy(&memory, 33 * MIB, fd);
}

/* What is above 3G goes on at 4G; a page is enough for that. */
static void
test_hole(void **state)
{
    struct guest_memory memory;
    struct sysinfo host;
    const char *what;
    int fd;

    (void)state;
    assert_int_equal(sysinfo(&host), 0);
    if (host.totalram * host.mem_unit < LAYOUT_HOLE_START + LAYOUT_PAGE)
        skip();
    assert_int_equal(ram_create(LAYOUT_HOLE_START, false, &memory, &fd, &what), 0);
    assert_int_equal(memory.count, 1);
    destroy(&memory, LAYOUT_HOLE_START, fd);
    assert_int_equal(ram_create(LAYOUT_HOLE_START + LAYOUT_PAGE, false, &memory, &fd, &what), 0);
    assert_int_equal(memory.count, 2);
    assert_int_equal(memory.region[0].size, LAYOUT_HOLE_START);
    assert_int_equal(memory.region[1].start, LAYOUT_HOLE_END);
    assert_int_equal(memory.region[1].size, LAYOUT_PAGE);
    assert_ptr_equal(memory.region[1].host, memory.region[0].host + LAYOUT_HOLE_START);
    memory.region[1].host[LAYOUT_PAGE - 1] = 0x5a;
    destroy(&memory, LAYOUT_HOLE_START + LAYOUT_PAGE, fd);
}

static void
test_too_much(void **state)
{
    struct guest_memory memory;
    struct sysinfo host;
    const char *what;
    int fd;

    (void)state;
    assert_int_equal(sysinfo(&host), 0);
    assert_int_equal(ram_create((host.totalram * host.mem_unit / LAYOUT_PAGE + 1) * LAYOUT_PAGE, false, &memory, &fd, &what), -ENOMEM);
    assert_string_equal(what, "--memory: the host has less than that");
}

/* Of a size of 2M, whatever the host's default is. */
static uint64_t
free_huge_pages(void)
{
    FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
    char line[32] = "";

    if (file == NULL)
        return 0;
    if (fgets(line, sizeof line, file) == NULL)
        line[0] = '\0';
    fclose(file);
    return strtoull(line, NULL, 10);
}

static void
test_huge_pages_missing(void **state)
{
    struct guest_memory memory;
    const char *what;
    int fd;

    (void)state;
    if (access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) < 0)
        skip();
    assert_int_equal(ram_create((free_huge_pages() + 16) * RAM_HUGE_PAGE, true, &memory, &fd, &what), -ENOMEM);
    assert_non_null(strstr(what, "--huge-pages: the host has too few free pages of 2M"));
}

static void
test_huge_pages(void **state)
{
    struct guest_memory memory;
    const char *what;
    struct stat status;
    uint64_t before = free_huge_pages();
    int fd;

    (void)state;
    if (before < 16)
        skip();
    assert_int_equal(ram_create(16 * RAM_HUGE_PAGE, true, &memory, &fd, &what), 0);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_blksize, RAM_HUGE_PAGE);
    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    memory.region[0].host[0] = 1;
    assert_true(free_huge_pages() < before);
    destroy(&memory, 16 * RAM_HUGE_PAGE, fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_low),                cmocka_unit_test(test_hole),       cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_huge_pages_missing), cmocka_unit_test(test_huge_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
