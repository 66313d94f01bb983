#include "vmproc/vm.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "proto/message.h"
#include "vmproc/kvm.h"
#include "vmproc/request.h"
#include "vmproc/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define KVM_API 12

/* Where KVM may keep a task state segment for itself: three pages below the BIOS, as the original had it. */
#define TSS_ADDRESS 0xfffbd000

/* Turns on what keeps a guest from hurting the host, where this kernel and processor have it. */
static void
limit_guest(const struct vm *vm)
{
    const struct {
        struct kvm_enable_cap cap;
        uint32_t bits; /* that KVM_CHECK_EXTENSION must give */
        const char *name;
    } switches[] = {
        { { .cap = KVM_CAP_X86_BUS_LOCK_EXIT, .args = { KVM_BUS_LOCK_DETECTION_EXIT } },
          KVM_BUS_LOCK_DETECTION_EXIT,
          "bus lock exits" },
        { { .cap = KVM_CAP_X86_NOTIFY_VMEXIT,
            .args = { (uint64_t)LIMIT_NOTIFY_WINDOW << 32 | KVM_X86_NOTIFY_VMEXIT_ENABLED |
                      KVM_X86_NOTIFY_VMEXIT_USER } },
          KVM_X86_NOTIFY_VMEXIT_ENABLED,
          "notify exits" },
        { { .cap = KVM_CAP_HALT_POLL, .args = { LIMIT_HALT_POLL_NS } }, 1, "a cap on polling while halted" },
        { { .cap = KVM_CAP_PMU_CAPABILITY, .args = { KVM_PMU_CAP_DISABLE } },
          KVM_PMU_CAP_DISABLE,
          "no performance counters" },
    };

    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        int has = kvm_check_extension(vm->fd, switches[i].cap.cap);
        int result = has > 0 && ((uint32_t)has & switches[i].bits) != 0
                         ? kvm_enable_capability(vm->fd, &switches[i].cap)
                         : -ENOSYS;

        if (result < 0)
            log_debug("KVM on this machine has not: %s", switches[i].name);
    }
}

/* What KVM must have for this program to work at all. */
static int
check_kvm(struct vm *vm, const char **what)
{
    static const struct {
        uint32_t extension;
        const char *name;
    } needed[] = {
        { KVM_CAP_IRQCHIP, "an interrupt controller (KVM_CAP_IRQCHIP)" },
        { KVM_CAP_PIT2, "a timer (KVM_CAP_PIT2)" },
        { KVM_CAP_USER_MEMORY, "user memory (KVM_CAP_USER_MEMORY)" },
        { KVM_CAP_IOEVENTFD, "ioeventfd (KVM_CAP_IOEVENTFD)" },
        { KVM_CAP_IRQFD_RESAMPLE, "irqfd with resample (KVM_CAP_IRQFD_RESAMPLE)" },
        { KVM_CAP_IMMEDIATE_EXIT, "immediate exit (KVM_CAP_IMMEDIATE_EXIT)" },
    };
    int result = kvm_get_api_version(vm->kvm), sync;

    *what = "KVM's API is not version 12";
    if (result != KVM_API)
        return result < 0 ? result : -ENOSYS;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        *what = needed[i].name;
        if (kvm_check_extension(vm->kvm, needed[i].extension) <= 0)
            return -ENOSYS;
    }
    *what = "KVM_GET_VCPU_MMAP_SIZE";
    result = kvm_get_vcpu_mmap_size(vm->kvm);
    if (result < (int)sizeof(struct kvm_run))
        return result < 0 ? result : -ENOSYS;
    vm->run_size = (size_t)result;
    sync = kvm_check_extension(vm->kvm, KVM_CAP_SYNC_REGS);
    vm->sync_fields = sync > 0 ? (uint64_t)sync & KVM_SYNC_X86_VALID_FIELDS : 0;
    return 0;
}

/* Whoever closes the last descriptor of a VM waits while KVM frees it: not this process, if the supervisor can help it. */
static void
give_to_keeper(const struct vm *vm, int keeper)
{
    int result = message_send(keeper, "", 1, &vm->fd, 1, MSG_DONTWAIT);

    if (result < 0)
        log_debug("the VM is not kept: %s: this process will wait for its end", strerror(-result));
}

static int
create_in_kvm(struct vm *vm, int keeper, const char **what)
{
    int result = check_kvm(vm, what);

    if (result < 0)
        return result;
    *what = "KVM_CREATE_VM";
    vm->fd = kvm_create_vm(vm->kvm);
    if (vm->fd < 0)
        return vm->fd;
    if (keeper >= 0)
        give_to_keeper(vm, keeper);
    limit_guest(vm);
    coalesced_look(vm);
    *what = "KVM_SET_TSS_ADDR";
    return kvm_set_tss_address(vm->fd, TSS_ADDRESS);
}

int
vm_make_interrupts(struct vm *vm)
{
    const struct kvm_pit_config pit = { .flags = 0 };
    int result = 0;

    if (!vm->has_irqchip) {
        result = kvm_create_irqchip(vm->fd);
        vm->has_irqchip = result >= 0;
    }
    if (result >= 0 && !vm->has_timer) {
        result = kvm_create_pit2(vm->fd, &pit);
        vm->has_timer = result >= 0;
    }
    return result;
}

/* The plugin reads this eventfd with blocking reads, so the write may block too; a signal then lets it look around. */
static void *
run_herald(void *context)
{
    const uint64_t one = 1;
    struct vm *vm = context;

    prctl(PR_SET_NAME, "herald");
    pthread_mutex_lock(&vm->lock);
    while (!vm->told)
        pthread_cond_wait(&vm->changed, &vm->lock);
    pthread_mutex_unlock(&vm->lock);
    while (write(vm->shutdown_event, &one, sizeof one) < 0 && errno == EINTR && !atomic_load(&vm->herald_released))
        continue;
    atomic_store(&vm->herald_done, true);
    vm_notify(vm);
    return NULL;
}

static int
start_herald(struct vm *vm)
{
    pthread_attr_t attributes;
    int result;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, LIMIT_VCPU_STACK);
    result = pthread_create(&vm->herald, &attributes, run_herald, vm);
    pthread_attr_destroy(&attributes);
    vm->herald_started = result == 0;
    return -result;
}

bool
vm_herald_is_done(struct vm *vm)
{
    return atomic_load(&vm->herald_done);
}

void
vm_herald_release(struct vm *vm)
{
    atomic_store(&vm->herald_released, true);
    pthread_kill(vm->herald, VCPU_KICK_SIGNAL);
}

static int
create_own(struct vm *vm, const char **what)
{
    *what = "eventfd";
    vm->shutdown_event = eventfd(0, EFD_CLOEXEC);
    vm->notice = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vm->shutdown_event < 0 || vm->notice < 0)
        return -errno;
    *what = "a vCPU's pipes and buffers";
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        int result = vcpu_new(vm, i, &vm->vcpu[i]);

        if (result < 0)
            return result;
    }
    *what = "a thread";
    return start_herald(vm);
}

/* The server comes before the vCPUs, or enough of these would keep it waiting for as long as they like. */
static void
init_access_lock(struct vm *vm)
{
    pthread_rwlockattr_t attributes;

    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&vm->access_lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

int
vm_create(const struct vm_config *config, struct vm **out, char *text, size_t text_size)
{
    struct vm *vm = calloc(1, sizeof *vm);
    const char *what = "memory";
    int keeper = config->keeper, result = -ENOMEM;

    *out = NULL;
    if (vm == NULL) {
        int kvm = config->kvm, tap = config->network.tap;

        fd_close(&kvm);
        fd_close(&keeper);
        fd_close(&tap);
        goto report;
    }
    vm->kvm = config->kvm;
    vm->network = config->network;
    vm->fd = vm->shutdown_event = vm->notice = vm->channels = -1;
    vm->vcpu_count = config->vcpu_count;
    vm->memory_limit = config->memory_limit;
    vm->exit_spin = config->exit_spin;
    objects_init(&vm->objects);
    bucket_init(&vm->irq_rate, LIMIT_SET_IRQ_RATE, LIMIT_SET_IRQ_BURST);
    bucket_init(&vm->complaint_rate, LIMIT_LOG_RATE, LIMIT_LOG_BURST);
    init_access_lock(vm);
    coalesced_init(&vm->coalesced);
    pthread_mutex_init(&vm->lock, NULL);
    pthread_cond_init(&vm->changed, NULL);
    result = vm->vcpu_count >= 1 && vm->vcpu_count <= LIMIT_VCPUS ? create_in_kvm(vm, keeper, &what) : -EINVAL;
    fd_close(&keeper);
    if (result >= 0)
        result = create_own(vm, &what);
    if (result >= 0) {
        *out = vm;
        return 0;
    }
    vm_destroy(vm);
report:
    snprintf(text, text_size, "cannot create the VM: %s: %s", what, strerror(-result));
    return result;
}

void
vm_destroy(struct vm *vm)
{
    struct object *object;

    if (vm == NULL)
        return;
    /* Whoever was to tell the supervisor has ended, too. */
    vm_set_told(vm);
    if (vm->herald_started)
        pthread_join(vm->herald, NULL);
    channels_destroy(vm);
    for (unsigned i = 0; i < LIMIT_VCPUS; i++)
        vcpu_free(vm->vcpu[i]);
    while ((object = objects_any(&vm->objects)) != NULL)
        object_destroy(vm, object);
    fd_close(&vm->network.tap);
    fd_close(&vm->notice);
    fd_close(&vm->shutdown_event);
    fd_close(&vm->fd);
    fd_close(&vm->kvm);
    coalesced_destroy(&vm->coalesced);
    pthread_rwlock_destroy(&vm->access_lock);
    pthread_mutex_destroy(&vm->lock);
    pthread_cond_destroy(&vm->changed);
    free(vm);
}

int
vm_start(struct vm *vm)
{
    int result;

    if (vm->started)
        return -EINVAL;
    if (atomic_load(&vm->ending))
        return -ESHUTDOWN;
    vm->started = true;
    result = vm_make_interrupts(vm);
    for (unsigned i = 0; i < vm->vcpu_count && result >= 0; i++)
        result = vcpu_open(vm->vcpu[i]);
    for (unsigned i = 0; i < vm->vcpu_count && result >= 0; i++)
        result = vcpu_start(vm->vcpu[i]);
    /* A vCPU cannot be taken back from KVM: there is no second try. */
    if (result < 0)
        vm_end(vm, result == -ENOMEM ? CONTROL_ENDED__KIND__OUT_OF_MEMORY : CONTROL_ENDED__KIND__KVM_FAILED, 0,
               (uint64_t)-result, "the vCPUs cannot be created: %s", strerror(-result));
    return result;
}

void
vm_notify(struct vm *vm)
{
    const uint64_t one = 1;

    /* It fails only where the counter is full: then the server is being woken already. */
    if (write(vm->notice, &one, sizeof one) < 0)
        return;
}

/* `vm->lock` is held. */
static void
set_ending(struct vm *vm)
{
    atomic_store(&vm->ending, true);
    pthread_cond_broadcast(&vm->changed);
}

void
vm_end(struct vm *vm, ControlEnded__Kind kind, unsigned vcpu, uint64_t code, const char *format, ...)
{
    va_list arguments;

    pthread_mutex_lock(&vm->lock);
    if (!vm->end_known && !atomic_load(&vm->ending)) {
        vm->end_known = true;
        vm->end.kind = kind;
        vm->end.vcpu = vcpu;
        vm->end.code = code;
        va_start(arguments, format);
        vsnprintf(vm->end.text, sizeof vm->end.text, format, arguments);
        va_end(arguments);
    }
    set_ending(vm);
    pthread_mutex_unlock(&vm->lock);
    vm_notify(vm);
}

void
vm_stop(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    if (!vm->end_known)
        vm->told = true;
    set_ending(vm);
    pthread_mutex_unlock(&vm->lock);
    vm_notify(vm);
}

void
vm_set_told(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    vm->told = true;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

void
vm_wait_until_told(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    while (atomic_load(&vm->ending) && !vm->told)
        pthread_cond_wait(&vm->changed, &vm->lock);
    pthread_mutex_unlock(&vm->lock);
}

const struct vm_end *
vm_get_end(struct vm *vm)
{
    const struct vm_end *end;

    pthread_mutex_lock(&vm->lock);
    end = vm->end_known ? &vm->end : NULL;
    pthread_mutex_unlock(&vm->lock);
    return end;
}

int
vm_wait_for_all(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    if (++vm->initialized == vm->vcpu_count) {
        pthread_cond_broadcast(&vm->changed);
        vm_notify(vm);
    }
    while (vm->initialized < vm->vcpu_count && !atomic_load(&vm->ending))
        pthread_cond_wait(&vm->changed, &vm->lock);
    pthread_mutex_unlock(&vm->lock);
    return atomic_load(&vm->ending) ? -ESHUTDOWN : 0;
}

bool
vm_all_initialized(struct vm *vm)
{
    bool all;

    pthread_mutex_lock(&vm->lock);
    all = vm->initialized == vm->vcpu_count;
    pthread_mutex_unlock(&vm->lock);
    return all;
}

void
vm_delay(struct vm *vm, unsigned milliseconds)
{
    struct timespec until;
    int result = 0;

    /* Not the wall clock, which may be set back. */
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)milliseconds * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&vm->lock);
    while (result == 0 && !atomic_load(&vm->ending))
        result = pthread_cond_clockwait(&vm->changed, &vm->lock, CLOCK_MONOTONIC, &until);
    pthread_mutex_unlock(&vm->lock);
}

void
vm_complain(struct vm *vm, const char *format, ...)
{
    unsigned long dropped = 0;
    va_list arguments;

    pthread_mutex_lock(&vm->lock);
    if (!bucket_try(&vm->complaint_rate, clock_nanoseconds())) {
        vm->complaints_dropped++;
        pthread_mutex_unlock(&vm->lock);
        return;
    }
    dropped = vm->complaints_dropped;
    vm->complaints_dropped = 0;
    pthread_mutex_unlock(&vm->lock);
    if (dropped > 0)
        log_warn("%lu more warnings of this kind were not written", dropped);
    va_start(arguments, format);
    log_vwrite(LOG_LEVEL_WARNING, format, arguments);
    va_end(arguments);
}
