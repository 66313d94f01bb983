/*
 * The processor that a guest of microvm's sees: what is made of KVM's lists, one as an Intel host has it and one as an AMD host has it, and
 * what masks take away.
 */
#include "plugin/microvm/cpuid_mask.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX

/* With nested virtualization and counters on, and the topology as KVM gives it now: nothing, and the asking processor's APIC id. */
static struct cpuid_list
intel(void)
{
    static const struct kvm_cpuid_entry2 entries[] = {
        { .function = 0, .eax = 0x1f, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69 },
        { .function = 1, .eax = 0x606a6, .ebx = 0x01020800, .ecx = 0x0000803f, .edx = 0x0f8bfbff },
        { .function = 4, .index = 0, .flags = INDEXED, .eax = 0x04000121, .ebx = 0x02c0003f },
        { .function = 4, .index = 2, .flags = INDEXED, .eax = 0x04004143 },
        { .function = 4, .index = 3, .flags = INDEXED, .eax = 0x04004163 },
        { .function = 4, .index = 4, .flags = INDEXED },
        { .function = 7, .index = 0, .flags = INDEXED, .eax = 1, .ebx = 0xffffffff, .edx = 0x10 },
        { .function = 7, .index = 1, .flags = INDEXED, .ebx = 0xffffffff },
        { .function = 0xa, .eax = 0x08300805, .ebx = 1, .ecx = 2, .edx = 0x8604 },
        { .function = 0xb, .index = 0, .flags = INDEXED, .edx = 77 },
        { .function = 0x1f, .index = 0, .flags = INDEXED, .edx = 77 },
        { .function = 0x80000001, .ecx = 0x121, .edx = 0x2c100800 },
        { .function = 0x80000008, .eax = 0x392e },
        { .function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d },
        { .function = 0x40000001, .eax = 0x01007efb },
    };
    struct cpuid_list list = { .count = sizeof entries / sizeof entries[0] };

    memcpy(list.entry, entries, sizeof entries);
    return list;
}

/* An older KVM, that gives the host's topology. */
static struct cpuid_list
amd(void)
{
    static const struct kvm_cpuid_entry2 entries[] = {
        { .function = 0, .eax = 0x10, .ebx = 0x68747541, .ecx = 0x444d4163, .edx = 0x69746e65 },
        { .function = 1, .ebx = 0x05400800, .ecx = 0x80000201, .edx = 0x178bfbff },
        { .function = 4, .index = 0, .flags = INDEXED },
        { .function = 0xb, .index = 0, .flags = INDEXED, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 5 },
        { .function = 0xb, .index = 1, .flags = INDEXED, .eax = 6, .ebx = 64, .ecx = 0x201, .edx = 5 },
        { .function = 0x80000001, .ecx = 0x11c003f7, .edx = 0x2fd3fbff },
        { .function = 0x80000008, .eax = 0x3030, .ebx = 0x1000, .ecx = 0x0003603f },
        { .function = 0x8000000a, .eax = 1, .ebx = 0x8000, .edx = 0xff },
        { .function = 0x8000001d, .index = 0, .flags = INDEXED, .eax = 0x00004121 },
        { .function = 0x8000001d, .index = 3, .flags = INDEXED, .eax = 0x0003c163 },
        { .function = 0x8000001e, .eax = 5, .ebx = 0x102, .ecx = 0x303 },
        { .function = 0x80000022, .eax = 1, .ebx = 6 },
    };
    struct cpuid_list list = { .count = sizeof entries / sizeof entries[0] };

    memcpy(list.entry, entries, sizeof entries);
    return list;
}

static const struct kvm_cpuid_entry2 *
leaf(const struct cpuid_list *list, uint32_t function, uint32_t index)
{
    const struct kvm_cpuid_entry2 *found = NULL;

    for (uint32_t i = 0; i < list->count; i++) {
        if (list->entry[i].function != function || list->entry[i].index != index)
            continue;
        assert_null(found);
        found = &list->entry[i];
    }
    assert_non_null(found);
    return found;
}

static void
expect(const struct cpuid_list *list, uint32_t function, uint32_t index, const uint32_t registers[4])
{
    const struct kvm_cpuid_entry2 *entry = leaf(list, function, index);

    if (entry->eax != registers[0] || entry->ebx != registers[1] || entry->ecx != registers[2] || entry->edx != registers[3])
        fail_msg("leaf %#x.%u is %08x %08x %08x %08x, expected %08x %08x %08x %08x", function, index, entry->eax, entry->ebx, entry->ecx,
                 entry->edx, registers[0], registers[1], registers[2], registers[3]);
}

#define EXPECT(list, function, index, ...) expect(list, function, index, (const uint32_t[4]){ __VA_ARGS__ })

/* Every other leaf is as KVM has it. */
static void
expect_kept(const struct cpuid_list *list, const struct cpuid_list *before, const uint32_t *functions, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < before->count; j++)
            if (before->entry[j].function == functions[i])
                assert_memory_equal(leaf(list, functions[i], before->entry[j].index), &before->entry[j], sizeof before->entry[j]);
}

static void
test_intel(void **state)
{
    static const uint32_t kept[] = { 0, 7, 0x80000001, 0x80000008, 0x40000000, 0x40000001 };
    struct cpuid_list list = intel();
    const struct cpuid_list before = list;

    (void)state;
    assert_int_equal(cpuid_fit(&list, 2, 3, true), 0);
    /* Four ids of which three are used; no VMX, no PDCM; x2APIC, TSC deadline, hypervisor. */
    EXPECT(&list, 1, 0, 0x606a6, 0x02040800, 0x8120001f, 0x1f8bfbff);
    EXPECT(&list, 4, 0, 0x0c000121, 0x02c0003f, 0, 0);
    EXPECT(&list, 4, 2, 0x0c000143, 0, 0, 0);
    EXPECT(&list, 4, 3, 0x0c00c163, 0, 0, 0);
    EXPECT(&list, 4, 4, 0, 0, 0, 0);
    EXPECT(&list, 0xa, 0, 0, 0, 0, 0);
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t function = i == 0 ? 0xb : 0x1f;

        EXPECT(&list, function, 0, 0, 1, 0x100, 2);
        EXPECT(&list, function, 1, 2, 3, 0x201, 2);
        EXPECT(&list, function, 2, 0, 0, 2, 2);
        assert_int_equal(leaf(&list, function, 1)->flags, INDEXED);
    }
    expect_kept(&list, &before, kept, sizeof kept / sizeof kept[0]);
    assert_int_equal(list.count, before.count + 4);
}

static void
test_amd(void **state)
{
    static const uint32_t kept[] = { 0, 4 };
    struct cpuid_list list = amd();
    const struct cpuid_list before = list;

    (void)state;
    assert_int_equal(cpuid_fit(&list, 4, 5, false), 0);
    EXPECT(&list, 1, 0, 0, 0x04050800, 0x80200201, 0x178bfbff);
    EXPECT(&list, 0xb, 0, 0, 1, 0x100, 4);
    EXPECT(&list, 0xb, 1, 3, 5, 0x201, 4);
    EXPECT(&list, 0xb, 2, 0, 0, 2, 4);
    /* CmpLegacy is there; SVM and the counters are not. */
    EXPECT(&list, 0x80000001, 0, 0, 0, 0x004003f3, 0x2fd3fbff);
    EXPECT(&list, 0x80000008, 0, 0x3030, 0x1000, 0x00033004, 0);
    EXPECT(&list, 0x8000000a, 0, 0, 0, 0, 0);
    EXPECT(&list, 0x8000001d, 0, 0x00000121, 0, 0, 0);
    EXPECT(&list, 0x8000001d, 3, 0x0001c163, 0, 0, 0);
    EXPECT(&list, 0x8000001e, 0, 4, 4, 0, 0);
    EXPECT(&list, 0x80000022, 0, 0, 0, 0, 0);
    expect_kept(&list, &before, kept, sizeof kept / sizeof kept[0]);
    for (uint32_t i = 0; i < list.count; i++)
        assert_int_not_equal(list.entry[i].function, 0x1f);
}

static void
test_one_vcpu(void **state)
{
    struct cpuid_list list = intel();

    (void)state;
    assert_int_equal(cpuid_fit(&list, 0, 1, false), 0);
    EXPECT(&list, 1, 0, 0x606a6, 0x00010800, 0x8020001f, 0x0f8bfbff);
    EXPECT(&list, 4, 3, 0x00000163, 0, 0, 0);
    EXPECT(&list, 0xb, 0, 0, 1, 0x100, 0);
    EXPECT(&list, 0xb, 1, 0, 1, 0x201, 0);
    list = amd();
    assert_int_equal(cpuid_fit(&list, 0, 1, true), 0);
    EXPECT(&list, 1, 0, 0, 0x00010800, 0x81200201, 0x078bfbff);
    EXPECT(&list, 0x80000001, 0, 0, 0, 0x004003f1, 0x2fd3fbff);
    EXPECT(&list, 0x80000008, 0, 0x3030, 0x1000, 0x00030000, 0);
}

/* Fields that are narrower than the number of vCPUs hold as much as they can. */
static void
test_many_vcpus(void **state)
{
    struct cpuid_list list = intel();

    (void)state;
    assert_int_equal(cpuid_fit(&list, 300, 301, false), 0);
    assert_int_equal(leaf(&list, 1, 0)->ebx, (300U & 0xff) << 24 | 0xff0800);
    EXPECT(&list, 4, 3, 63U << 26 | 511U << 14 | 0x163, 0, 0, 0);
    EXPECT(&list, 0xb, 1, 9, 301, 0x201, 300);
    list = amd();
    assert_int_equal(cpuid_fit(&list, 300, 301, false), 0);
    EXPECT(&list, 0x80000008, 0, 0x3030, 0x1000, 0x000390ff, 0);
    EXPECT(&list, 0x8000001e, 0, 300, 300 & 0xff, 0, 0);
}

/* A processor without the topology's leaves gets none; a list without room for them is refused. */
static void
test_room(void **state)
{
    struct cpuid_list list = intel(), full;

    (void)state;
    list.entry[0].eax = 0xa;
    list.count = 9;
    assert_int_equal(cpuid_fit(&list, 0, 2, false), 0);
    assert_int_equal(list.count, 9);
    list = intel();
    for (uint32_t added = 0x80000100; list.count < CPUID_ENTRIES_MAX - 3; added++)
        list.entry[list.count++].function = added;
    full = list;
    assert_int_equal(cpuid_fit(&list, 0, 2, false), -E2BIG);
    list = full;
    list.count--;
    assert_int_equal(cpuid_fit(&list, 0, 2, false), 0);
    assert_int_equal(list.count, CPUID_ENTRIES_MAX);
    list.count = 0;
    assert_int_equal(cpuid_fit(&list, 0, 2, false), 0);
    assert_int_equal(list.count, 0);
}

static void
test_mask_words(void **state)
{
    static const char *const wrong[] = {
        "", "avx3", "AVX2", "7", "7:", "7:ebx", "7:ebx=", "7:ebx=0x", "7:ebx=-1", "7:ebx= 1", "7:rbx=1", "7:ebx=1 ", "7:ebx=0x100000000",
        "4294967296:ebx=1", "7.:ebx=1", ".0:ebx=1", "7.0.0:ebx=1", "a:ebx=1", "7:ebx=a", "7:ebx=0xg", "7,ebx=1", "7:ebx=4294967296",
        "+7:ebx=1",
    };
    struct cpuid_mask mask;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(cpuid_mask_parse(wrong[i], &mask), -EINVAL);
    assert_int_equal(cpuid_mask_parse("avx2", &mask), 0);
    assert_int_equal(mask.leaf, 7);
    assert_int_equal(mask.from, CPUID_EBX);
    assert_int_equal(mask.bits, 0x20);
    assert_false(mask.all_subleaves);
    assert_int_equal(cpuid_mask_parse("hypervisor", &mask), 0);
    assert_int_equal(mask.bits, 1U << 31);
    assert_int_equal(cpuid_mask_parse("0x80000001:edx=0x100000", &mask), 0);
    assert_int_equal(mask.leaf, 0x80000001);
    assert_true(mask.all_subleaves);
    assert_int_equal(mask.from, CPUID_EDX);
    assert_int_equal(mask.bits, 0x100000);
    assert_int_equal(cpuid_mask_parse("13.1:eax=4294967295", &mask), 0);
    assert_int_equal(mask.leaf, 13);
    assert_int_equal(mask.subleaf, 1);
    assert_false(mask.all_subleaves);
    assert_int_equal(mask.bits, UINT32_MAX);
}

static void
test_masks(void **state)
{
    struct cpuid_list list = intel();
    struct cpuid_mask masks[3];

    (void)state;
    assert_int_equal(cpuid_mask_parse("avx2", &masks[0]), 0);
    assert_int_equal(cpuid_mask_parse("7:ebx=0xff000000", &masks[1]), 0);
    assert_int_equal(cpuid_mask_parse("0x40000001:eax=0x1", &masks[2]), 0);
    cpuid_mask_apply(masks, 3, &list);
    EXPECT(&list, 7, 0, 1, 0x00ffffdf, 0, 0x10);
    EXPECT(&list, 7, 1, 0, 0x00ffffff, 0, 0);
    EXPECT(&list, 0x40000001, 0, 0x01007efa, 0, 0, 0);
    EXPECT(&list, 1, 0, 0x606a6, 0x01020800, 0x0000803f, 0x0f8bfbff);
    assert_int_equal(cpuid_mask_parse("1:eax=0xffff", &masks[0]), 0);
    assert_int_equal(cpuid_mask_parse("1:ecx=0x1", &masks[1]), 0);
    assert_int_equal(cpuid_mask_parse("1:edx=0x1", &masks[2]), 0);
    cpuid_mask_apply(masks, 3, &list);
    EXPECT(&list, 1, 0, 0x60000, 0x01020800, 0x0000803e, 0x0f8bfbfe);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_intel),      cmocka_unit_test(test_amd),        cmocka_unit_test(test_one_vcpu),
        cmocka_unit_test(test_many_vcpus), cmocka_unit_test(test_room),       cmocka_unit_test(test_mask_words),
        cmocka_unit_test(test_masks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
