/* The VM as a whole: ranges, interrupts, hints, pauses, start and end. */
#include "plugin/lib/connection.h"

#include <errno.h>
#include <stdlib.h>

/* More routes than a request holds in its WIRE_REQUEST_MAX bytes, whatever they are. */
#define ROUTES_MAX 1024

int
vmsup_get_shutdown_eventfd(struct vmsup *self)
{
    MainRequest__GetShutdownEventfd body = MAIN_REQUEST__GET_SHUTDOWN_EVENTFD__INIT;
    int result = CONNECTION_CALL(self, get_shutdown_eventfd, GET_SHUTDOWN_EVENTFD, &body);

    return result < 0 ? result : connection_take_fd(self, 0);
}

static int
reserve(struct vmsup *self, uint32_t space, uint64_t start, uint64_t length, MainRequest__ReserveRange body)
{
    int result = connection_space(space, &body.space);

    if (result < 0)
        return result;
    body.start = start;
    body.length = length;
    return CONNECTION_CALL(self, reserve_range, RESERVE_RANGE, &body);
}

int
vmsup_reserve_range(struct vmsup *self, uint32_t space, uint64_t start, uint64_t length)
{
    return reserve(self, space, start, length, (MainRequest__ReserveRange)MAIN_REQUEST__RESERVE_RANGE__INIT);
}

int
vmsup_reserve_async_write_range(struct vmsup *self, uint32_t space, uint64_t start, uint64_t length)
{
    MainRequest__ReserveRange body = MAIN_REQUEST__RESERVE_RANGE__INIT;

    body.async_write = true;
    return reserve(self, space, start, length, body);
}

int
vmsup_coalesce_range(struct vmsup *self, uint32_t space, uint64_t start, uint64_t length)
{
    MainRequest__ReserveRange body = MAIN_REQUEST__RESERVE_RANGE__INIT;

    body.coalesce = true;
    return reserve(self, space, start, length, body);
}

int
vmsup_set_irq(struct vmsup *self, uint32_t irq_id, bool active)
{
    MainRequest__SetIrq body = MAIN_REQUEST__SET_IRQ__INIT;

    body.irq_id = irq_id;
    body.active = active;
    return CONNECTION_CALL(self, set_irq, SET_IRQ, &body);
}

/* A route with the one of its two kinds that it has. */
struct route {
    MainRequest__SetIrqRouting__Route base;
    MainRequest__SetIrqRouting__Route__Irqchip irqchip;
    MainRequest__SetIrqRouting__Route__Msi msi;
};

static int
fill_route(const struct vmsup_irq_route *from, struct route *to)
{
    main_request__set_irq_routing__route__init(&to->base);
    to->base.irq_id = from->irq_id;
    if (from->kind == VMSUP_IRQ_ROUTE_IRQCHIP) {
        main_request__set_irq_routing__route__irqchip__init(&to->irqchip);
        to->irqchip.irqchip = from->irqchip.irqchip;
        to->irqchip.pin = from->irqchip.pin;
        to->base.route_case = MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__ROUTE_IRQCHIP;
        to->base.irqchip = &to->irqchip;
    } else if (from->kind == VMSUP_IRQ_ROUTE_MSI) {
        main_request__set_irq_routing__route__msi__init(&to->msi);
        to->msi.address = from->msi.address;
        to->msi.data = from->msi.data;
        to->base.route_case = MAIN_REQUEST__SET_IRQ_ROUTING__ROUTE__ROUTE_MSI;
        to->base.msi = &to->msi;
    } else {
        return -EINVAL;
    }
    return 0;
}

int
vmsup_set_irq_routing(struct vmsup *self, uint32_t route_count, const struct vmsup_irq_route *routes)
{
    MainRequest__SetIrqRouting body = MAIN_REQUEST__SET_IRQ_ROUTING__INIT;
    MainRequest__SetIrqRouting__Route **pointers;
    struct route *filled;
    int result = 0;

    if (route_count > ROUTES_MAX)
        return -E2BIG;
    filled = calloc((size_t)route_count + 1, sizeof *filled);
    pointers = calloc((size_t)route_count + 1, sizeof *pointers);
    if (filled == NULL || pointers == NULL)
        result = -ENOMEM;
    for (uint32_t i = 0; i < route_count && result == 0; i++) {
        result = fill_route(&routes[i], &filled[i]);
        pointers[i] = &filled[i].base;
    }
    if (result == 0) {
        body.n_routes = route_count;
        body.routes = pointers;
        result = CONNECTION_CALL(self, set_irq_routing, SET_IRQ_ROUTING, &body);
    }
    free(filled);
    free(pointers);
    return result;
}

static void
fill_detail(const struct vmsup_hint_detail *from, MainRequest__SetCallHint__RegHint *to)
{
    main_request__set_call_hint__reg_hint__init(to);
    to->match_rax = from->match_rax;
    to->match_rbx = from->match_rbx;
    to->match_rcx = from->match_rcx;
    to->match_rdx = from->match_rdx;
    to->rax = from->rax;
    to->rbx = from->rbx;
    to->rcx = from->rcx;
    to->rdx = from->rdx;
    to->send_sregs = from->send_sregs;
    to->send_debugregs = from->send_debugregs;
}

/* What the interface says a hint may be. */
static int
check_hint(const struct vmsup_hint *hint)
{
    if (hint->hint_version != 0 || hint->_reserved != 0 || (hint->address_flags & ~VMSUP_HINT_ON_WRITE) != 0 ||
        hint->details_count > VMSUP_MAX_HINT_DETAIL_COUNT || hint->address == 0 ||
        (hint->details_count > 0 && hint->details == NULL))
        return -EINVAL;
    return 0;
}

int
vmsup_set_hypercall_hint(struct vmsup *self, uint32_t hints_count, const struct vmsup_hint *hints)
{
    MainRequest__SetCallHint body = MAIN_REQUEST__SET_CALL_HINT__INIT;
    MainRequest__SetCallHint__RegHint details[VMSUP_MAX_HINT_DETAIL_COUNT], *pointers[VMSUP_MAX_HINT_DETAIL_COUNT];
    int result;

    if (hints_count > VMSUP_MAX_HINT_COUNT)
        return -EINVAL;
    /* Address 0 clears it. */
    if (hints_count == 0)
        return CONNECTION_CALL(self, set_call_hint, SET_CALL_HINT, &body);
    result = check_hint(hints);
    if (result == 0)
        result = connection_space(hints->address_space, &body.space);
    if (result < 0)
        return result;
    for (uint16_t i = 0; i < hints->details_count; i++) {
        fill_detail(&hints->details[i], &details[i]);
        pointers[i] = &details[i];
    }
    body.address = hints->address;
    body.on_write = (hints->address_flags & VMSUP_HINT_ON_WRITE) != 0;
    body.n_hints = hints->details_count;
    body.hints = pointers;
    return CONNECTION_CALL(self, set_call_hint, SET_CALL_HINT, &body);
}

int
vmsup_pause_vcpus(struct vmsup *self, uint64_t cpu_mask, void *user)
{
    MainRequest__PauseVcpus body = MAIN_REQUEST__PAUSE_VCPUS__INIT;

    body.cpu_mask = cpu_mask;
    body.user = (uintptr_t)user;
    return CONNECTION_CALL(self, pause_vcpus, PAUSE_VCPUS, &body);
}

int
vmsup_start(struct vmsup *self)
{
    MainRequest__Start body = MAIN_REQUEST__START__INIT;

    return CONNECTION_CALL(self, start, START, &body);
}
