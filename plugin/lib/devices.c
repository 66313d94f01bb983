/* The state of the devices that are in the kernel. On the wire each is the structure of <linux/kvm.h>. */
#include "plugin/lib/connection.h"

#include <errno.h>
#include <string.h>

static int
get_state(struct vmsup *self, MainRequest__StateSet set, void *state, size_t size)
{
    MainRequest__GetState body = MAIN_REQUEST__GET_STATE__INIT;
    const MainRequest request = CONNECTION_REQUEST(get_state, GET_STATE, &body);
    const MainResponse *response;
    int result;

    body.set = set;
    result = connection_call(self, &request, -1, MAIN_RESPONSE__MESSAGE_GET_STATE, &response);
    if (result < 0)
        return result;
    if (response->get_state->state.len != size)
        return -EPROTO;
    memcpy(state, response->get_state->state.data, size);
    return 0;
}

static int
set_state(struct vmsup *self, MainRequest__StateSet set, const void *state, size_t size)
{
    MainRequest__SetState body = MAIN_REQUEST__SET_STATE__INIT;

    body.set = set;
    /* Packing only reads it. */
    body.state.data = (uint8_t *)(uintptr_t)state;
    body.state.len = size;
    return CONNECTION_CALL(self, set_state, SET_STATE, &body);
}

static MainRequest__StateSet
pic(bool primary)
{
    return primary ? MAIN_REQUEST__STATE_SET__PIC0 : MAIN_REQUEST__STATE_SET__PIC1;
}

int
vmsup_get_pic_state(struct vmsup *self, bool primary, struct kvm_pic_state *state)
{
    return get_state(self, pic(primary), state, sizeof *state);
}

int
vmsup_set_pic_state(struct vmsup *self, bool primary, const struct kvm_pic_state *state)
{
    return set_state(self, pic(primary), state, sizeof *state);
}

int
vmsup_get_ioapic_state(struct vmsup *self, struct kvm_ioapic_state *state)
{
    return get_state(self, MAIN_REQUEST__STATE_SET__IOAPIC, state, sizeof *state);
}

int
vmsup_set_ioapic_state(struct vmsup *self, const struct kvm_ioapic_state *state)
{
    return set_state(self, MAIN_REQUEST__STATE_SET__IOAPIC, state, sizeof *state);
}

int
vmsup_get_pit_state(struct vmsup *self, struct kvm_pit_state2 *state)
{
    return get_state(self, MAIN_REQUEST__STATE_SET__PIT, state, sizeof *state);
}

int
vmsup_set_pit_state(struct vmsup *self, const struct kvm_pit_state2 *state)
{
    return set_state(self, MAIN_REQUEST__STATE_SET__PIT, state, sizeof *state);
}

int
vmsup_get_clock(struct vmsup *self, struct kvm_clock_data *clock_data)
{
    return get_state(self, MAIN_REQUEST__STATE_SET__CLOCK, clock_data, sizeof *clock_data);
}

int
vmsup_set_clock(struct vmsup *self, const struct kvm_clock_data *clock_data)
{
    return set_state(self, MAIN_REQUEST__STATE_SET__CLOCK, clock_data, sizeof *clock_data);
}

int
vmsup_set_identity_map_addr(struct vmsup *self, uint32_t address)
{
    MainRequest__SetIdentityMapAddr body = MAIN_REQUEST__SET_IDENTITY_MAP_ADDR__INIT;

    body.address = address;
    return CONNECTION_CALL(self, set_identity_map_addr, SET_IDENTITY_MAP_ADDR, &body);
}
