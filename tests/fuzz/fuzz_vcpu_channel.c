/*
 * What a hostile plugin writes into a vCPU's channel, while the vCPU reads it: an access or an event is told to it, and until a resume
 * comes a second thread writes the input's patches over and over, so that a field is another one at each load. It moves the sequence
 * number and the ring's head on all the while, so that nothing is waited for, and after some rounds the VM is stopped.
 *
 * The first four bytes say what the vCPU was doing. A patch is a byte for where, one or two for the place, one for the length, the bytes.
 */
#include "tests/fuzz/fake_kvm.h"

#include "common/log.h"
#include "vmproc/request.h"
#include "vmproc/vcpu.h"
#include "vmproc/vm.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FLAG_AT_INIT 1
#define FLAG_INIT_READ 2
#define FLAG_SYNC_APPLY 4
#define FLAG_SYNC_VALID 8
#define FLAG_WRITE 16
#define FLAG_ASYNC 32
#define FLAG_PAUSE 64
#define FLAG_HINT 128

#define PORT 0x60
#define ASYNC_PORT 0x61
#define DATA_OFFSET 4096
#define ACCESS_MAX 4096
#define ROUNDS 64
#define EXITS 20

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct vm *vm;
static const uint8_t *script; /* NULL: nothing is to be written */
static size_t script_size;
static atomic_bool done; /* the vCPU is: nobody reads what is written */

static void
write_patch(uint8_t where, uint16_t place, const uint8_t *bytes, size_t size)
{
    static const struct {
        size_t begin, size;
    } targets[] = {
        { offsetof(struct vcpu_channel, request), 64 },
        { offsetof(struct vcpu_channel, request), 64 },
        { offsetof(struct vcpu_channel, request_payload), 256 },
        { offsetof(struct vcpu_channel, request_payload), WIRE_VCPU_MESSAGE_MAX },
        { offsetof(struct vcpu_channel, request_states), sizeof(struct vcpu_channel_states) },
        { offsetof(struct vcpu_channel, ring_tail), 128 },
        { offsetof(struct vcpu_channel, vmproc_sleeps), 4 },
        { offsetof(struct vcpu_channel, plugin_sleeps), 4 },
        { 0, offsetof(struct vcpu_channel, response_payload) },
        { offsetof(struct vcpu_channel, ring), VCPU_CHANNEL_RING_SIZE },
    };
    const size_t target = where % (sizeof targets / sizeof targets[0]), offset = place % targets[target].size;
    volatile uint8_t *to = (volatile uint8_t *)vm->channel + targets[target].begin + offset;

    for (size_t i = 0; i < size && offset + i < targets[target].size; i++)
        to[i] = bytes[i];
}

static void
write_patches(void)
{
    size_t read = 0;

    while (script_size - read >= 4) {
        const uint8_t *patch = script + read;
        const size_t left = script_size - read - 4, size = patch[3] < left ? patch[3] : left;

        write_patch(patch[0], (uint16_t)(patch[1] | patch[2] << 8), patch + 4, size);
        read += 4 + size;
    }
}

/* As a plugin does that has answered and read everything. */
static void
go_on(void)
{
    struct vcpu_channel *channel = vm->channel;

    atomic_store(&channel->ring_head, atomic_load(&channel->ring_tail));
    atomic_fetch_add(&channel->request.sequence, 1);
    atomic_store(&channel->vmproc_sleeps, VCPU_CHANNEL_AWAKE);
    syscall(SYS_futex, &channel->vmproc_sleeps, FUTEX_WAKE, 1, NULL);
}

static void *
scribble(void *context)
{
    (void)context;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (script == NULL)
            pthread_cond_wait(&changed, &lock);
        for (unsigned round = 0; round < ROUNDS && !atomic_load(&done); round++) {
            write_patches();
            go_on();
        }
        vm_stop(vm);
        go_on();
        script = NULL;
        pthread_cond_signal(&changed);
    }
    return NULL;
}

static void
make_vm(void)
{
    struct vm_config config = { .kvm = eventfd(0, EFD_CLOEXEC), .vcpu_count = 1, .network = { .tap = -1 }, .exit_spin = 10000 };
    struct reply reply = { .new_connection = -1 };
    char text[LIMIT_ENDED_TEXT];
    pthread_t thread;

    log_set_level(LOG_LEVEL_ERROR);
    fake_has_vcpus = true;
    if (vm_create(&config, &vm, text, sizeof text) < 0 || vcpu_open(vm->vcpu[0]) < 0 || channels_get(vm, NULL, &reply) < 0 ||
        ranges_add(&vm->ranges, ADDRESS_SPACE__IOPORT, PORT, 1, RANGE_AWAITED) < 0 ||
        ranges_add(&vm->ranges, ADDRESS_SPACE__IOPORT, ASYNC_PORT, 1, RANGE_ASYNC) < 0 || pthread_create(&thread, NULL, scribble, NULL) != 0)
        abort();
}

static void
set_up(struct vcpu *vcpu, const uint8_t *data)
{
    struct kvm_run *run = vcpu->run;

    vm->end_known = vm->told = false;
    atomic_store(&vm->ending, false);
    atomic_store(&done, false);
    vm->hint = (struct hint){ .address = (data[0] & FLAG_HINT) != 0 ? PORT : 1, .detail_count = 1 };
    vm->hint.detail[0] = (struct hint_detail){ .send_sregs = true, .send_debugregs = true };
    vcpu->at_init = (data[0] & FLAG_AT_INIT) != 0;
    vcpu->init_unread = vcpu->at_init && (data[0] & FLAG_INIT_READ) == 0;
    vcpu->sync_can_apply = (data[0] & FLAG_SYNC_APPLY) != 0;
    vcpu->sync_valid = (data[0] & FLAG_SYNC_VALID) != 0 ? KVM_SYNC_X86_VALID_FIELDS : 0;
    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = (data[0] & FLAG_WRITE) != 0 ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
    run->io.port = (data[0] & FLAG_ASYNC) != 0 ? ASYNC_PORT : PORT;
    run->io.size = 1;
    run->io.count = 1 + (uint32_t)(data[1] | data[2] << 8) % ACCESS_MAX;
    run->io.data_offset = DATA_OFFSET;
    vcpu->wait.spin = data[3] % 2 == 0 ? 0 : 10000;
}

/* What is sure whatever the plugin does: why the VM ended, and what the vCPU alone may write. */
static void
check_end(const struct vcpu *vcpu, uint32_t tail)
{
    const struct vm_end *end = vm_get_end(vm);

    if (end != NULL && end->kind != CONTROL_ENDED__KIND__PLUGIN_PROTOCOL && end->kind != CONTROL_ENDED__KIND__KVM_FAILED)
        abort();
    if (vcpu->ring_tail - tail > EXITS * (VCPU_CHANNEL_DATA_MAX + 2 * VCPU_CHANNEL_RING_UNIT) * 2)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vcpu_resume resume;
    struct vcpu *vcpu;
    uint32_t tail;
    int result = 0;

    if (vm == NULL)
        make_vm();
    if (size < 4)
        return 0;
    vcpu = vm->vcpu[0];
    tail = vcpu->ring_tail;
    pthread_mutex_lock(&lock);
    set_up(vcpu, data);
    script = data + 4;
    script_size = size - 4;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    if (vcpu->init_unread || vcpu->at_init)
        result = vcpu_serve(vcpu, &resume);
    for (unsigned i = 0; i < EXITS && result == 0; i++) {
        if ((data[0] & FLAG_PAUSE) != 0 && i % 4 == 3) {
            vcpu_pause(vcpu, i);
            result = vcpu_handle_exit(vcpu, -EINTR);
        } else {
            result = vcpu_handle_exit(vcpu, 0);
        }
    }
    atomic_store(&done, true);
    pthread_mutex_lock(&lock);
    while (script != NULL)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    check_end(vcpu, tail);
    return 0;
}
