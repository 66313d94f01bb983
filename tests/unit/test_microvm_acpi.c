/* microvm's ACPI tables: linked and summed as they should be; iasl, where it is, takes them apart and together without a warning. */
#include "plugin/microvm/acpi.h"
#include "plugin/microvm/aml.h"
#include "plugin/microvm/layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static uint8_t tables[LAYOUT_ACPI_SIZE];

static uint8_t
sum(const uint8_t *bytes, size_t size)
{
    uint8_t total = 0;

    for (size_t i = 0; i < size; i++)
        total = (uint8_t)(total + bytes[i]);
    return total;
}

static uint64_t
number(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    memcpy(&value, bytes, size);
    return value;
}

/* A table at the guest's address, whose signature, length and sum are right. */
static const uint8_t *
table(uint64_t address, const char *signature)
{
    const uint8_t *bytes = tables + (address - LAYOUT_ACPI);

    assert_true(address > LAYOUT_ACPI && address < LAYOUT_ACPI + LAYOUT_ACPI_SIZE);
    assert_memory_equal(bytes, signature, 4);
    assert_int_equal(sum(bytes, number(bytes + 4, 4)), 0);
    return bytes;
}

static void
write_tables(uint32_t vcpus, uint32_t devices)
{
    const struct acpi_machine machine = { .vcpu_count = vcpus, .virtio_count = devices };

    memset(tables, 0, sizeof tables);
    assert_int_equal(acpi_write(&machine, LAYOUT_ACPI, tables, sizeof tables), 0);
}

static void
test_links(void **state)
{
    const uint8_t *xsdt, *fadt, *madt;

    (void)state;
    write_tables(300, LAYOUT_VIRTIO_SLOTS);
    assert_memory_equal(tables, "RSD PTR ", 8);
    assert_int_equal(sum(tables, 20), 0);
    assert_int_equal(sum(tables, 36), 0);
    xsdt = table(number(tables + 24, 8), "XSDT");
    assert_int_equal(number(xsdt + 4, 4), 36 + 2 * 8);
    fadt = table(number(xsdt + 36, 8), "FACP");
    madt = table(number(xsdt + 44, 8), "APIC");
    table(number(fadt + 140, 8), "DSDT");
    assert_int_equal(number(fadt + 40, 4), number(fadt + 140, 8));
    assert_int_equal(number(fadt + 120, 8), LAYOUT_POWER_RESET);
    assert_int_equal(number(fadt + 248, 8), LAYOUT_POWER_SLEEP_CONTROL);
    assert_int_equal(number(fadt + 260, 8), LAYOUT_POWER_SLEEP_STATUS);
    assert_int_equal(number(fadt + 112, 4) >> 20 & 1, 1);
    /* 255 local APICs of 8 bytes, 45 of 16, an IOAPIC of 12. */
    assert_int_equal(number(madt + 4, 4), 44 + 255 * 8 + 45 * 16 + 12);
    assert_int_equal(madt[44 + 254 * 8 + 3], 254);
    assert_int_equal(number(madt + 44 + 255 * 8 + 4, 4), 255);
}

static void
test_too_small(void **state)
{
    const struct acpi_machine machine = { .vcpu_count = 2, .virtio_count = 3 };
    uint8_t small[2048];
    size_t size = 0;

    (void)state;
    while (acpi_write(&machine, LAYOUT_ACPI, small, size) == -ENOSPC)
        assert_true(++size < sizeof small);
    assert_true(size > 500);
    for (; size <= sizeof small; size += 16)
        assert_int_equal(acpi_write(&machine, LAYOUT_ACPI, small, size), 0);
}

/* 20.2.4: what a length looks like, at both sides of each border. */
static void
test_lengths(void **state)
{
    static uint8_t bytes[70000];
    static const struct {
        size_t content;
        uint8_t length[3];
        size_t size;
    } rows[] = {
        { 62, { 63 }, 1 }, { 63, { 0x41, 4 }, 2 }, { 4093, { 0x4f, 0xff }, 2 }, { 4094, { 0x81, 0x00, 0x01 }, 3 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct aml aml = { .bytes = bytes, .capacity = sizeof bytes };
        size_t start = aml_package_begin(&aml, 1);

        while (aml.size - start < rows[i].content)
            aml_byte(&aml, 0xee);
        aml_end(&aml, start);
        assert_false(aml.full);
        assert_int_equal(aml.size, 1 + rows[i].size + rows[i].content);
        assert_memory_equal(bytes + 1, rows[i].length, rows[i].size);
        assert_int_equal(bytes[1 + rows[i].size], 1);
    }
}

static void
write_file(const char *folder, const char *name, const uint8_t *bytes)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s.dat", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, number(bytes + 4, 4), 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

static void
test_disassembly(void **state)
{
    char folder[] = "/tmp/vmsup-acpi.XXXXXX", command[1024];
    const uint8_t *xsdt, *fadt;

    (void)state;
    if (system("command -v iasl >/dev/null") != 0)
        skip();
    write_tables(4, LAYOUT_VIRTIO_SLOTS);
    xsdt = table(number(tables + 24, 8), "XSDT");
    fadt = table(number(xsdt + 36, 8), "FACP");
    assert_non_null(mkdtemp(folder));
    write_file(folder, "facp", fadt);
    write_file(folder, "apic", table(number(xsdt + 44, 8), "APIC"));
    write_file(folder, "dsdt", table(number(fadt + 140, 8), "DSDT"));
    write_file(folder, "xsdt", xsdt);
    /* Together again it is the same table, but for the compiler's name in the header. */
    snprintf(command, sizeof command,
             "cd %s && for t in facp apic dsdt xsdt; do iasl -p $t -d $t.dat && iasl -we -p new-$t $t.dsl || exit 1; done >log 2>&1 && "
             "! grep -iE '[1-9][0-9]* (warning|error|remark)s?' log && ! grep -i 'checksum.*should' log && "
             "for words in 'ACPI0013' 'PNP0C0C' 'Method (_EVT, 1' 'Arg0 == 0x05' 'Notify (PWRB, 0x80)' 'Device (VR0F)' '0x0000000F,'; do "
             "grep -qF \"$words\" dsdt.dsl || exit 1; done && "
             "cmp -i 36 dsdt.dat new-dsdt.aml && cmp -i 36 facp.dat new-facp.aml && cmp -i 36 apic.dat new-apic.aml || { cat log; false; }",
             folder);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links), cmocka_unit_test(test_too_small), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_disassembly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
