/*
 * The library's end of a vCPU's channel, against a vmproc that the test plays: what that says lies in the channel before it is waited
 * for, but where the library is to sleep.
 */
#include "plugin/lib/channel.h"
#include "plugin/lib/vcpu.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })
#define PATTERN(i) ((uint8_t)((i)*7 + 1))

struct host {
    struct vcpu_channel *channel;
    int responses; /* the pipe's end that wakes and hangs up; -1: it has hung up */
    int requests;  /* nothing may come out of it */
    uint32_t sequence, tail, heard;
    struct vmsup_vcpu *vcpu;
    uint32_t until; /* how the library sleeps when something is done to it */
    void (*action)(struct host *host);
};

static void
say(struct host *host, uint32_t kind, uint32_t size, uint32_t states)
{
    struct vcpu_channel_wait wait = { 0 };

    host->channel->response.kind = kind;
    host->channel->response.size = size;
    host->channel->response.states = states;
    atomic_store(&host->channel->response.sequence, ++host->sequence);
    vcpu_channel_wake(&wait, &host->channel->plugin_sleeps, host->responses);
}

static void
say_message(struct host *host, const uint8_t *bytes, size_t size)
{
    memcpy(host->channel->response_payload, bytes, size);
    say(host, VCPU_CHANNEL_MESSAGE, (uint32_t)size, 0);
}

static void
say_access(struct host *host, bool is_write, uint64_t address, const uint8_t *data, uint32_t size, uint32_t states)
{
    struct vcpu_channel_response *response = &host->channel->response;

    response->space = ADDRESS_SPACE__MMIO;
    response->is_write = is_write;
    response->address = address;
    if (is_write)
        memcpy(size <= VCPU_CHANNEL_INLINE ? response->data : host->channel->response_payload, data, size);
    say(host, VCPU_CHANNEL_ACCESS, size, states);
}

static void
put_entry(struct host *host, uint32_t size, uint64_t address)
{
    const struct vcpu_channel_entry entry = { size, ADDRESS_SPACE__IOPORT, address };
    uint8_t *place = host->channel->ring + host->tail % VCPU_CHANNEL_RING_SIZE;

    memcpy(place, &entry, sizeof entry);
    for (uint32_t i = 0; i < size; i++)
        place[sizeof entry + i] = PATTERN(i);
    host->tail += vcpu_channel_entry_space(size);
    atomic_store(&host->channel->ring_tail, host->tail);
}

static void
expect_message(struct host *host, const uint8_t *bytes, size_t size)
{
    const struct vcpu_channel_request *request = &host->channel->request;

    assert_int_equal(request->sequence, ++host->heard);
    assert_int_equal(request->kind, VCPU_CHANNEL_MESSAGE);
    assert_int_equal(request->size, size);
    assert_memory_equal(host->channel->request_payload, bytes, size);
}

static void
expect_resume(struct host *host, uint32_t size, uint32_t states, uint32_t looked)
{
    const struct vcpu_channel_request *request = &host->channel->request;

    assert_int_equal(request->sequence, ++host->heard);
    assert_int_equal(request->kind, VCPU_CHANNEL_RESUME);
    assert_int_equal(request->size, size);
    assert_int_equal(request->states, states);
    assert_int_equal(request->looked, looked);
}

static void
expect_nothing(struct host *host)
{
    assert_int_equal(host->channel->request.sequence, host->heard);
    assert_int_equal(read(host->requests, &(uint8_t){ 0 }, 1), -1);
}

/* Past INIT. */
static int
set_up(void **state)
{
    struct host *host = calloc(1, sizeof *host);
    int memfd = memfd_create("channels", MFD_CLOEXEC), up[2], down[2];
    struct vmsup_vcpu_event event;

    assert_int_equal(ftruncate(memfd, 2 * (off_t)VCPU_CHANNEL_SIZE), 0);
    assert_int_equal(pipe2(up, O_CLOEXEC), 0);
    assert_int_equal(pipe2(down, O_CLOEXEC), 0);
    fcntl(up[0], F_SETFL, O_NONBLOCK);
    host->requests = up[0];
    host->responses = down[1];
    assert_int_equal(vcpu_create(up[1], down[0], &host->vcpu), 0);
    /* The second of two. */
    assert_int_equal(channel_attach(host->vcpu, memfd, 1), 0);
    host->channel = mmap(NULL, VCPU_CHANNEL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, VCPU_CHANNEL_SIZE);
    assert_true(host->channel != MAP_FAILED);
    close(memfd);
    say_message(host, BYTES(0x12, 2, 0x0a, 0));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(event.kind, VMSUP_VCPU_EVENT_KIND_INIT);
    expect_message(host, BYTES(0x0a, 0));
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_resume(host, 0, 0, 0);
    *state = host;
    return 0;
}

static int
tear_down(void **state)
{
    struct host *host = *state;

    vcpu_destroy(host->vcpu);
    munmap(host->channel, VCPU_CHANNEL_SIZE);
    if (host->responses >= 0)
        close(host->responses);
    close(host->requests);
    free(host);
    return 0;
}

static void
test_accesses_of_every_length(void **state)
{
    uint8_t pattern[VCPU_CHANNEL_DATA_MAX], zeroes[VCPU_CHANNEL_DATA_MAX] = { 0 };
    struct host *host = *state;
    struct vmsup_vcpu_event event;

    for (uint32_t i = 0; i < sizeof pattern; i++)
        pattern[i] = PATTERN(i);
    for (uint32_t size = 1; size <= VCPU_CHANNEL_DATA_MAX; size++) {
        say_access(host, true, 0x123456789a, pattern, size, 0);
        assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
        assert_int_equal(event.kind, VMSUP_VCPU_EVENT_KIND_IO_ACCESS);
        assert_int_equal(event.io_access.address_space, VMSUP_ADDRESS_SPACE_MMIO);
        assert_int_equal(event.io_access.address, 0x123456789a);
        assert_int_equal(event.io_access.is_write, 1);
        assert_int_equal(event.io_access.no_resume, 0);
        assert_int_equal(event.io_access.length, size);
        assert_memory_equal(event.io_access.data, pattern, size);
        assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
        host->heard++;
        say_access(host, false, 7, NULL, size, 0);
        assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
        assert_int_equal(event.io_access.is_write, 0);
        assert_memory_equal(event.io_access.data, zeroes, size);
        memcpy(event.io_access.data, pattern, size);
        assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
        expect_resume(host, size, 0, 0);
        assert_memory_equal(size <= VCPU_CHANNEL_INLINE ? host->channel->request.data : host->channel->request_payload, pattern, size);
    }
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), -EPROTO);
    expect_nothing(host);
}

/* What was put before a response comes before it; across the ring's end, too; and each is freed as it is taken. */
static void
test_ring_comes_before_the_response(void **state)
{
    struct host *host = *state;
    struct vmsup_vcpu_event event;

    for (unsigned round = 0; round < 100; round++) {
        const uint32_t skip = VCPU_CHANNEL_RING_SKIP;

        for (uint32_t size = 1; size <= VCPU_CHANNEL_DATA_MAX; size += 819) {
            const uint32_t left = VCPU_CHANNEL_RING_SIZE - host->tail % VCPU_CHANNEL_RING_SIZE;

            if (left < vcpu_channel_entry_space(size)) {
                memcpy(host->channel->ring + host->tail % VCPU_CHANNEL_RING_SIZE, &skip, sizeof skip);
                host->tail += left;
            }
            put_entry(host, size, round + size);
        }
        say_access(host, false, 7, NULL, 4, 0);
        for (uint32_t size = 1; size <= VCPU_CHANNEL_DATA_MAX; size += 819) {
            assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
            assert_int_equal(event.io_access.no_resume, 1);
            assert_int_equal(event.io_access.is_write, 1);
            assert_int_equal(event.io_access.address_space, VMSUP_ADDRESS_SPACE_IOPORT);
            assert_int_equal(event.io_access.address, round + size);
            assert_int_equal(event.io_access.length, size);
            assert_int_equal(event.io_access.data[size - 1], PATTERN(size - 1));
            assert_int_equal(vmsup_vcpu_resume(host->vcpu), -EPROTO);
        }
        assert_int_equal(host->channel->ring_head, host->tail);
        assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
        assert_int_equal(event.io_access.no_resume, 0);
        assert_int_equal(event.io_access.length, 4);
        assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
        expect_resume(host, 4, 0, 0);
    }
}

/* --- states */

static void
test_states_that_came_are_known(void **state)
{
    struct host *host = *state;
    struct vcpu_channel_states *given = &host->channel->response_states, *set = &host->channel->request_states;
    struct vmsup_vcpu_event event;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    struct kvm_sregs sregs;
    struct kvm_regs regs;

    given->regs.rip = 1;
    given->sregs.cr0 = 2;
    given->events.flags = 3;
    given->debugregs.dr7 = 4;
    say_access(host, false, 7, NULL, 1, VCPU_CHANNEL_STATES);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(vmsup_vcpu_get_regs(host->vcpu, &regs), 0);
    assert_int_equal(vmsup_vcpu_get_sregs(host->vcpu, &sregs), 0);
    assert_int_equal(vmsup_vcpu_get_vcpu_events(host->vcpu, &events), 0);
    assert_int_equal(vmsup_vcpu_get_debugregs(host->vcpu, &debugregs), 0);
    assert_true(regs.rip == 1 && sregs.cr0 == 2 && events.flags == 3 && debugregs.dr7 == 4);
    expect_nothing(host);
    regs.rip = 5;
    events.flags = 6;
    assert_int_equal(vmsup_vcpu_set_regs(host->vcpu, &regs), 0);
    assert_int_equal(vmsup_vcpu_set_vcpu_events(host->vcpu, &events), 0);
    expect_nothing(host);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_resume(host, 1, VCPU_CHANNEL_REGS | VCPU_CHANNEL_EVENTS, VCPU_CHANNEL_STATES);
    assert_int_equal(set->regs.rip, 5);
    assert_int_equal(set->events.flags, 6);
    /* What was looked at, and set, is of that event alone. */
    say_access(host, true, 7, (const uint8_t *)"x", 1, 0);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_resume(host, 1, 0, 0);
}

/* Runs `action` once the library sleeps as `until` says (0: in any way). */
static void *
act(void *context)
{
    struct host *host = context;
    uint32_t how;

    do {
        usleep(500);
        how = atomic_load(&host->channel->plugin_sleeps);
    } while (host->until != 0 ? how != host->until : how == VCPU_CHANNEL_AWAKE);
    host->action(host);
    return NULL;
}

static pthread_t
once_asleep(struct host *host, uint32_t until, void (*action)(struct host *host))
{
    pthread_t thread;

    host->until = until;
    host->action = action;
    assert_int_equal(pthread_create(&thread, NULL, act, host), 0);
    return thread;
}

static void
give_regs(struct host *host)
{
    struct kvm_regs regs = { .rip = 9 };
    uint8_t message[6 + sizeof regs] = { 0x22, 0x80 | ((3 + sizeof regs) & 0x7f), 0x01, 0x0a, 0x90, 0x01 };

    memcpy(message + 6, &regs, sizeof regs);
    say_message(host, message, sizeof message);
}

static void
test_states_that_did_not_come_are_asked_for(void **state)
{
    struct host *host = *state;
    struct vmsup_vcpu_event event;
    struct kvm_regs regs;
    pthread_t thread;

    say_access(host, true, 7, (const uint8_t *)"x", 1, 0);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
    thread = once_asleep(host, 0, give_regs);
    assert_int_equal(vmsup_vcpu_get_regs(host->vcpu, &regs), 0);
    pthread_join(thread, NULL);
    assert_int_equal(regs.rip, 9);
    expect_message(host, BYTES(0x1a, 0));
    assert_int_equal(vmsup_vcpu_get_regs(host->vcpu, &regs), 0);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_resume(host, 1, 0, VCPU_CHANNEL_REGS);
}

/* --- the end, and nonsense */

static void
end(struct host *host)
{
    struct vcpu_channel_wait wait = { 0 };

    atomic_store(&host->channel->response.ended, 1);
    vcpu_channel_wake(&wait, &host->channel->plugin_sleeps, host->responses);
}

static void
hang_up(struct host *host)
{
    close(host->responses);
    host->responses = -1;
}

static void
answer(struct host *host)
{
    say_access(host, true, 7, (const uint8_t *)"x", 1, 0);
}

static void
test_end_comes_last(void **state)
{
    struct host *host = *state;
    struct vmsup_vcpu_event event;

    put_entry(host, 3, 1);
    put_entry(host, 4, 2);
    say_access(host, true, 3, (const uint8_t *)"x", 1, 0);
    end(host);
    hang_up(host);
    for (uint64_t address = 1; address <= 3; address++) {
        assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), 0);
        assert_int_equal(event.io_access.address, address);
    }
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPIPE);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPIPE);
}

static void
expect_when_asleep(struct host *host, uint32_t until, void (*action)(struct host *host), int result)
{
    struct vmsup_vcpu_event event;
    pthread_t thread = once_asleep(host, until, action);

    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), result);
    pthread_join(thread, NULL);
    assert_int_equal(host->channel->plugin_sleeps, VCPU_CHANNEL_AWAKE);
}

static void
test_woken_by_an_answer(void **state)
{
    struct host *host = *state;

    expect_when_asleep(host, 0, answer, 0);
    assert_int_equal(vmsup_vcpu_resume(host->vcpu), 0);
    expect_when_asleep(host, VCPU_CHANNEL_ON_PIPE, answer, 0);
}

static void
test_woken_by_the_end(void **state)
{
    expect_when_asleep(*state, VCPU_CHANNEL_ON_PIPE, end, -EPIPE);
}

static void
test_hang_up_while_asleep(void **state)
{
    expect_when_asleep(*state, 0, hang_up, -EPIPE);
}

static void
test_hang_up_while_asleep_on_the_pipe(void **state)
{
    expect_when_asleep(*state, VCPU_CHANNEL_ON_PIPE, hang_up, -EPIPE);
}

static void
count_tick(int number)
{
    static volatile sig_atomic_t ticks;

    (void)number;
    /* A minute: it never notices. */
    if (++ticks > 30000)
        abort();
}

/* Signals come faster than a sleep on the futex ends: the hang-up is noticed all the same. */
static void
test_hang_up_among_signals(void **state)
{
    const struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never = { 0 };
    const struct sigaction action = { .sa_handler = count_tick };
    struct vmsup_vcpu_event event;
    struct host *host = *state;

    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    hang_up(host);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPIPE);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
}

static void
test_nonsense(void **state)
{
    struct host *host = *state;
    struct vmsup_vcpu_event event;

    say(host, VCPU_CHANNEL_ACCESS, VCPU_CHANNEL_DATA_MAX + 1, 0);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPROTO);
    say(host, VCPU_CHANNEL_MESSAGE, WIRE_VCPU_MESSAGE_MAX + 1, 0);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPROTO);
    say(host, 7, 0, 0);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPROTO);
    say_message(host, BYTES(0xff, 0xff));
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPROTO);
    /* An entry that is too large. */
    put_entry(host, VCPU_CHANNEL_DATA_MAX + 1, 1);
    assert_int_equal(vmsup_vcpu_wait(host->vcpu, &event), -EPROTO);
}

/* Nobody spins without an end, whatever vmproc says. */
static void
test_spin_is_limited(void **state)
{
    struct vmsup_vcpu other = { 0 };
    int memfd = memfd_create("channels", MFD_CLOEXEC);
    struct vcpu_channel_response response = { .spin_max = UINT32_MAX };

    (void)state;
    assert_int_equal(ftruncate(memfd, (off_t)VCPU_CHANNEL_SIZE), 0);
    assert_int_equal(pwrite(memfd, &response, sizeof response, 0), sizeof response);
    assert_int_equal(channel_attach(&other, memfd, 0), 0);
    assert_int_equal(other.wait.spin_max, 10000000);
    channel_detach(&other);
    assert_null(other.channel);
    close(memfd);
}

static void
test_offer(void **state)
{
    (void)state;
    unsetenv("VMSUP_CHANNEL");
    assert_false(channel_is_offered());
    setenv("VMSUP_CHANNEL", "2", 1);
    assert_false(channel_is_offered());
    setenv("VMSUP_CHANNEL", "1", 1);
    assert_true(channel_is_offered());
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_accesses_of_every_length), TEST(test_ring_comes_before_the_response), TEST(test_states_that_came_are_known),
        TEST(test_states_that_did_not_come_are_asked_for), TEST(test_end_comes_last), TEST(test_woken_by_an_answer),
        TEST(test_woken_by_the_end), TEST(test_hang_up_while_asleep), TEST(test_hang_up_while_asleep_on_the_pipe),
        TEST(test_hang_up_among_signals), TEST(test_nonsense), cmocka_unit_test(test_spin_is_limited),
        cmocka_unit_test(test_offer),
    };

    return cmocka_run_group_tests_name("plugin_channel", tests, NULL, NULL);
}
