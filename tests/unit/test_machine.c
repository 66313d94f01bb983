/* microvm's machine on a library that the test plays: what is made of the options, what each vCPU is told, and every call that can fail. */
#include "plugin/microvm/layout.h"
#include "plugin/microvm/machine.h"
#include "tests/unit/microvm_fake.h"
#include "tests/unit/scratch.h"

#define MIB (1ULL << 20)

/* Zeroes as in the program, where it is static. */
static struct machine machine;

static struct options
some_options(void)
{
    struct options options = { .memory = 64 * MIB, .cpu_mask_count = 1 };

    assert_int_equal(cpuid_mask_parse("7:ebx=0xf", &options.cpu_mask[0]), 0);
    return options;
}

static void
unmap_memory(void)
{
    if (machine.memory.count > 0)
        munmap(machine.memory.region[0].host,
               machine.memory.region[0].size + (machine.memory.count == 2 ? machine.memory.region[1].size : 0));
}

static void
test_create(void **state)
{
    const struct options options = some_options();
    const char *what;

    (void)state;
    fake_reset(FAKE_VCPUS);
    assert_int_equal(machine_create(&machine, &options, &what), 0);
    assert_int_equal(machine.vcpu_count, FAKE_VCPUS);
    assert_int_equal(machine.shutdown, 1000);
    assert_true(machine.deadline_timer);
    assert_int_equal(machine.cpuid.count, 3);
    assert_int_equal(fake.memory_count, 1);
    assert_int_equal(fake.memory[0].note.start, 0);
    assert_int_equal(fake.memory[0].note.length, 64 * MIB);
    assert_int_equal(fake.memory[0].note.offset, 0);
    assert_int_equal(fake.memory[0].note.value, false);
    unmap_memory();
}

/* What is above the hole comes from behind what is below it. */
static void
test_create_large(void **state)
{
    struct options options = some_options();
    const char *what;
    int result;

    (void)state;
    fake_reset(1);
    options.memory = LAYOUT_HOLE_START + 2 * MIB;
    result = machine_create(&machine, &options, &what);
    /* A host may be smaller than that. */
    if (result == -ENOMEM)
        skip();
    assert_int_equal(result, 0);
    assert_int_equal(fake.memory_count, 2);
    assert_int_equal(fake.memory[0].note.length, LAYOUT_HOLE_START);
    assert_int_equal(fake.memory[1].note.start, LAYOUT_HOLE_END);
    assert_int_equal(fake.memory[1].note.length, 2 * MIB);
    assert_int_equal(fake.memory[1].note.offset, LAYOUT_HOLE_START);
    unmap_memory();
}

/* Each call in turn fails: so does the whole, it says what, and no descriptor is left. */
static void
test_create_failures(void **state)
{
    const struct options options = some_options();
    const size_t descriptors = scratch_count_descriptors();
    unsigned failed = 0;
    const char *what;

    (void)state;
    for (unsigned call = 1;; call++) {
        int result;

        fake_reset(1);
        fake.fail_at = call;
        what = NULL;
        result = machine_create(&machine, &options, &what);
        unmap_memory();
        assert_int_equal(scratch_count_descriptors(), descriptors);
        if (fake.calls < call) {
            assert_int_equal(result, 0);
            break;
        }
        assert_int_equal(result, FAKE_FAILURE);
        assert_non_null(what);
        failed++;
    }
    assert_int_equal(failed, 7);
}

static void
test_objects(void **state)
{
    const struct options options = some_options();
    int doorbell = -1, trigger = -1, resample = -1;
    static const struct device_operations none;
    const char *what;

    (void)state;
    fake_reset(1);
    assert_int_equal(machine_create(&machine, &options, &what), 0);
    assert_int_equal(machine_add_doorbell(&machine, 0xfeb00050, 3, &doorbell), 0);
    assert_int_equal(doorbell, fake.io[0].note.fd);
    assert_int_equal(fake.io[0].note.kind, VMSUP_ADDRESS_SPACE_MMIO);
    assert_int_equal(fake.io[0].note.start, 0xfeb00050);
    assert_int_equal(fake.io[0].note.length, 4);
    assert_int_equal(fake.io[0].note.value, 3);
    assert_int_equal(machine_add_interrupt(&machine, 17, &trigger, &resample), 0);
    assert_int_equal(fake.irq[0].note.kind, 17);
    assert_int_equal(trigger, fake.irq[0].note.fd);
    assert_int_equal(resample, fake.irq[0].note.other);
    assert_int_equal(machine_add_ports(&machine, 0x3f8, 8, &none, NULL), 0);
    assert_int_equal(machine_add_ports(&machine, 0x3ff, 1, &none, NULL), -EEXIST);
    assert_int_equal(fake.range_count, 1);
    assert_int_equal(fake.range[0].kind, VMSUP_ADDRESS_SPACE_IOPORT);
    assert_int_equal(fake.range[0].start, 0x3f8);
    assert_int_equal(fake.range[0].length, 8);
    fake.fail_at = fake.calls + 1;
    assert_int_equal(machine_add_doorbell(&machine, 0xfeb00050, 3, &doorbell), FAKE_FAILURE);
    fake.fail_at = fake.calls + 1;
    assert_int_equal(machine_add_interrupt(&machine, 17, &trigger, &resample), FAKE_FAILURE);
    fake.fail_at = fake.calls + 1;
    assert_int_equal(machine_add_memory_range(&machine, 0xfeb00000, 0x1000, &none, NULL), FAKE_FAILURE);
    unmap_memory();
}

static bool
is_mapped(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    bool found = false;
    char line[512];

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL)
        found |= strstr(line, name) != NULL;
    fclose(maps);
    return found;
}

/* The guest reads what is written here; where it cannot be shown them, nothing is left of them. */
static void
test_pages(void **state)
{
    const size_t descriptors = scratch_count_descriptors();
    const struct options options = some_options();
    uint32_t *pages = NULL;
    const char *what;

    (void)state;
    fake_reset(1);
    assert_int_equal(machine_create(&machine, &options, &what), 0);
    assert_int_equal(machine_add_pages(&machine, 0xfeb00000, 0, &pages), -EINVAL);
    fake.fail_at = fake.calls + 1;
    assert_int_equal(machine_add_pages(&machine, 0xfeb00000, 2 * LAYOUT_PAGE, &pages), FAKE_FAILURE);
    assert_false(is_mapped("memfd:registers"));
    assert_int_equal(machine_add_pages(&machine, 0xfeb00000, 2 * LAYOUT_PAGE, &pages), 0);
    assert_true(is_mapped("memfd:registers"));
    assert_int_equal(fake.memory[1].note.start, 0xfeb00000);
    assert_int_equal(fake.memory[1].note.length, 2 * LAYOUT_PAGE);
    assert_int_equal(fake.memory[1].note.value, true);
    assert_int_equal(pages[2 * LAYOUT_PAGE / sizeof *pages - 1], 0);
    assert_int_equal(scratch_count_descriptors(), descriptors);
    munmap(pages, 2 * LAYOUT_PAGE);
    unmap_memory();
}

static void
read_seven(void *device, uint64_t offset, uint8_t *data, size_t size)
{
    (void)device;
    assert_int_equal(offset, 2);
    memset(data, 7, size);
}

static void
write_note(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    assert_int_equal(size, 1);
    *(uint64_t *)device = offset << 8 | data[0];
}

static const struct kvm_cpuid_entry2 *
leaf(const struct vmsup_vcpu *vcpu, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < vcpu->cpuid_count; i++)
        if (vcpu->cpuid[i].function == function && vcpu->cpuid[i].index == index)
            return &vcpu->cpuid[i];
    fail_msg("vCPU %u has no leaf %#x", vcpu->number, function);
    return NULL;
}

/* Only the first is told where to begin; each answers its own accesses, and ends with the VM. */
static void
test_run(void **state)
{
    static const struct device_operations operations = { read_seven, write_note };
    const struct boot_entry entry = { .protocol = BOOT_LINUX, .instruction = 0x1000200, .parameters = 0x7000 };
    const struct options options = some_options();
    uint64_t written = 0;
    const char *what;

    (void)state;
    fake_reset(FAKE_VCPUS);
    assert_int_equal(machine_create(&machine, &options, &what), 0);
    assert_int_equal(machine_add_ports(&machine, 0x100, 8, &operations, &written), 0);
    fake.vcpu[0].port = 0x102;
    fake.vcpu[1].port = 0x103;
    fake.vcpu[1].write = true;
    fake.vcpu[1].data[0] = 0xab;
    fake.vcpu[2].no_msr = true;
    assert_int_equal(machine_start(&machine, &entry, &what), 0);
    while (fake_ended() < FAKE_VCPUS)
        usleep(1000);
    assert_int_equal(fake.started, 1);
    for (uint32_t i = 0; i < FAKE_VCPUS; i++) {
        const struct vmsup_vcpu *vcpu = &fake.vcpu[i];

        assert_int_equal(vcpu->has_regs, i == 0);
        assert_int_equal(vcpu->has_sregs, i == 0);
        assert_int_equal(vcpu->resumes, i < 2 ? 2 : 1);
        assert_int_equal(leaf(vcpu, 1, 0)->ebx >> 24, i);
        assert_int_equal(leaf(vcpu, 1, 0)->ecx >> 24 & 1, 1);
        assert_int_equal(leaf(vcpu, 0xb, 1)->edx, i);
        assert_int_equal(leaf(vcpu, 0xb, 1)->ebx, FAKE_VCPUS);
        assert_int_equal(leaf(vcpu, 7, 0)->ebx, 0xf0);
        /* MTRRs on, write-back; strings fast, and what else there was of that register. */
        assert_int_equal(vcpu->msr_count, i == 2 ? 1 : 2);
        assert_int_equal(vcpu->msr[0].index, 0x2ff);
        assert_int_equal(vcpu->msr[0].data, 0x806);
        assert_int_equal(vcpu->msr[1].data, i == 2 ? 0 : 0x1801);
    }
    assert_int_equal(fake.vcpu[0].regs.rip, 0x1000200);
    assert_int_equal(fake.vcpu[0].regs.rsi, 0x7000);
    assert_int_equal(fake.vcpu[0].sregs.apic_base, 0xfee00900);
    assert_int_equal(fake.vcpu[0].sregs.efer, 0x500);
    assert_int_equal(fake.vcpu[0].data[0], 7);
    assert_int_equal(written, 3 << 8 | 0xab);
    unmap_memory();
}

static void
test_start_fails(void **state)
{
    const struct boot_entry entry = { 0 };
    const struct options options = some_options();
    const char *what = NULL;

    (void)state;
    fake_reset(1);
    assert_int_equal(machine_create(&machine, &options, &what), 0);
    /* Both of a PC's controllers, then the start itself. */
    for (unsigned call = 1; call <= 3; call++) {
        fake.fail_at = fake.calls + call;
        assert_int_equal(machine_start(&machine, &entry, &what), FAKE_FAILURE);
        assert_int_equal(fake_ended(), 0);
        assert_int_equal(fake.vcpu[0].waits, 0);
    }
    assert_int_equal(fake.pic[0].imr, 0xff);
    assert_int_equal(fake.pic[0].elcr_mask, 0xf8);
    assert_int_equal(fake.pic[1].imr, 0xff);
    assert_int_equal(fake.pic[1].elcr_mask, 0xde);
    unmap_memory();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),  cmocka_unit_test(test_create_large), cmocka_unit_test(test_create_failures),
        cmocka_unit_test(test_objects), cmocka_unit_test(test_run),          cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
