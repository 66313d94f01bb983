/* Interrupts: events that raise one (with resample), the lines themselves, and the routing table. */
#include "common/clock.h"
#include "common/fd.h"
#include "vmproc/kvm.h"
#include "vmproc/request.h"

#include <errno.h>
#include <sys/eventfd.h>

/* Whatever `resample` says: programs of the original library always set it. */
int
irq_event_create(struct vm *vm, const struct main_request *request, struct object *object, struct reply *reply)
{
    const MainRequest__Create__IrqEvent *wanted = request->message->create->irq_event;
    struct kvm_irqfd irqfd = { .gsi = wanted->irq_id, .flags = KVM_IRQFD_FLAG_RESAMPLE };
    int result;

    if (wanted->irq_id >= LIMIT_GSI)
        return -EINVAL;
    result = vm_make_interrupts(vm);
    if (result < 0)
        return result;
    object->irq_event.gsi = wanted->irq_id;
    object->irq_event.trigger = eventfd(0, EFD_CLOEXEC);
    object->irq_event.resample = eventfd(0, EFD_CLOEXEC);
    if (object->irq_event.trigger >= 0 && object->irq_event.resample >= 0) {
        irqfd.fd = (uint32_t)object->irq_event.trigger;
        irqfd.resamplefd = (uint32_t)object->irq_event.resample;
        result = kvm_irqfd(vm->fd, &irqfd);
    } else {
        result = -errno;
    }
    if (result < 0) {
        fd_close(&object->irq_event.trigger);
        fd_close(&object->irq_event.resample);
        return result;
    }
    reply_add_fd(reply, object->irq_event.trigger, REPLY_FD_OBJECT);
    reply_add_fd(reply, object->irq_event.resample, REPLY_FD_OBJECT);
    return 0;
}

void
irq_event_destroy(struct vm *vm, struct object *object)
{
    const struct kvm_irqfd irqfd = {
        .fd = (uint32_t)object->irq_event.trigger,
        .gsi = object->irq_event.gsi,
        .flags = KVM_IRQFD_FLAG_DEASSIGN,
    };

    kvm_irqfd(vm->fd, &irqfd);
    fd_close(&object->irq_event.trigger);
    fd_close(&object->irq_event.resample);
}

/* A line that leads nowhere takes it, whatever its number. */
int
irq_set_line(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const MainRequest__SetIrq *wanted = request->message->set_irq;
    int result;

    reply->wait_nanoseconds = bucket_take(&vm->irq_rate, clock_nanoseconds());
    result = vm_make_interrupts(vm);
    return result < 0 ? result : kvm_irq_line(vm->fd, wanted->irq_id, wanted->active ? 1 : 0);
}

static int
set_route(const MainRequest__SetIrqRouting__Route *wanted, struct kvm_irq_routing_entry *route)
{
    if (wanted->irq_id >= LIMIT_GSI)
        return -EINVAL;
    route->gsi = wanted->irq_id;
    switch (wanted->route_case) {
    case MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__ROUTE_IRQCHIP:
        route->type = KVM_IRQ_ROUTING_IRQCHIP;
        route->u.irqchip.irqchip = wanted->irqchip->irqchip;
        route->u.irqchip.pin = wanted->irqchip->pin;
        return 0;
    case MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__ROUTE_MSI:
        route->type = KVM_IRQ_ROUTING_MSI;
        route->u.msi.address_lo = (uint32_t)wanted->msi->address;
        route->u.msi.address_hi = (uint32_t)(wanted->msi->address >> 32);
        route->u.msi.data = wanted->msi->data;
        return 0;
    default:
        return -EINVAL;
    }
}

int
irq_set_routing(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const MainRequest__SetIrqRouting *wanted = request->message->set_irq_routing;
    struct kvm_irq_routing *routing;
    int result;

    if (wanted->n_routes > LIMIT_ROUTES)
        return -EINVAL;
    routing = reply_allocate(reply, sizeof *routing + wanted->n_routes * sizeof routing->entries[0]);
    if (routing == NULL)
        return -ENOMEM;
    routing->nr = (uint32_t)wanted->n_routes;
    routing->flags = 0;
    for (size_t i = 0; i < wanted->n_routes; i++) {
        routing->entries[i] = (struct kvm_irq_routing_entry){ 0 };
        result = set_route(wanted->routes[i], &routing->entries[i]);
        if (result < 0)
            return result;
    }
    result = vm_make_interrupts(vm);
    return result < 0 ? result : kvm_set_gsi_routing(vm->fd, routing);
}
