/* Io events: a write of the guest's that KVM turns into a count on an eventfd, with no exit. */
#include "common/fd.h"
#include "vmproc/kvm.h"
#include "vmproc/request.h"

#include <errno.h>
#include <sys/eventfd.h>

/* KVM compares no more than the access's own bytes. */
static uint64_t
cut_to_length(uint64_t value, uint32_t length)
{
    return length >= 8 ? value : value & ((1ULL << (8 * length)) - 1);
}

int
io_event_create(struct vm *vm, const struct main_request *request, struct object *object, struct reply *reply)
{
    const MainRequest__Create__IoEvent *wanted = request->message->create->io_event;
    struct kvm_ioeventfd *event = &object->io_event;
    int result;

    if (wanted->space != ADDRESS_SPACE__IOPORT && wanted->space != ADDRESS_SPACE__MMIO)
        return -EINVAL;
    if (wanted->length != 0 && wanted->length != 1 && wanted->length != 2 && wanted->length != 4 && wanted->length != 8)
        return -EINVAL;
    event->addr = wanted->address;
    event->len = wanted->length;
    if (wanted->space == ADDRESS_SPACE__IOPORT)
        event->flags |= KVM_IOEVENTFD_FLAG_PIO;
    if (wanted->length != 0 && !wanted->any_value) {
        event->flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
        event->datamatch = cut_to_length(wanted->datamatch, wanted->length);
    }
    event->fd = eventfd(0, EFD_CLOEXEC);
    if (event->fd < 0)
        return -errno;
    result = kvm_ioeventfd(vm->fd, event);
    if (result < 0)
        fd_close(&event->fd);
    else
        reply_add_fd(reply, event->fd, REPLY_FD_OBJECT);
    return result;
}

void
io_event_destroy(struct vm *vm, struct object *object)
{
    object->io_event.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    kvm_ioeventfd(vm->fd, &object->io_event);
    fd_close(&object->io_event.fd);
}
