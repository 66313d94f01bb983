#include "plugin/lib/vcpu.h"

#include "common/fd.h"
#include "plugin/lib/channel.h"
#include "proto/vcpu_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint8_t *
map_buffer(size_t size)
{
    void *buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return buffer == MAP_FAILED ? NULL : buffer;
}

int
vcpu_create(int write_end, int read_end, struct vmsup_vcpu **out)
{
    struct vmsup_vcpu *self = calloc(1, sizeof *self);

    if (self == NULL) {
        fd_close(&write_end);
        fd_close(&read_end);
        return -ENOMEM;
    }
    self->write_end = write_end;
    self->read_end = read_end;
    self->incoming = map_buffer(WIRE_VCPU_PIPE_SIZE);
    self->outgoing = map_buffer(WIRE_VCPU_MESSAGE_MAX);
    self->carried[VCPU_REGS] = (struct vcpu_carried){
        .set = VCPU_REQUEST__STATE_SET__REGS, .size = sizeof self->regs, .state = &self->regs,
    };
    self->carried[VCPU_SREGS] = (struct vcpu_carried){
        .set = VCPU_REQUEST__STATE_SET__SREGS, .size = sizeof self->sregs, .state = &self->sregs,
    };
    self->carried[VCPU_DEBUGREGS] = (struct vcpu_carried){
        .set = VCPU_REQUEST__STATE_SET__DEBUGREGS, .size = sizeof self->debugregs, .state = &self->debugregs,
    };
    self->carried[VCPU_EVENTS] = (struct vcpu_carried){
        .set = VCPU_REQUEST__STATE_SET__EVENTS, .size = sizeof self->events, .state = &self->events,
    };
    self->access_data = malloc(VCPU_CHANNEL_DATA_MAX);
    if (self->access_data == NULL || write_end < 0 || read_end < 0 || self->incoming == NULL || self->outgoing == NULL ||
        arena_create(&self->event_arena, VCPU_ARENA_SIZE) < 0 || arena_create(&self->call_arena, VCPU_ARENA_SIZE) < 0) {
        vcpu_destroy(self);
        return -ENOMEM;
    }
    *out = self;
    return 0;
}

void
vcpu_destroy(struct vmsup_vcpu *self)
{
    channel_detach(self);
    fd_close(&self->write_end);
    fd_close(&self->read_end);
    free(self->access_data);
    if (self->incoming != NULL)
        munmap(self->incoming, WIRE_VCPU_PIPE_SIZE);
    if (self->outgoing != NULL)
        munmap(self->outgoing, WIRE_VCPU_MESSAGE_MAX);
    arena_destroy(&self->event_arena);
    arena_destroy(&self->call_arena);
    free(self);
}

/* `size` bytes of self->outgoing, or a negative errno. One write: that is how the other side tells requests apart. */
static int
write_out(struct vmsup_vcpu *self, ssize_t size)
{
    ssize_t written;

    if (size < 0)
        return -E2BIG;
    if (self->channel != NULL) {
        channel_send(self, (size_t)size);
        return 0;
    }
    do
        written = write(self->write_end, self->outgoing, (size_t)size);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return -errno;
    return written == size ? 0 : -EPIPE;
}

int
vcpu_send(struct vmsup_vcpu *self, const VcpuRequest *request)
{
    return write_out(self, message_pack(&request->base, self->outgoing, WIRE_VCPU_MESSAGE_MAX));
}

static int
read_more(struct vmsup_vcpu *self)
{
    ssize_t got;

    if (self->taken > 0) {
        self->incoming_size -= self->taken;
        memmove(self->incoming, self->incoming + self->taken, self->incoming_size);
        self->taken = 0;
    }
    if (self->incoming_size == WIRE_VCPU_PIPE_SIZE)
        return -EPROTO;
    do
        got = read(self->read_end, self->incoming + self->incoming_size, WIRE_VCPU_PIPE_SIZE - self->incoming_size);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got == 0 ? -EPIPE : -errno;
    self->incoming_size += (size_t)got;
    return 0;
}

/* The next response, however many were read at once. Its bytes are good until more are read. */
static int
next_response(struct vmsup_vcpu *self, const uint8_t **data, size_t *size)
{
    if (self->channel != NULL)
        return channel_receive(self, data, size);
    for (;;) {
        const size_t left = self->incoming_size - self->taken;
        uint64_t length;
        ssize_t prefix = wire_get_varint(self->incoming + self->taken, left, &length);
        int result;

        if (prefix < 0 || (prefix > 0 && length > WIRE_VCPU_MESSAGE_MAX))
            return -EPROTO;
        if (prefix > 0 && length <= left - (size_t)prefix) {
            *data = self->incoming + self->taken + prefix;
            *size = length;
            self->taken += (size_t)prefix + length;
            return 0;
        }
        result = read_more(self);
        if (result < 0)
            return result;
    }
}

/* 0 where it says success and has `expected` in it. */
static int
unpack_response(struct arena *arena, const uint8_t *data, size_t size, VcpuResponse__MessageCase expected, const VcpuResponse **out)
{
    const VcpuResponse *response = message_unpack(arena, &vcpu_response__descriptor, data, size);

    if (response == NULL)
        return -EPROTO;
    if (response->error != 0)
        return wire_errno(response->error);
    if (response->message_case != expected)
        return -EPROTO;
    if (out != NULL)
        *out = response;
    return 0;
}

int
vcpu_call(struct vmsup_vcpu *self, const VcpuRequest *request, VcpuResponse__MessageCase expected, const VcpuResponse **response)
{
    const uint8_t *data;
    size_t size;
    int result;

    /* Where there is no event to look at, the next thing to come would be one, and not the answer. */
    if (self->phase != VCPU_HOLDS)
        return -EPROTO;
    result = vcpu_send(self, request);
    if (result == 0)
        result = next_response(self, &data, &size);
    if (result < 0)
        return result;
    arena_reset(&self->call_arena);
    return unpack_response(&self->call_arena, data, size, expected, response);
}

void
vcpu_forget_states(struct vmsup_vcpu *self)
{
    for (size_t i = 0; i < VCPU_CARRIED; i++)
        self->carried[i].known = false;
}

/* Registers that came with an event answer the get calls that follow. */
static void
keep_carried(struct vcpu_carried *carried, const ProtobufCBinaryData *given)
{
    carried->known = given->len == carried->size;
    if (carried->known)
        memcpy(carried->state, given->data, carried->size);
}

static void
take_access(struct vmsup_vcpu *self, VcpuResponse__Wait__Io *io, struct vmsup_vcpu_event *event)
{
    event->kind = VMSUP_VCPU_EVENT_KIND_IO_ACCESS;
    event->io_access.address_space = io->space == ADDRESS_SPACE__IOPORT ? VMSUP_ADDRESS_SPACE_IOPORT : VMSUP_ADDRESS_SPACE_MMIO;
    event->io_access.address = io->address;
    event->io_access.data = io->data.data;
    event->io_access.length = (uint32_t)io->data.len;
    event->io_access.is_write = io->is_write != 0;
    event->io_access.no_resume = io->no_resume != 0;
    self->data = io->data.data;
    self->data_size = io->data.len;
    keep_carried(&self->carried[VCPU_REGS], &io->regs);
    keep_carried(&self->carried[VCPU_SREGS], &io->sregs);
    keep_carried(&self->carried[VCPU_DEBUGREGS], &io->debugregs);
}

static int
take_event(struct vmsup_vcpu *self, const VcpuResponse__Wait *wait, struct vmsup_vcpu_event *event)
{
    switch (wait->exit_case) {
    case VCPU_RESPONSE__WAIT__EXIT_INIT:
        event->kind = VMSUP_VCPU_EVENT_KIND_INIT;
        return 0;
    case VCPU_RESPONSE__WAIT__EXIT_IO:
        take_access(self, wait->io, event);
        return 0;
    case VCPU_RESPONSE__WAIT__EXIT_USER:
        event->kind = VMSUP_VCPU_EVENT_KIND_PAUSED;
        event->user = (void *)(uintptr_t)wait->user->user;
        return 0;
    case VCPU_RESPONSE__WAIT__EXIT_HYPERV_CALL:
        event->kind = VMSUP_VCPU_EVENT_KIND_HYPERV_HCALL;
        event->hyperv_call.input = wait->hyperv_call->input;
        event->hyperv_call.result = &self->result;
        event->hyperv_call.params[0] = wait->hyperv_call->params0;
        event->hyperv_call.params[1] = wait->hyperv_call->params1;
        self->result = 0;
        self->data = (uint8_t *)&self->result;
        self->data_size = sizeof self->result;
        return 0;
    case VCPU_RESPONSE__WAIT__EXIT_HYPERV_SYNIC:
        event->kind = VMSUP_VCPU_EVENT_KIND_HYPERV_SYNIC;
        event->hyperv_synic.msr = wait->hyperv_synic->msr;
        event->hyperv_synic.control = wait->hyperv_synic->control;
        event->hyperv_synic.evt_page = wait->hyperv_synic->evt_page;
        event->hyperv_synic.msg_page = wait->hyperv_synic->msg_page;
        return 0;
    default:
        return -EPROTO;
    }
}

/* An access, the event that there is most of, is read by hand. Its data outlives what was read: the next call may read more. */
static int
read_event(struct vmsup_vcpu *self, const uint8_t *data, size_t size, struct vmsup_vcpu_event *event)
{
    VcpuResponse__Wait__Io io;
    const VcpuResponse *response = NULL;
    int result;

    memset(event, 0, sizeof *event);
    self->data = NULL;
    self->data_size = 0;
    arena_reset(&self->event_arena);
    if (vcpu_wire_get_io(data, size, &io)) {
        /* The arena is larger than any message. */
        uint8_t *kept = self->event_arena.allocator.alloc(&self->event_arena, io.data.len);

        if (io.data.len > 0)
            memcpy(kept, io.data.data, io.data.len);
        io.data.data = kept;
        take_access(self, &io, event);
        return 0;
    }
    result = unpack_response(&self->event_arena, data, size, VCPU_RESPONSE__MESSAGE_WAIT, &response);
    return result < 0 ? result : take_event(self, response->wait, event);
}

static int
receive_event(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event)
{
    enum channel_event kind = CHANNEL_EVENT_MESSAGE;
    const uint8_t *data;
    size_t size;
    int result = self->channel != NULL ? channel_receive_event(self, event, &kind, &data, &size) : next_response(self, &data, &size);

    return result < 0 || kind == CHANNEL_EVENT_ACCESS ? result : read_event(self, data, size, event);
}

int
vmsup_vcpu_wait(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event)
{
    VcpuRequest__Wait body = VCPU_REQUEST__WAIT__INIT;
    const VcpuRequest request = VCPU_REQUEST_OF(wait, WAIT, &body);
    int result = 0;

    if (self->phase == VCPU_HOLDS)
        return -EPROTO;
    /* Asked for once; from then on events come unasked. */
    if (self->phase == VCPU_BEGINS)
        result = vcpu_send(self, &request);
    if (result == 0)
        result = receive_event(self, event);
    if (result < 0)
        return result;
    self->phase = event->kind == VMSUP_VCPU_EVENT_KIND_IO_ACCESS && event->io_access.no_resume ? VCPU_RUNS : VCPU_HOLDS;
    return 0;
}

static void
give_carried(struct vcpu_carried *carried, ProtobufCBinaryData *out)
{
    if (!carried->dirty)
        return;
    out->data = carried->state;
    out->len = carried->size;
}

static int
resume_by_pipe(struct vmsup_vcpu *self)
{
    VcpuRequest__Resume body = VCPU_REQUEST__RESUME__INIT;

    body.data.data = self->data;
    body.data.len = self->data_size;
    give_carried(&self->carried[VCPU_REGS], &body.regs);
    give_carried(&self->carried[VCPU_SREGS], &body.sregs);
    give_carried(&self->carried[VCPU_DEBUGREGS], &body.debugregs);
    return write_out(self, vcpu_wire_put_resume(&body, self->outgoing, WIRE_VCPU_MESSAGE_MAX));
}

int
vmsup_vcpu_resume(struct vmsup_vcpu *self)
{
    int result = 0;

    /* There is nothing to resume yet; what was set stays for the resume from INIT. */
    if (self->phase == VCPU_BEGINS)
        return 0;
    if (self->phase != VCPU_HOLDS)
        return -EPROTO;
    if (self->channel != NULL)
        channel_resume(self);
    else
        result = resume_by_pipe(self);
    if (result < 0)
        return result;
    for (size_t i = 0; i < VCPU_CARRIED; i++)
        self->carried[i].known = self->carried[i].dirty = false;
    self->phase = VCPU_RUNS;
    return 0;
}
