/* The messages that are read and written by hand are byte for byte those of protobuf-c. */
#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "proto/vcpu_wire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 20000

static uint8_t bytes[4096];

/* Lengths around what matters: none, one byte of length, two, the structures' own. */
static ProtobufCBinaryData
random_bytes(void)
{
    static const size_t lengths[] = { 0, 0, 0, 1, 2, 4, 8, 127, 128, 144, 312, 4096 };

    return (ProtobufCBinaryData){ .len = lengths[(size_t)random() % (sizeof lengths / sizeof lengths[0])],
                                  .data = bytes };
}

static uint64_t
random_number(void)
{
    uint64_t value = (uint64_t)random() << 33 ^ (uint64_t)random() << 2 ^ (uint64_t)random();

    return value >> (random() % 65 == 64 ? 63 : random() % 64);
}

static void
assert_same_bytes(const ProtobufCBinaryData *one, const ProtobufCBinaryData *other)
{
    assert_int_equal(one->len, other->len);
    if (one->len > 0)
        assert_memory_equal(one->data, other->data, one->len);
}

/* What is taken by hand is what protobuf-c reads; says whether it was taken. */
static bool
check_resume(struct arena *arena, const uint8_t *data, size_t size)
{
    VcpuRequest__Resume ours;
    const VcpuRequest *theirs;

    if (!vcpu_wire_get_resume(data, size, &ours))
        return false;
    arena_reset(arena);
    theirs = message_unpack(arena, &vcpu_request__descriptor, data, size);
    assert_non_null(theirs);
    assert_int_equal(theirs->message_case, VCPU_REQUEST__MESSAGE_RESUME);
    assert_false(message_has_unknown_fields(&theirs->base));
    assert_same_bytes(&ours.data, &theirs->resume->data);
    assert_same_bytes(&ours.regs, &theirs->resume->regs);
    assert_same_bytes(&ours.sregs, &theirs->resume->sregs);
    assert_same_bytes(&ours.debugregs, &theirs->resume->debugregs);
    return true;
}

/* What is taken by hand is what protobuf-c reads; says whether it was taken. */
static bool
check_access(struct arena *arena, const uint8_t *data, size_t size)
{
    VcpuResponse__Wait__Io ours;
    const VcpuResponse__Wait__Io *theirs;
    const VcpuResponse *response;

    if (!vcpu_wire_get_io(data, size, &ours))
        return false;
    arena_reset(arena);
    response = message_unpack(arena, &vcpu_response__descriptor, data, size);
    assert_non_null(response);
    assert_int_equal(response->error, 0);
    assert_int_equal(response->message_case, VCPU_RESPONSE__MESSAGE_WAIT);
    assert_int_equal(response->wait->exit_case, VCPU_RESPONSE__WAIT__EXIT_IO);
    assert_false(message_has_unknown_fields(&response->base));
    theirs = response->wait->io;
    assert_int_equal(ours.space, theirs->space);
    assert_int_equal(ours.address, theirs->address);
    assert_int_equal(ours.is_write, theirs->is_write);
    assert_int_equal(ours.no_resume, theirs->no_resume);
    assert_same_bytes(&ours.data, &theirs->data);
    assert_same_bytes(&ours.regs, &theirs->regs);
    assert_same_bytes(&ours.sregs, &theirs->sregs);
    assert_same_bytes(&ours.debugregs, &theirs->debugregs);
    return true;
}

/* Bytes of a message damaged, mostly where its structure is: by hand and by protobuf-c it must still be the same, if it is taken at all. */
static void
check_damaged(bool (*check)(struct arena *, const uint8_t *, size_t), struct arena *arena, uint8_t *data, size_t size)
{
    for (int damage = 0; damage < 4; damage++) {
        data[(size_t)random() % (size < 20 ? size : 20)] = (uint8_t)random();
        check(arena, data, size);
    }
}

static int
make_arena(void **state)
{
    static struct arena arena;

    srandom(7);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)random();
    *state = &arena;
    return arena_create(&arena, 1 << 20);
}

static int
destroy_arena(void **state)
{
    arena_destroy(*state);
    return 0;
}

static void
test_accesses_are_those_of_protobuf(void **state)
{
    static uint8_t ours[5 * 4096], theirs[5 * 4096];
    VcpuResponse response = VCPU_RESPONSE__INIT;
    VcpuResponse__Wait wait = VCPU_RESPONSE__WAIT__INIT;
    VcpuResponse__Wait__Io io = VCPU_RESPONSE__WAIT__IO__INIT;

    response.message_case = VCPU_RESPONSE__MESSAGE_WAIT;
    response.wait = &wait;
    wait.exit_case = VCPU_RESPONSE__WAIT__EXIT_IO;
    wait.io = &io;
    for (int round = 0; round < ROUNDS; round++) {
        io.space = (AddressSpace)(random() & 1);
        io.address = random_number();
        io.is_write = (random() & 1) != 0;
        io.no_resume = (random() & 1) != 0;
        io.data = random_bytes();
        io.regs = random_bytes();
        io.sregs = random_bytes();
        io.debugregs = random_bytes();
        ssize_t size = message_pack(&response.base, theirs, sizeof theirs);

        assert_true(size > 0);
        assert_int_equal(vcpu_wire_put_io(&io, ours, (size_t)size), size);
        assert_memory_equal(ours, theirs, (size_t)size);
        assert_int_equal(vcpu_wire_put_io(&io, ours, (size_t)size - 1), -EMSGSIZE);
        assert_true(check_access(*state, theirs, (size_t)size));
        assert_false(check_access(*state, theirs, (size_t)size - 1));
        check_damaged(check_access, *state, theirs, (size_t)size);
    }
}

static void
test_resumes_are_those_of_protobuf(void **state)
{
    static uint8_t ours[5 * 4096], theirs[5 * 4096];
    VcpuRequest request = VCPU_REQUEST__INIT;
    VcpuRequest__Resume resume = VCPU_REQUEST__RESUME__INIT;

    request.message_case = VCPU_REQUEST__MESSAGE_RESUME;
    request.resume = &resume;
    for (int round = 0; round < ROUNDS; round++) {
        resume.data = random_bytes();
        resume.regs = random_bytes();
        resume.sregs = random_bytes();
        resume.debugregs = random_bytes();
        ssize_t size = message_pack(&request.base, theirs, sizeof theirs);

        assert_true(size > 0);
        assert_int_equal(vcpu_wire_put_resume(&resume, ours, (size_t)size), size);
        assert_memory_equal(ours, theirs, (size_t)size);
        assert_int_equal(vcpu_wire_put_resume(&resume, ours, (size_t)size - 1), -EMSGSIZE);
        assert_true(check_resume(*state, theirs, (size_t)size));
        assert_false(check_resume(*state, theirs, (size_t)size - 1));
        check_damaged(check_resume, *state, theirs, (size_t)size);
    }
}

static void
test_other_requests_are_left_alone(void **state)
{
    static const struct {
        uint8_t bytes[8];
        size_t size;
    } others[] = {
        { { 0x0a, 0x00 }, 2 },                         /* wait */
        { { 0x12 }, 1 },                               /* cut */
        { { 0x12, 0x80 }, 2 },                         /* cut within its length */
        { { 0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0 }, 7 }, /* a length of more bytes than protobuf-c reads */
        { { 0x12, 0x00, 0x00 }, 3 },                   /* more than it says */
        { { 0x12, 0x02, 0x2a, 0x00 }, 4 },             /* field 5 */
        { { 0x12, 0x02, 0x08, 0x01 }, 4 },             /* data as a number */
        { { 0x12, 0x02, 0x0a, 0x01 }, 4 },             /* data longer than what is there */
        { { 0x12, 0x04, 0x0a, 0x00, 0x0a, 0x00 }, 6 }, /* data twice */
        { { 0x12, 0x01, 0x0a }, 3 },                   /* a tag without a length */
    };
    VcpuRequest__Resume resume;

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(vcpu_wire_get_resume(others[i].bytes, others[i].size, &resume));
}

static void
test_other_responses_are_left_alone(void **state)
{
    static const struct {
        uint8_t bytes[12];
        size_t size;
    } others[] = {
        { { 0x12, 0x02, 0x0a, 0x00 }, 4 },                         /* init */
        { { 0x12, 0x00 }, 2 },                                     /* a wait without its event */
        { { 0x08, 0x02 }, 2 },                                     /* an errno */
        { { 0x12, 0x02, 0x12, 0x00, 0x00 }, 5 },                   /* more than it says */
        { { 0x12, 0x02, 0x12, 0x01 }, 4 },                         /* less than the inner one says */
        { { 0x12, 0x04, 0x12, 0x02, 0x08, 0x02 }, 6 },             /* a space that there is not */
        { { 0x12, 0x04, 0x12, 0x02, 0x0a, 0x00 }, 6 },             /* the space as bytes */
        { { 0x12, 0x04, 0x12, 0x02, 0x48, 0x01 }, 6 },             /* field 9 */
        { { 0x12, 0x06, 0x12, 0x04, 0x10, 0x01, 0x10, 0x01 }, 8 }, /* the address twice */
        { { 0x12, 0x03, 0x12, 0x01, 0x10 }, 5 },                   /* a tag without its number */
        { { 0x12, 0x04, 0x12, 0x02, 0x2a, 0x01 }, 6 },             /* data longer than what is there */
    };
    VcpuResponse__Wait__Io io;

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(vcpu_wire_get_io(others[i].bytes, others[i].size, &io));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_accesses_are_those_of_protobuf, make_arena, destroy_arena),
        cmocka_unit_test_setup_teardown(test_resumes_are_those_of_protobuf, make_arena, destroy_arena),
        cmocka_unit_test(test_other_requests_are_left_alone),
        cmocka_unit_test(test_other_responses_are_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
