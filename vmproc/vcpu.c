#include "vmproc/vcpu.h"

#include "common/fd.h"
#include "common/log.h"
#include "vmproc/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/*
 * Set where the kernel tells this thread that a page of its memory has been lost: all that a signal's handler can
 * reach.
 */
static _Thread_local volatile sig_atomic_t page_lost;

static void
ignore_kick(int number)
{
    (void)number;
}

/*
 * The guest ran into a page whose hardware has failed. Any other bus error is a fault of this program's own, and ends
 * it.
 */
static void
note_lost_page(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)
        page_lost = 1;
    else
        signal(number, SIG_DFL);
}

int
vcpu_prepare_signals(void)
{
    const struct sigaction kicked = { .sa_handler = ignore_kick };
    const struct sigaction lost = { .sa_sigaction = note_lost_page, .sa_flags = SA_SIGINFO };

    if (sigaction(VCPU_KICK_SIGNAL, &kicked, NULL) < 0 || sigaction(SIGBUS, &lost, NULL) < 0)
        return -errno;
    return 0;
}

/* A pipe of exactly the size that the original library reads at once. */
static int
create_pipe(int *read_end, int *write_end)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *read_end = ends[0];
    *write_end = ends[1];
    return fcntl(ends[0], F_SETPIPE_SZ, WIRE_VCPU_PIPE_SIZE) < 0 ? -errno : 0;
}

static void *
map_buffer(size_t size)
{
    void *buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return buffer == MAP_FAILED ? NULL : buffer;
}

int
vcpu_new(struct vm *vm, unsigned id, struct vcpu **out)
{
    struct vcpu *vcpu = calloc(1, sizeof *vcpu);
    int result;

    if (vcpu == NULL)
        return -ENOMEM;
    *out = vcpu;
    vcpu->vm = vm;
    vcpu->id = id;
    vcpu->fd = vcpu->request_read = vcpu->plugin_write = vcpu->response_write = vcpu->plugin_read = -1;
    vcpu->init_unread = vcpu->at_init = true;
    pthread_mutex_init(&vcpu->pause_lock, NULL);
    result = create_pipe(&vcpu->request_read, &vcpu->plugin_write);
    if (result >= 0)
        result = create_pipe(&vcpu->plugin_read, &vcpu->response_write);
    if (result >= 0)
        result = arena_create(&vcpu->arena, LIMIT_VCPU_ARENA);
    vcpu->request = map_buffer(WIRE_VCPU_MESSAGE_MAX);
    vcpu->response = map_buffer(WIRE_VCPU_PIPE_SIZE);
    if (result >= 0 && (vcpu->request == NULL || vcpu->response == NULL))
        result = -ENOMEM;
    return result;
}

void
vcpu_free(struct vcpu *vcpu)
{
    if (vcpu == NULL)
        return;
    if (vcpu->run != NULL)
        kvm_unmap_run(vcpu->run, vcpu->vm->run_size);
    if (vcpu->request != NULL)
        munmap(vcpu->request, WIRE_VCPU_MESSAGE_MAX);
    if (vcpu->response != NULL)
        munmap(vcpu->response, WIRE_VCPU_PIPE_SIZE);
    arena_destroy(&vcpu->arena);
    fd_close(&vcpu->fd);
    fd_close(&vcpu->request_read);
    fd_close(&vcpu->plugin_write);
    fd_close(&vcpu->response_write);
    fd_close(&vcpu->plugin_read);
    pthread_mutex_destroy(&vcpu->pause_lock);
    free(vcpu);
}

/* The kernel looks at it as it is about to enter the guest. */
static void
set_immediate_exit(struct vcpu *vcpu, uint8_t value)
{
    __atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

int
vcpu_open(struct vcpu *vcpu)
{
    vcpu->fd = kvm_create_vcpu(vcpu->vm->fd, vcpu->id);
    if (vcpu->fd < 0)
        return vcpu->fd;
    vcpu->run = kvm_map_run(vcpu->fd, vcpu->vm->run_size);
    if (vcpu->run == NULL)
        return -errno;
    if (vcpu->pause_pending)
        set_immediate_exit(vcpu, 1);
    return 0;
}

static void
run_guest(struct vcpu *vcpu)
{
    int result;

    do {
        vcpu_state_before_entry(vcpu);
        result = kvm_enter(vcpu->fd);
        vcpu->sync_valid = result == 0 ? vcpu->sync_wanted : 0;
        vcpu->sync_can_apply = result == 0;
        if (atomic_load(&vcpu->vm->ending))
            return;
        /* Cleared before the pause is looked for, which is set before this is: none is missed. */
        if (result == -EINTR)
            set_immediate_exit(vcpu, 0);
        if (page_lost)
            result = -EFAULT;
        result = vcpu_handle_exit(vcpu, result);
    } while (result == 0);
}

/* The first event, INIT, is given when it is asked for; then all wait for all. */
static void *
run_thread(void *context)
{
    struct vcpu *vcpu = context;
    struct vcpu_resume resume;
    char name[16];

    snprintf(name, sizeof name, "vcpu%u", vcpu->id);
    prctl(PR_SET_NAME, name);
    if (vcpu_serve(vcpu, &resume) == 0) {
        vcpu->at_init = false;
        if (vm_wait_for_all(vcpu->vm) == 0)
            run_guest(vcpu);
    }
    vm_wait_until_told(vcpu->vm);
    vcpu_hang_up(vcpu);
    vm_notify(vcpu->vm);
    return NULL;
}

int
vcpu_start(struct vcpu *vcpu)
{
    pthread_attr_t attributes;
    int result;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, LIMIT_VCPU_STACK);
    result = pthread_create(&vcpu->thread, &attributes, run_thread, vcpu);
    pthread_attr_destroy(&attributes);
    vcpu->started = result == 0;
    return -result;
}

static void
kick(struct vcpu *vcpu)
{
    if (vcpu->run != NULL)
        set_immediate_exit(vcpu, 1);
    if (vcpu->started)
        pthread_kill(vcpu->thread, VCPU_KICK_SIGNAL);
}

void
vcpu_pause(struct vcpu *vcpu, uint64_t user)
{
    pthread_mutex_lock(&vcpu->pause_lock);
    vcpu->pause_pending = true;
    vcpu->pause_user = user;
    pthread_mutex_unlock(&vcpu->pause_lock);
    if (!atomic_load(&vcpu->done))
        kick(vcpu);
}

void
vcpu_bring_out(struct vcpu *vcpu)
{
    if (!atomic_load(&vcpu->done))
        kick(vcpu);
}

void
vcpu_kick_to_end(struct vcpu *vcpu)
{
    if (vcpu->started) {
        kick(vcpu);
    } else if (!atomic_load(&vcpu->done)) {
        vcpu_hang_up(vcpu);
    }
}

void
vcpu_join(struct vcpu *vcpu)
{
    if (vcpu->started)
        pthread_join(vcpu->thread, NULL);
    vcpu->started = false;
}
