#include "plugin/microvm/vsock_credit.h"

/*
 * A guest with several vCPUs may queue two packets in another order than it wrote them, so that an older count comes after a newer one:
 * it is not believed, and no offence. A count from the future is one.
 */
bool
vsock_credit_learn(struct vsock_credit *credit, uint32_t room, uint32_t taken)
{
    uint32_t under_way = credit->sent - credit->taken, advance = taken - credit->taken;

    credit->room = room;
    if (advance <= under_way)
        credit->taken = taken;
    else if (advance <= INT32_MAX)
        return false;
    return true;
}

uint32_t
vsock_credit_left(const struct vsock_credit *credit)
{
    uint32_t under_way = credit->sent - credit->taken;

    /* A guest may make its buffer smaller than what is in it. */
    return credit->room > under_way ? credit->room - under_way : 0;
}

void
vsock_credit_send(struct vsock_credit *credit, uint32_t size)
{
    credit->sent += size;
}

bool
vsock_credit_receive(struct vsock_credit *credit, uint32_t size)
{
    if (size > VSOCK_BUFFER_SIZE - (credit->received - credit->told))
        return false;
    credit->received += size;
    return true;
}

void
vsock_credit_forward(struct vsock_credit *credit, uint32_t size)
{
    credit->forwarded += size;
}

/* Late enough to be seldom, early enough that the guest need not wait. */
bool
vsock_credit_is_due(const struct vsock_credit *credit)
{
    return credit->forwarded - credit->told >= VSOCK_BUFFER_SIZE / 4;
}

void
vsock_credit_tell(struct vsock_credit *credit, struct virtio_vsock_hdr *header)
{
    header->buf_alloc = VSOCK_BUFFER_SIZE;
    header->fwd_cnt = credit->forwarded;
    credit->told = credit->forwarded;
}
