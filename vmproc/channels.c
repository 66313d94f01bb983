/*
 * The vCPUs' channels: one memfd of this process's with a channel for each, which the plugin gets where it asks for it. From then on the
 * vCPUs listen to nothing else, so it must ask before the start.
 */
#include "vmproc/request.h"
#include "vmproc/vcpu.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static int
create_memory(size_t size)
{
    int fd = memfd_create("channels", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = errno;

        fd_close(&fd);
        return -error;
    }
    return fd;
}

/* A byte to wake the plugin by goes into a pipe that it may never read: who writes it must not wait for that. */
static int
attach(struct vcpu *vcpu, struct vcpu_channel *channel)
{
    int result = fd_set_nonblocking(vcpu->response_write, true);

    if (result < 0)
        return result;
    channel->response.spin_max = vcpu->vm->exit_spin;
    vcpu->wait.spin_max = vcpu->vm->exit_spin;
    vcpu->channel = channel;
    return 0;
}

static int
create(struct vm *vm)
{
    const size_t size = VCPU_CHANNEL_SIZE * vm->vcpu_count;
    void *mapping;
    int result = 0;

    vm->channels = create_memory(size);
    if (vm->channels < 0)
        return vm->channels;
    mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->channels, 0);
    if (mapping == MAP_FAILED)
        return -errno;
    vm->channel = mapping;
    for (unsigned i = 0; i < vm->vcpu_count && result == 0; i++)
        result = attach(vm->vcpu[i], &vm->channel[i]);
    return result;
}

int
channels_get(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    int result = 0;

    (void)request;
    if (vm->channel == NULL) {
        if (vm->started)
            return -EBUSY;
        result = create(vm);
    }
    if (result < 0) {
        channels_destroy(vm);
        return result;
    }
    reply_add_fd(reply, vm->channels, REPLY_FD_VM);
    return 0;
}

void
channels_destroy(struct vm *vm)
{
    if (vm->channel != NULL)
        munmap(vm->channel, VCPU_CHANNEL_SIZE * vm->vcpu_count);
    vm->channel = NULL;
    fd_close(&vm->channels);
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        if (vm->vcpu[i] != NULL)
            vm->vcpu[i]->channel = NULL;
}
