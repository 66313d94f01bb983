/* The vCPUs as a whole: their pipes, their start, pausing them, and the VM's end. */
#include "vmproc/request.h"
#include "vmproc/vcpu.h"

#include <errno.h>

int
run_get_vcpus(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    (void)request;
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        reply_add_fd(reply, vm->vcpu[i]->plugin_write, REPLY_FD_VM);
        reply_add_fd(reply, vm->vcpu[i]->plugin_read, REPLY_FD_VM);
    }
    return 0;
}

int
run_start(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    (void)request;
    (void)reply;
    return vm_start(vm);
}

/* The mask has 64 bits: vCPUs past these cannot be named. Bits past the last vCPU mean nothing. */
int
run_pause_vcpus(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const MainRequest__PauseVcpus *wanted = request->message->pause_vcpus;

    (void)reply;
    for (unsigned i = 0; i < vm->vcpu_count && i < 64; i++)
        if ((wanted->cpu_mask >> i & 1) != 0)
            vcpu_pause(vm->vcpu[i], wanted->user);
    return 0;
}

int
run_get_shutdown_eventfd(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    (void)request;
    reply_add_fd(reply, vm->shutdown_event, REPLY_FD_VM);
    return 0;
}
