/*
 * What a vCPU says to the plugin and hears from it, whichever way: over its pipes, or over its channel where the plugin has asked for
 * that before the start.
 */
#include "vmproc/vcpu.h"

#include "common/counter.h"
#include "common/fd.h"

#include <errno.h>

int
vcpu_send_event(struct vcpu *vcpu)
{
    return vcpu->channel != NULL ? vcpu_channel_send(vcpu, true) : vcpu_pipe_send(vcpu);
}

int
vcpu_send_access(struct vcpu *vcpu, const VcpuResponse__Wait__Io *io)
{
    int result = vcpu->channel != NULL ? vcpu_channel_send_access(vcpu, io) : vcpu_pipe_send_access(vcpu, io);

    if (result == 0 && io->no_resume)
        counter_add(&vcpu->counts.unawaited, 1);
    return result;
}

static enum vcpu_verdict
next_from_pipe(struct vcpu *vcpu, struct vcpu_resume *resume)
{
    const uint8_t *data;
    size_t size;
    int result = vcpu_pipe_next(vcpu, &data, &size);

    if (result < 0)
        return result == -EBADMSG ? VCPU_UNDECODABLE : VCPU_SHUT_DOWN;
    return vcpu_request_handle(vcpu, data, size, resume);
}

/* The wait for INIT is answered by an event; whatever else is asked, by an answer. */
static int
send_answer(struct vcpu *vcpu)
{
    if (vcpu->channel != NULL)
        return vcpu_channel_send(vcpu, vcpu->answer.message.message_case == VCPU_RESPONSE__MESSAGE_WAIT);
    return vcpu_pipe_send(vcpu);
}

int
vcpu_serve(struct vcpu *vcpu, struct vcpu_resume *resume)
{
    for (;;) {
        switch (vcpu->channel != NULL ? vcpu_channel_next(vcpu, resume) : next_from_pipe(vcpu, resume)) {
        case VCPU_ANSWERED:
            if (send_answer(vcpu) < 0)
                return -ESHUTDOWN;
            break;
        case VCPU_RESUMED:
            counter_add(vcpu->channel != NULL ? &vcpu->counts.channel : &vcpu->counts.pipes, 1);
            return 0;
        case VCPU_SHUT_DOWN:
            return -ESHUTDOWN;
        case VCPU_UNDECODABLE:
            vm_end(vcpu->vm, CONTROL_ENDED__KIND__PLUGIN_PROTOCOL, vcpu->id, 0,
                   "the plugin sent bytes to vCPU %u that are no request of the vCPU protocol", vcpu->id);
            return -ESHUTDOWN;
        }
    }
}

/* The request pipe stays open: the plugin's next resume must not die of SIGPIPE. */
void
vcpu_hang_up(struct vcpu *vcpu)
{
    if (vcpu->channel != NULL)
        vcpu_channel_end(vcpu);
    fd_close(&vcpu->response_write);
    atomic_store(&vcpu->done, true);
}
