/*
 * The state of the VM's own devices: interrupt controllers, timer, clock. On the wire each is the structure of
 * <linux/kvm.h>.
 */
#include "vmproc/kvm.h"
#include "vmproc/request.h"

#include <errno.h>
#include <string.h>

struct device {
    size_t size;
    int (*get)(int vm, void *state);
    int (*set)(int vm, const void *state);
};

static int
get_irqchip(int vm, uint32_t chip, void *state, size_t size)
{
    struct kvm_irqchip irqchip = { .chip_id = chip };
    int result = kvm_get_irqchip(vm, &irqchip);

    memcpy(state, &irqchip.chip, size);
    return result;
}

static int
set_irqchip(int vm, uint32_t chip, const void *state, size_t size)
{
    struct kvm_irqchip irqchip = { .chip_id = chip };

    memcpy(&irqchip.chip, state, size);
    return kvm_set_irqchip(vm, &irqchip);
}

static int
get_pic_primary(int vm, void *state)
{
    return get_irqchip(vm, KVM_IRQCHIP_PIC_MASTER, state, sizeof(struct kvm_pic_state));
}

static int
set_pic_primary(int vm, const void *state)
{
    return set_irqchip(vm, KVM_IRQCHIP_PIC_MASTER, state, sizeof(struct kvm_pic_state));
}

static int
get_pic_secondary(int vm, void *state)
{
    return get_irqchip(vm, KVM_IRQCHIP_PIC_SLAVE, state, sizeof(struct kvm_pic_state));
}

static int
set_pic_secondary(int vm, const void *state)
{
    return set_irqchip(vm, KVM_IRQCHIP_PIC_SLAVE, state, sizeof(struct kvm_pic_state));
}

static int
get_ioapic(int vm, void *state)
{
    return get_irqchip(vm, KVM_IRQCHIP_IOAPIC, state, sizeof(struct kvm_ioapic_state));
}

static int
set_ioapic(int vm, const void *state)
{
    return set_irqchip(vm, KVM_IRQCHIP_IOAPIC, state, sizeof(struct kvm_ioapic_state));
}

static int
get_pit(int vm, void *state)
{
    return kvm_get_pit2(vm, state);
}

static int
set_pit(int vm, const void *state)
{
    return kvm_set_pit2(vm, state);
}

static int
get_clock(int vm, void *state)
{
    return kvm_get_clock(vm, state);
}

static int
set_clock(int vm, const void *state)
{
    return kvm_set_clock(vm, state);
}

static const struct device devices[] = {
    [MAIN_REQUEST__STATE_SET__PIC0] = { sizeof(struct kvm_pic_state), get_pic_primary, set_pic_primary },
    [MAIN_REQUEST__STATE_SET__PIC1] = { sizeof(struct kvm_pic_state), get_pic_secondary, set_pic_secondary },
    [MAIN_REQUEST__STATE_SET__IOAPIC] = { sizeof(struct kvm_ioapic_state), get_ioapic, set_ioapic },
    [MAIN_REQUEST__STATE_SET__PIT] = { sizeof(struct kvm_pit_state2), get_pit, set_pit },
    [MAIN_REQUEST__STATE_SET__CLOCK] = { sizeof(struct kvm_clock_data), get_clock, set_clock },
};

static const struct device *
find_device(MainRequest__StateSet set)
{
    return (size_t)set < sizeof devices / sizeof devices[0] ? &devices[set] : NULL;
}

int
state_get(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const struct device *device = find_device(request->message->get_state->set);
    uint8_t *state;
    int result;

    if (device == NULL)
        return -EINVAL;
    result = vm_make_interrupts(vm);
    if (result < 0)
        return result;
    state = reply_allocate(reply, device->size);
    if (state == NULL)
        return -ENOMEM;
    memset(state, 0, device->size);
    reply->body.state.state.data = state;
    reply->body.state.state.len = device->size;
    return device->get(vm->fd, state);
}

int
state_set(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const MainRequest__SetState *wanted = request->message->set_state;
    const struct device *device = find_device(wanted->set);
    int result;

    (void)reply;
    if (device == NULL || wanted->state.len != device->size)
        return -EINVAL;
    result = vm_make_interrupts(vm);
    return result < 0 ? result : device->set(vm->fd, wanted->state.data);
}

int
state_set_identity_map_address(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    (void)reply;
    return kvm_set_identity_map_address(vm->fd, request->message->set_identity_map_addr->address);
}
