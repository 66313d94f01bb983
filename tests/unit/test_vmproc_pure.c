/* What vmproc decides without a VM: ranges, hints, objects, rates, CPUID tables, where a vCPU's request ends. */
#include "proto/plugin.pb-c.h"
#include "vmproc/bucket.h"
#include "vmproc/cpuid_table.h"
#include "vmproc/hint.h"
#include "vmproc/objects.h"
#include "vmproc/ranges.h"
#include "vmproc/vcpu.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ranges *
make_ranges(void)
{
    struct ranges *ranges = calloc(1, sizeof *ranges);

    assert_non_null(ranges);
    return ranges;
}

static void
test_ranges_hold_their_addresses(void **state)
{
    struct ranges *ranges = make_ranges();

    (void)state;
    assert_int_equal(ranges_add(ranges, 0, 0x600, 1, RANGE_AWAITED), 0);
    assert_int_equal(ranges_add(ranges, 1, 0x600, 0x100, RANGE_ASYNC), 0);
    assert_null(ranges_find(ranges, 0, 0x5ff));
    assert_non_null(ranges_find(ranges, 0, 0x600));
    assert_int_equal(ranges_find(ranges, 0, 0x600)->kind, RANGE_AWAITED);
    assert_null(ranges_find(ranges, 0, 0x601));
    assert_int_equal(ranges_find(ranges, 1, 0x6ff)->kind, RANGE_ASYNC);
    assert_null(ranges_find(ranges, 1, 0x700));
    assert_null(ranges_find(ranges, 1, 0));
    assert_null(ranges_find(ranges, 1, UINT64_MAX));
    free(ranges);
}

static void
test_ranges_refuse_overlap_to_the_last_byte(void **state)
{
    struct ranges *ranges = make_ranges();

    (void)state;
    assert_int_equal(ranges_add(ranges, 1, 0x1000, 0x1000, RANGE_AWAITED), 0);
    assert_int_equal(ranges_add(ranges, 1, 0x1000, 0x1000, RANGE_AWAITED), -EPERM);
    assert_int_equal(ranges_add(ranges, 1, 0x1fff, 1, RANGE_ASYNC), -EPERM);
    assert_int_equal(ranges_add(ranges, 1, 0xfff, 2, RANGE_AWAITED), -EPERM);
    assert_int_equal(ranges_add(ranges, 1, 0, 0x10000, RANGE_AWAITED), -EPERM);
    assert_int_equal(ranges_add(ranges, 1, 0x1800, 0x10, RANGE_AWAITED), -EPERM);
    assert_int_equal(ranges_add(ranges, 1, 0xfff, 1, RANGE_AWAITED), 0);
    assert_int_equal(ranges_add(ranges, 1, 0x2000, 1, RANGE_AWAITED), 0);
    assert_int_equal(ranges_add(ranges, 0, 0x1000, 0x1000, RANGE_AWAITED), 0);
    free(ranges);
}

static void
test_ranges_end_below_the_top(void **state)
{
    struct ranges *ranges = make_ranges();

    (void)state;
    assert_int_equal(ranges_add(ranges, 1, UINT64_MAX, 1, RANGE_AWAITED), -EINVAL);
    assert_int_equal(ranges_add(ranges, 1, UINT64_MAX - 1, 2, RANGE_AWAITED), -EINVAL);
    assert_int_equal(ranges_add(ranges, 1, 2, UINT64_MAX, RANGE_AWAITED), -EINVAL);
    assert_int_equal(ranges_add(ranges, 1, UINT64_MAX - 1, 1, RANGE_AWAITED), 0);
    assert_non_null(ranges_find(ranges, 1, UINT64_MAX - 1));
    assert_null(ranges_find(ranges, 1, UINT64_MAX));
    assert_int_equal(ranges_add(ranges, 0, 0, 0, RANGE_AWAITED), -EINVAL);
    assert_int_equal(ranges_add(ranges, 2, 0, 1, RANGE_AWAITED), -EINVAL);
    free(ranges);
}

static void
test_ranges_are_released_by_their_start(void **state)
{
    struct ranges *ranges = make_ranges();

    (void)state;
    assert_int_equal(ranges_remove(ranges, 0, 0), -ENOENT);
    assert_int_equal(ranges_add(ranges, 0, 0, 0x10, RANGE_AWAITED), 0);
    assert_int_equal(ranges_remove(ranges, 0, 1), -ENOENT);
    assert_int_equal(ranges_remove(ranges, 1, 0), -ENOENT);
    assert_int_equal(ranges_remove(ranges, 2, 0), -EINVAL);
    assert_int_equal(ranges_remove(ranges, 0, 0), 0);
    assert_null(ranges_find(ranges, 0, 0));
    assert_int_equal(ranges_remove(ranges, 0, 0), -ENOENT);
    free(ranges);
}

/* Against a plain list, with random ranges: the same verdicts, the same contents. */
static void
test_ranges_agree_with_a_plain_list(void **state)
{
    struct ranges *ranges = make_ranges();
    bool taken[256] = { false };
    uint8_t length_at[256] = { 0 };

    (void)state;
    srandom(1);
    for (int round = 0; round < 20000; round++) {
        unsigned start = (unsigned)random() % 256, length = (unsigned)random() % 6;
        int expected = 0;

        if (length == 0) {
            expected = length_at[start] > 0 ? 0 : -ENOENT;
            assert_int_equal(ranges_remove(ranges, 1, start), expected);
            if (expected == 0)
                memset(&taken[start], 0, length_at[start]);
            if (expected == 0)
                length_at[start] = 0;
        } else if (start + length <= 256) {
            for (unsigned i = 0; i < length; i++)
                if (taken[start + i])
                    expected = -EPERM;
            assert_int_equal(ranges_add(ranges, 1, start, length, RANGE_AWAITED), expected);
            if (expected == 0)
                memset(&taken[start], 1, length);
            if (expected == 0)
                length_at[start] = (uint8_t)length;
        }
        start = (unsigned)random() % 256;
        assert_int_equal(ranges_find(ranges, 1, start) != NULL, taken[start]);
    }
    free(ranges);
}

static void
test_ranges_are_limited(void **state)
{
    struct ranges *ranges = make_ranges();

    (void)state;
    for (uint64_t i = 0; i < LIMIT_RANGES; i++)
        assert_int_equal(ranges_add(ranges, (uint32_t)(i & 1), 2 * i, 1, RANGE_AWAITED), 0);
    assert_int_equal(ranges_add(ranges, 0, 0x100000, 1, RANGE_AWAITED), -ENOSPC);
    assert_int_equal(ranges_remove(ranges, 0, 0), 0);
    assert_int_equal(ranges_add(ranges, 1, 0x100000, 1, RANGE_AWAITED), 0);
    free(ranges);
}

static void
test_hint_matches_space_address_direction(void **state)
{
    const struct hint none = { 0 }, hint = { .space = 1, .address = 0x1000, .on_write = true };

    (void)state;
    assert_false(hint_matches_access(&none, 0, 0, false));
    assert_true(hint_matches_access(&hint, 1, 0x1000, true));
    assert_false(hint_matches_access(&hint, 0, 0x1000, true));
    assert_false(hint_matches_access(&hint, 1, 0x1001, true));
    assert_false(hint_matches_access(&hint, 1, 0x1000, false));
}

static void
test_hint_details_first_match_wins_on_64_bits(void **state)
{
    struct hint hint = { .address = 1, .detail_count = 3 };
    struct kvm_regs regs = { .rax = 1, .rbx = 2, .rcx = 3, .rdx = 4 };

    (void)state;
    hint.detail[0] = (struct hint_detail){ .match_rax = true, .rax = 1ULL << 32 | 1 };
    hint.detail[1] = (struct hint_detail){ .match_rax = true, .rax = 1, .match_rdx = true, .rdx = 4 };
    hint.detail[2] = (struct hint_detail){ .rbx = 77 };
    assert_ptr_equal(hint_find_detail(&hint, &regs), &hint.detail[1]);
    regs.rdx = 5;
    assert_ptr_equal(hint_find_detail(&hint, &regs), &hint.detail[2]);
    regs.rax = 1ULL << 32 | 1;
    assert_ptr_equal(hint_find_detail(&hint, &regs), &hint.detail[0]);
    hint.detail[2].match_rbx = hint.detail[2].match_rcx = true;
    regs.rax = 9;
    assert_null(hint_find_detail(&hint, &regs));
    regs.rbx = 77;
    assert_null(hint_find_detail(&hint, &regs));
    regs.rcx = 0;
    assert_ptr_equal(hint_find_detail(&hint, &regs), &hint.detail[2]);
    hint.detail_count = 0;
    assert_null(hint_find_detail(&hint, &regs));
}

static void
test_objects_are_found_by_id_and_limited_by_kind(void **state)
{
    struct objects objects;
    struct object *object;

    (void)state;
    objects_init(&objects);
    assert_null(objects_find(&objects, 0));
    for (uint32_t id = 0; id < LIMIT_IRQ_EVENTS; id++) {
        assert_int_equal(objects_prepare(&objects, id * 7919, OBJECT_IRQ_EVENT, &object), 0);
        objects_insert(&objects, object);
    }
    assert_int_equal(objects_prepare(&objects, 1, OBJECT_IRQ_EVENT, &object), -ENOSPC);
    assert_int_equal(objects_prepare(&objects, 7919, OBJECT_MEMORY, &object), -EEXIST);
    assert_int_equal(objects_prepare(&objects, UINT32_MAX, OBJECT_MEMORY, &object), 0);
    objects_insert(&objects, object);
    assert_ptr_equal(objects_find(&objects, UINT32_MAX), object);
    objects_remove(&objects, objects_find(&objects, 0));
    assert_null(objects_find(&objects, 0));
    assert_int_equal(objects_prepare(&objects, 0, OBJECT_IRQ_EVENT, &object), 0);
    objects_discard(object);
    while ((object = objects_any(&objects)) != NULL)
        objects_remove(&objects, object);
    for (int kind = 0; kind < OBJECT_KINDS; kind++)
        assert_int_equal(objects.count[kind], 0);
}

static void
test_bucket_lets_a_burst_pass_and_then_the_rate(void **state)
{
    struct bucket bucket;
    uint64_t now = 1000000000000, wait;

    (void)state;
    bucket_init(&bucket, 1000, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(bucket_take(&bucket, now), 0);
    wait = bucket_take(&bucket, now);
    assert_int_equal(wait, 1000000);
    now += wait;
    assert_int_equal(bucket_take(&bucket, now), 1000000);
    now += 1000000000;
    for (int i = 0; i < 10; i++)
        assert_int_equal(bucket_take(&bucket, now), 0);
    assert_true(bucket_take(&bucket, now) > 0);
    bucket_init(&bucket, 1000, 2);
    assert_true(bucket_try(&bucket, now) && bucket_try(&bucket, now));
    for (int i = 0; i < 100; i++)
        assert_false(bucket_try(&bucket, now));
    assert_true(bucket_try(&bucket, now + 1000000));
}

static void
test_cpuid_entries_cross_the_wire(void **state)
{
    struct cpuid_table table, back;
    struct arena arena;
    CpuidEntry **entries;

    (void)state;
    assert_int_equal(arena_create(&arena, 1 << 20), 0);
    cpuid_table_init(&table);
    assert_int_equal(table.nent, LIMIT_CPUID_ENTRIES);
    table.nent = 3;
    table.entries[0] = (struct kvm_cpuid_entry2){ .function = 1, .eax = 1, .ebx = 2, .ecx = 0xffffffff, .edx = 4 };
    table.entries[1] =
        (struct kvm_cpuid_entry2){ .function = 7, .index = 1, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ebx = 5 };
    table.entries[2] = (struct kvm_cpuid_entry2){ .function = 0x80000001, .index = 9, .flags = 6, .ecx = 0xffffffff };
    assert_int_equal(cpuid_table_to_wire(&table, &arena, &entries), 3);
    assert_false(entries[0]->has_index);
    assert_true(entries[1]->has_index);
    assert_int_equal(entries[1]->index, 1);
    assert_false(entries[2]->has_index);
    assert_int_equal(cpuid_table_from_wire(entries, 3, &back), 0);
    assert_int_equal(back.nent, 3);
    /* A guest has no virtualization of its own: VMX and SVM are never shown to it. */
    assert_int_equal(back.entries[0].ecx, 0xffffffff & ~(1u << 5));
    assert_int_equal(back.entries[2].ecx, 0xffffffff & ~(1u << 2));
    assert_int_equal(back.entries[1].flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    assert_int_equal(back.entries[1].index, 1);
    assert_int_equal(back.entries[2].flags, 0);
    /* Without has_index an index counts for nothing. */
    assert_int_equal(back.entries[2].index, 0);
    assert_int_equal(cpuid_table_from_wire(entries, LIMIT_CPUID_ENTRIES + 1, &back), -E2BIG);
    arena_destroy(&arena);
}

static void
test_a_vcpu_request_says_where_it_ends(void **state)
{
    static const uint8_t wait[] = { 0x0a, 0x00 }, resume[] = { 0x12, 0x03, 0x0a, 0x01, 0x2a, 0x0a, 0x00 };
    static const uint8_t varint[] = { 0x08, 0x80, 0x01 }, fixed64[] = { 0x09, 1, 2, 3 }, fixed32[] = { 0x0d },
                         group[] = { 0x0b };
    static const uint8_t long_length[] = { 0x12, 0xff, 0xff, 0xff, 0x7f },
                         endless[] = { 0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80 };
    static const uint8_t longest[] = { 0x12, 0xfc, 0xff, 0x0f }, too_long[] = { 0x12, 0xfd, 0xff, 0x0f };

    (void)state;
    assert_int_equal(vcpu_pipe_measure(wait, 0), 0);
    assert_int_equal(vcpu_pipe_measure(wait, 1), 0);
    assert_int_equal(vcpu_pipe_measure(wait, 2), 2);
    for (size_t size = 2; size <= sizeof resume; size++)
        assert_int_equal(vcpu_pipe_measure(resume, size), 5);
    assert_int_equal(vcpu_pipe_measure(varint, 2), 0);
    assert_int_equal(vcpu_pipe_measure(varint, 3), 3);
    assert_int_equal(vcpu_pipe_measure(fixed64, 4), 9);
    assert_int_equal(vcpu_pipe_measure(fixed32, 1), 5);
    assert_int_equal(vcpu_pipe_measure(group, 1), -EBADMSG);
    assert_int_equal(vcpu_pipe_measure(long_length, sizeof long_length), -EBADMSG);
    assert_int_equal(vcpu_pipe_measure(endless, sizeof endless), -EBADMSG);
    assert_int_equal(vcpu_pipe_measure(longest, sizeof longest), WIRE_VCPU_MESSAGE_MAX);
    assert_int_equal(vcpu_pipe_measure(too_long, sizeof too_long), -EBADMSG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_hold_their_addresses),
        cmocka_unit_test(test_ranges_refuse_overlap_to_the_last_byte),
        cmocka_unit_test(test_ranges_end_below_the_top),
        cmocka_unit_test(test_ranges_are_released_by_their_start),
        cmocka_unit_test(test_ranges_agree_with_a_plain_list),
        cmocka_unit_test(test_ranges_are_limited),
        cmocka_unit_test(test_hint_matches_space_address_direction),
        cmocka_unit_test(test_hint_details_first_match_wins_on_64_bits),
        cmocka_unit_test(test_objects_are_found_by_id_and_limited_by_kind),
        cmocka_unit_test(test_bucket_lets_a_burst_pass_and_then_the_rate),
        cmocka_unit_test(test_cpuid_entries_cross_the_wire),
        cmocka_unit_test(test_a_vcpu_request_says_where_it_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
