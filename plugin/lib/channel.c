#include "plugin/lib/channel.h"

#include "common/clock.h"
#include "plugin/lib/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

/* Nobody spins longer, whatever the other side says. */
#define SPIN_LIMIT 10000000

/*
 * The first sleep is on the futex, which is faster to be woken from; a longer one is on the pipe, which also tells when the other side is
 * gone.
 */
#define FUTEX_SLEEP 10000000

bool
channel_is_offered(void)
{
    const char *version = getenv(VCPU_CHANNEL_VARIABLE);

    return version != NULL && strcmp(version, VCPU_CHANNEL_VERSION_TEXT) == 0;
}

int
channel_attach(struct vmsup_vcpu *self, int memfd, uint32_t index)
{
    void *mapping = mmap(NULL, VCPU_CHANNEL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)(VCPU_CHANNEL_SIZE * index));
    uint32_t spin;

    if (mapping == MAP_FAILED)
        return -errno;
    self->channel = mapping;
    spin = LOAD(self->channel->response.spin_max);
    self->wait.spin_max = spin < SPIN_LIMIT ? spin : SPIN_LIMIT;
    return 0;
}

void
channel_detach(struct vmsup_vcpu *self)
{
    if (self->channel != NULL)
        munmap(self->channel, VCPU_CHANNEL_SIZE);
    self->channel = NULL;
}

/* --- What is said. */

static void
publish(struct vmsup_vcpu *self, uint32_t kind, size_t size, uint32_t states)
{
    struct vcpu_channel_request *request = &self->channel->request;

    STORE(request->kind, kind);
    STORE(request->size, (uint32_t)size);
    STORE(request->states, states);
    STORE(request->looked, self->looked);
    atomic_store_explicit(&request->cpu, vcpu_channel_cpu(), memory_order_relaxed);
    atomic_store_explicit(&request->sequence, ++self->request_sequence, memory_order_release);
    vcpu_channel_wake(&self->wait, &self->channel->vmproc_sleeps, -1);
}

void
channel_send(struct vmsup_vcpu *self, size_t size)
{
    memcpy(self->channel->request_payload, self->outgoing, size);
    publish(self, VCPU_CHANNEL_MESSAGE, size, 0);
}

/* Where each carried state stands in a channel, and what it is called there. */
static const struct {
    uint32_t bit;
    size_t offset;
} places[VCPU_CARRIED] = {
    [VCPU_REGS] = { VCPU_CHANNEL_REGS, offsetof(struct vcpu_channel_states, regs) },
    [VCPU_SREGS] = { VCPU_CHANNEL_SREGS, offsetof(struct vcpu_channel_states, sregs) },
    [VCPU_DEBUGREGS] = { VCPU_CHANNEL_DEBUGREGS, offsetof(struct vcpu_channel_states, debugregs) },
    [VCPU_EVENTS] = { VCPU_CHANNEL_EVENTS, offsetof(struct vcpu_channel_states, events) },
};

void
channel_resume(struct vmsup_vcpu *self)
{
    struct vcpu_channel *channel = self->channel;
    uint32_t states = 0;

    for (size_t i = 0; i < VCPU_CARRIED; i++) {
        const struct vcpu_carried *carried = &self->carried[i];

        if (!carried->dirty)
            continue;
        memcpy((uint8_t *)&channel->request_states + places[i].offset, carried->state, carried->size);
        states |= places[i].bit;
    }
    if (self->data_size > 0)
        memcpy(self->data_size <= VCPU_CHANNEL_INLINE ? channel->request.data : channel->request_payload, self->data, self->data_size);
    publish(self, VCPU_CHANNEL_RESUME, self->data_size, states);
    self->looked = 0;
}

/* --- What is heard. */

static bool
is_answered(const struct vmsup_vcpu *self)
{
    return atomic_load_explicit(&self->channel->response.sequence, memory_order_acquire) != self->response_seen;
}

/* After a response was seen, and not before: what was put into the ring earlier is then seen, too. */
static bool
has_entry(const struct vmsup_vcpu *self)
{
    return atomic_load_explicit(&self->channel->ring_tail, memory_order_acquire) != self->ring_head;
}

static bool
has_ended(const struct vmsup_vcpu *self)
{
    return atomic_load_explicit(&self->channel->response.ended, memory_order_acquire) != 0;
}

static bool
something_came(const void *context)
{
    const struct vmsup_vcpu *self = context;

    return is_answered(self) || has_entry(self) || has_ended(self);
}

/* A byte comes, or the end. */
static int
read_pipe(struct vmsup_vcpu *self)
{
    uint8_t byte;
    ssize_t got;

    do
        got = read(self->read_end, &byte, sizeof byte);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    return got == 0 ? -EPIPE : 0;
}

/* Who has taken the word away has written a byte, or is about to. */
static int
sleep_on_pipe(struct vmsup_vcpu *self)
{
    _Atomic uint32_t *sleeps = &self->channel->plugin_sleeps;
    int result = 0;

    atomic_store_explicit(sleeps, VCPU_CHANNEL_ON_PIPE, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (something_came(self)) {
        if (atomic_exchange(sleeps, VCPU_CHANNEL_AWAKE) != VCPU_CHANNEL_AWAKE)
            return 0;
    }
    result = read_pipe(self);
    atomic_store_explicit(sleeps, VCPU_CHANNEL_AWAKE, memory_order_relaxed);
    return result;
}

static int
wait_for_vmproc(struct vmsup_vcpu *self)
{
    const uint32_t cpu = atomic_load_explicit(&self->channel->response.cpu, memory_order_relaxed);
    uint64_t began;
    int result = 0;

    if (vcpu_channel_spin(&self->wait, cpu, something_came, self))
        return 0;
    began = clock_nanoseconds();
    /* A signal ends it, too; where they came faster than it does, only the pipe would ever tell. */
    if (vcpu_channel_sleep(&self->channel->plugin_sleeps, FUTEX_SLEEP, something_came, self) < 0) {
        while (result == 0 && !something_came(self))
            result = sleep_on_pipe(self);
        /* What came before the end is still to be had. */
        if (result == -EPIPE && something_came(self))
            result = 0;
    }
    vcpu_channel_learn(&self->wait, began);
    return result;
}

static int
take_message(struct vmsup_vcpu *self, const uint8_t **data, size_t *size)
{
    const uint32_t length = LOAD(self->channel->response.size);

    if (LOAD(self->channel->response.kind) != VCPU_CHANNEL_MESSAGE || length > WIRE_VCPU_MESSAGE_MAX)
        return -EPROTO;
    memcpy(self->incoming, self->channel->response_payload, length);
    *data = self->incoming;
    *size = length;
    return 0;
}

int
channel_receive(struct vmsup_vcpu *self, const uint8_t **data, size_t *size)
{
    for (;;) {
        const bool ended = has_ended(self);
        int result;

        if (is_answered(self)) {
            self->response_seen = atomic_load_explicit(&self->channel->response.sequence, memory_order_relaxed);
            return take_message(self, data, size);
        }
        if (ended)
            return -EPIPE;
        result = wait_for_vmproc(self);
        if (result < 0)
            return result;
    }
}

static void
fill_access(struct vmsup_vcpu *self, uint32_t space, uint64_t address, uint32_t size, struct vmsup_vcpu_event *event)
{
    memset(event, 0, sizeof *event);
    event->kind = VMSUP_VCPU_EVENT_KIND_IO_ACCESS;
    event->io_access.address_space = space == ADDRESS_SPACE__IOPORT ? VMSUP_ADDRESS_SPACE_IOPORT : VMSUP_ADDRESS_SPACE_MMIO;
    event->io_access.address = address;
    event->io_access.data = self->access_data;
    event->io_access.length = size;
    self->data = self->access_data;
    self->data_size = size;
}

/* The state is only where it was until the resume: it is copied at once, as those are few that come. */
static void
keep_states(struct vmsup_vcpu *self)
{
    const uint32_t states = LOAD(self->channel->response.states);

    for (size_t i = 0; i < VCPU_CARRIED; i++) {
        struct vcpu_carried *carried = &self->carried[i];

        carried->known = (states & places[i].bit) != 0;
        if (carried->known)
            memcpy(carried->state, (const uint8_t *)&self->channel->response_states + places[i].offset, carried->size);
    }
}

static int
take_access(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event)
{
    const struct vcpu_channel_response *response = &self->channel->response;
    const uint32_t size = LOAD(response->size);
    const bool is_write = LOAD(response->is_write) != 0;

    if (size > VCPU_CHANNEL_DATA_MAX)
        return -EPROTO;
    if (!is_write)
        memset(self->access_data, 0, size);
    else
        memcpy(self->access_data, size <= VCPU_CHANNEL_INLINE ? response->data : self->channel->response_payload, size);
    fill_access(self, LOAD(response->space), LOAD(response->address), size, event);
    event->io_access.is_write = is_write;
    return 0;
}

/* The entry at the head. -EAGAIN: it only says that the ring goes on at its beginning. */
static int
take_entry(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event)
{
    const uint32_t place = self->ring_head % VCPU_CHANNEL_RING_SIZE, left = VCPU_CHANNEL_RING_SIZE - place;
    const uint8_t *from = self->channel->ring + place;
    struct vcpu_channel_entry entry;
    uint32_t taken = left;
    int result = -EAGAIN;

    memcpy(&entry, from, sizeof entry);
    if (entry.size != VCPU_CHANNEL_RING_SKIP) {
        if (entry.size > VCPU_CHANNEL_DATA_MAX || vcpu_channel_entry_space(entry.size) > left)
            return -EPROTO;
        memcpy(self->access_data, from + sizeof entry, entry.size);
        fill_access(self, entry.space, entry.address, entry.size, event);
        event->io_access.is_write = event->io_access.no_resume = 1;
        taken = vcpu_channel_entry_space(entry.size);
        result = 0;
    }
    self->ring_head += taken;
    atomic_store_explicit(&self->channel->ring_head, self->ring_head, memory_order_release);
    vcpu_channel_wake(&self->wait, &self->channel->vmproc_sleeps, -1);
    return result;
}

/* The response that has come, and all of the ring before it is taken. */
static int
take_response(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event, enum channel_event *kind, const uint8_t **data, size_t *size)
{
    self->response_seen = atomic_load_explicit(&self->channel->response.sequence, memory_order_relaxed);
    keep_states(self);
    *kind = LOAD(self->channel->response.kind) == VCPU_CHANNEL_ACCESS ? CHANNEL_EVENT_ACCESS : CHANNEL_EVENT_MESSAGE;
    return *kind == CHANNEL_EVENT_ACCESS ? take_access(self, event) : take_message(self, data, size);
}

int
channel_receive_event(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event, enum channel_event *kind, const uint8_t **data,
                      size_t *size)
{
    for (;;) {
        /* In this order: what came before the end, or before the response, is then seen. */
        const bool ended = has_ended(self), answered = is_answered(self);
        int result;

        if (has_entry(self)) {
            *kind = CHANNEL_EVENT_ACCESS;
            result = take_entry(self, event);
            if (result != -EAGAIN)
                return result;
        } else if (answered) {
            return take_response(self, event, kind, data, size);
        } else if (ended) {
            return -EPIPE;
        } else {
            result = wait_for_vmproc(self);
            if (result < 0)
                return result;
        }
    }
}
