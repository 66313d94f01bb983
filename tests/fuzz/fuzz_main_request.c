/*
 * Main requests as a hostile plugin sends them. An input is a row of datagrams: for each a byte that says whether a
 * memfd comes with it, two bytes of length, and so many bytes. Each is unpacked and served as the server does it, its
 * answer is packed, and at the end nothing may be left of the objects.
 */
#include "tests/fuzz/fake_kvm.h"

#include "common/fd.h"
#include "common/log.h"
#include "vmproc/request.h"
#include "vmproc/vcpu.h"
#include "vmproc/vm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEADER 3
#define MEMORY_SIZE (64 * 4096)

struct fixture {
    struct vm *vm;
    struct arena request_arena;
    struct arena reply_arena;
    int memfd;
    uint8_t response[WIRE_RESPONSE_MAX];
    struct reply reply;
};

static void
make_vm(struct fixture *fixture)
{
    struct vm_config config = {
        .kvm = eventfd(0, EFD_CLOEXEC), .keeper = -1, .vcpu_count = 2, .memory_limit = 1 << 20,
        .network = { .tap = eventfd(0, 0) },
    };
    char text[LIMIT_ENDED_TEXT];

    if (vm_create(&config, &fixture->vm, text, sizeof text) < 0)
        abort();
}

static void
destroy_vm(struct fixture *fixture)
{
    vm_stop(fixture->vm);
    vm_destroy(fixture->vm);
}

static struct fixture *
make_fixture(void)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    if (fixture == NULL || arena_create(&fixture->request_arena, LIMIT_REQUEST_ARENA) < 0 ||
        arena_create(&fixture->reply_arena, LIMIT_REPLY_ARENA) < 0)
        abort();
    fixture->memfd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ftruncate(fixture->memfd, MEMORY_SIZE) < 0 || fcntl(fixture->memfd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        abort();
    log_set_level(LOG_LEVEL_ERROR);
    make_vm(fixture);
    return fixture;
}

static void
serve(struct fixture *fixture, bool with_memfd, const uint8_t *data, size_t size)
{
    struct message_fds fds = { .fd = { fixture->memfd }, .count = with_memfd ? 1 : 0 };
    struct main_request request = { .fds = &fds, .connections_left = true };
    struct reply *reply = &fixture->reply;

    arena_reset(&fixture->request_arena);
    arena_reset(&fixture->reply_arena);
    request.message = message_unpack(&fixture->request_arena, &main_request__descriptor, data, size);
    if (request.message == NULL)
        return;
    dispatch_main_request(fixture->vm, &request, &fixture->reply_arena, reply);
    /* Whatever was asked, there is an answer, and it fits. */
    if (message_pack(&reply->message.base, fixture->response, sizeof fixture->response) <= 0)
        abort();
    if ((reply->message.error == 0) == (reply->message.message_case == MAIN_RESPONSE__MESSAGE__NOT_SET))
        abort();
    reply_close_fds(reply);
}

static void
clean_up(struct fixture *fixture)
{
    struct object *object;

    while ((object = objects_any(&fixture->vm->objects)) != NULL)
        object_destroy(fixture->vm, object);
    if (fixture->vm->memory_used != 0)
        abort();
    for (int kind = 0; kind < OBJECT_KINDS; kind++)
        if (fixture->vm->objects.count[kind] != 0)
            abort();
    memset(&fixture->vm->ranges, 0, sizeof fixture->vm->ranges);
    if (fixture->vm->started) {
        destroy_vm(fixture);
        make_vm(fixture);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fixture *fixture;

    if (fixture == NULL)
        fixture = make_fixture();
    while (size >= HEADER) {
        size_t length = (size_t)data[1] | (size_t)data[2] << 8;
        bool with_memfd = (data[0] & 1) != 0;

        data += HEADER;
        size -= HEADER;
        if (length > size)
            length = size;
        if (length > WIRE_REQUEST_MAX)
            length = WIRE_REQUEST_MAX;
        if (length > 0)
            serve(fixture, with_memfd, data, length);
        data += length;
        size -= length;
    }
    clean_up(fixture);
    return 0;
}
