/* Objects of the VM: io events, memory, interrupt events. Each has a number of its own, VM-wide, which is ours to choose. */
#include "plugin/lib/connection.h"

#include "common/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct vmsup_io {
    uint32_t id;
    int event;
};

struct vmsup_memory {
    uint32_t id;
    uint64_t length;
};

struct vmsup_irq {
    uint32_t id;
    int trigger;
    int resample;
};

#define PAGE_SIZE_BYTES 4096u

static int
create_object(struct vmsup *self, MainRequest__Create *body, int fd, uint32_t *id)
{
    const MainRequest request = CONNECTION_REQUEST(create, CREATE, body);

    *id = body->id = atomic_fetch_add(&self->shared->next_id, 1);
    return connection_call(self, &request, fd, MAIN_RESPONSE__MESSAGE_CREATE, NULL);
}

static int
destroy_object(struct vmsup *self, uint32_t id)
{
    MainRequest__Destroy body = MAIN_REQUEST__DESTROY__INIT;

    body.id = id;
    return CONNECTION_CALL(self, destroy, DESTROY, &body);
}

/* The value that is to be matched: `length` bytes, in the guest's order. */
static uint64_t
read_datamatch(const uint8_t *datamatch, uint32_t length)
{
    uint64_t value = 0;

    memcpy(&value, datamatch, length);
    return value;
}

int
vmsup_create_io_event(struct vmsup *self, uint32_t space, uint64_t address, uint32_t length, const uint8_t *datamatch,
                      struct vmsup_io **out)
{
    MainRequest__Create body = MAIN_REQUEST__CREATE__INIT;
    MainRequest__Create__IoEvent event = MAIN_REQUEST__CREATE__IO_EVENT__INIT;
    struct vmsup_io *io;
    int result = connection_space(space, &event.space);

    if (result < 0)
        return result;
    if (length != 0 && length != 1 && length != 2 && length != 4 && length != 8)
        return -EINVAL;
    event.address = address;
    event.length = length;
    event.any_value = length != 0 && datamatch == NULL;
    if (length != 0 && datamatch != NULL)
        event.datamatch = read_datamatch(datamatch, length);
    body.object_case = MAIN_REQUEST__CREATE__OBJECT_IO_EVENT;
    body.io_event = &event;
    io = calloc(1, sizeof *io);
    if (io == NULL)
        return -ENOMEM;
    result = create_object(self, &body, -1, &io->id);
    if (result == 0)
        result = io->event = connection_take_fd(self, 0);
    if (result < 0) {
        free(io);
        return result;
    }
    *out = io;
    return 0;
}

int
vmsup_destroy_io_event(struct vmsup *self, struct vmsup_io **handle)
{
    struct vmsup_io *io = *handle;
    int result;

    if (io == NULL)
        return -EINVAL;
    result = destroy_object(self, io->id);
    if (result < 0)
        return result;
    *handle = NULL;
    fd_close(&io->event);
    free(io);
    return 0;
}

int
vmsup_io_event_fd(struct vmsup_io *io)
{
    return io->event;
}

int
vmsup_create_memory(struct vmsup *self, int memfd, uint64_t offset, uint64_t length, uint64_t start, bool read_only,
                    bool dirty_log, struct vmsup_memory **out)
{
    MainRequest__Create body = MAIN_REQUEST__CREATE__INIT;
    MainRequest__Create__Memory wanted = MAIN_REQUEST__CREATE__MEMORY__INIT;
    struct vmsup_memory *memory;
    int result;

    if (memfd < 0)
        return -EBADF;
    wanted.offset = offset;
    wanted.length = length;
    wanted.start = start;
    wanted.read_only = read_only;
    wanted.dirty_log = dirty_log;
    body.object_case = MAIN_REQUEST__CREATE__OBJECT_MEMORY;
    body.memory = &wanted;
    memory = calloc(1, sizeof *memory);
    if (memory == NULL)
        return -ENOMEM;
    memory->length = length;
    result = create_object(self, &body, memfd, &memory->id);
    if (result < 0)
        free(memory);
    else
        *out = memory;
    return result;
}

int
vmsup_destroy_memory(struct vmsup *self, struct vmsup_memory **handle)
{
    struct vmsup_memory *memory = *handle;
    int result;

    if (memory == NULL)
        return -EINVAL;
    result = destroy_object(self, memory->id);
    if (result < 0)
        return result;
    *handle = NULL;
    free(memory);
    return 0;
}

int
vmsup_memory_get_dirty_log(struct vmsup *self, struct vmsup_memory *memory, uint8_t *log)
{
    MainRequest__MemoryDirtyLog body = MAIN_REQUEST__MEMORY_DIRTY_LOG__INIT;
    const MainRequest request = CONNECTION_REQUEST(dirty_log, DIRTY_LOG, &body);
    const MainResponse *response;
    const uint64_t size = (memory->length / PAGE_SIZE_BYTES + 7) / 8;
    int result;

    body.id = memory->id;
    result = connection_call(self, &request, -1, MAIN_RESPONSE__MESSAGE_DIRTY_LOG, &response);
    if (result < 0)
        return result;
    if (response->dirty_log->bitmap.len != size)
        return -EPROTO;
    memcpy(log, response->dirty_log->bitmap.data, size);
    return 0;
}

int
vmsup_create_irq_event(struct vmsup *self, uint32_t irq_id, struct vmsup_irq **out)
{
    MainRequest__Create body = MAIN_REQUEST__CREATE__INIT;
    MainRequest__Create__IrqEvent event = MAIN_REQUEST__CREATE__IRQ_EVENT__INIT;
    struct vmsup_irq *irq = calloc(1, sizeof *irq);
    int result;

    if (irq == NULL)
        return -ENOMEM;
    irq->trigger = irq->resample = -1;
    event.irq_id = irq_id;
    event.resample = true;
    body.object_case = MAIN_REQUEST__CREATE__OBJECT_IRQ_EVENT;
    body.irq_event = &event;
    result = create_object(self, &body, -1, &irq->id);
    if (result == 0)
        result = irq->trigger = connection_take_fd(self, 0);
    if (result >= 0)
        result = irq->resample = connection_take_fd(self, 1);
    if (result < 0) {
        fd_close(&irq->trigger);
        free(irq);
        return result;
    }
    *out = irq;
    return 0;
}

int
vmsup_destroy_irq_event(struct vmsup *self, struct vmsup_irq **handle)
{
    struct vmsup_irq *irq = *handle;
    int result;

    if (irq == NULL)
        return -EINVAL;
    result = destroy_object(self, irq->id);
    if (result < 0)
        return result;
    *handle = NULL;
    fd_close(&irq->trigger);
    fd_close(&irq->resample);
    free(irq);
    return 0;
}

int
vmsup_irq_event_get_fd(struct vmsup_irq *irq)
{
    return irq->trigger;
}

int
vmsup_irq_event_get_resample_fd(struct vmsup_irq *irq)
{
    return irq->resample;
}
