/*
 * What a hostile plugin writes into a vCPU's request pipe: one stream of bytes, cut into requests, each unpacked and
 * served. The first byte says what the vCPU was doing. Every answer must fit its pipe.
 */
#include "tests/fuzz/fake_kvm.h"

#include "common/log.h"
#include "vmproc/vcpu.h"
#include "proto/vcpu_wire.h"
#include "vmproc/vm.h"

#define FLAG_AT_INIT 1
#define FLAG_INIT_READ 2
#define FLAG_SYNC_APPLY 4
#define FLAG_SYNC_VALID 8

static struct vm *
make_vm(void)
{
    struct vm_config config = { .kvm = eventfd(0, EFD_CLOEXEC), .keeper = -1, .vcpu_count = 1, .network = { .tap = -1 } };
    char text[LIMIT_ENDED_TEXT];
    struct vm *vm;

    log_set_level(LOG_LEVEL_ERROR);
    fake_has_vcpus = true;
    if (vm_create(&config, &vm, text, sizeof text) < 0 || vcpu_open(vm->vcpu[0]) < 0)
        abort();
    /* Where more bytes are needed than there are, nothing is waited for. */
    vm_stop(vm);
    return vm;
}

static void
check_answer(struct vcpu *vcpu)
{
    const VcpuResponse *answer = &vcpu->answer.message;

    if (message_pack(&answer->base, vcpu->response + WIRE_VARINT_MAX, WIRE_VCPU_PIPE_SIZE - WIRE_VARINT_MAX) <= 0)
        abort();
    if ((answer->error == 0) == (answer->message_case == VCPU_RESPONSE__MESSAGE__NOT_SET))
        abort();
}

/* What is read by hand is what protobuf-c reads. */
static void
check_resume(struct vcpu *vcpu, const uint8_t *data, size_t size)
{
    VcpuRequest__Resume ours;
    const VcpuRequest *theirs;

    if (!vcpu_wire_get_resume(data, size, &ours))
        return;
    arena_reset(&vcpu->arena);
    theirs = message_unpack(&vcpu->arena, &vcpu_request__descriptor, data, size);
    if (theirs == NULL || theirs->message_case != VCPU_REQUEST__MESSAGE_RESUME ||
        theirs->resume->data.len != ours.data.len || theirs->resume->regs.len != ours.regs.len ||
        theirs->resume->sregs.len != ours.sregs.len || theirs->resume->debugregs.len != ours.debugregs.len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm *vm;
    struct vcpu_resume resume;
    const uint8_t *request;
    size_t request_size;
    struct vcpu *vcpu;

    if (vm == NULL)
        vm = make_vm();
    if (size < 1 || size - 1 > WIRE_VCPU_MESSAGE_MAX)
        return 0;
    vcpu = vm->vcpu[0];
    vcpu->at_init = (data[0] & FLAG_AT_INIT) != 0;
    vcpu->init_unread = vcpu->at_init && (data[0] & FLAG_INIT_READ) == 0;
    vcpu->sync_can_apply = (data[0] & FLAG_SYNC_APPLY) != 0;
    vcpu->sync_valid = (data[0] & FLAG_SYNC_VALID) != 0 ? KVM_SYNC_X86_VALID_FIELDS : 0;
    vcpu->request_done = 0;
    vcpu->request_size = size - 1;
    memcpy(vcpu->request, data + 1, size - 1);
    while (vcpu_pipe_next(vcpu, &request, &request_size) == 0) {
        check_resume(vcpu, request, request_size);
        switch (vcpu_request_handle(vcpu, request, request_size, &resume)) {
        case VCPU_ANSWERED:
            check_answer(vcpu);
            break;
        case VCPU_RESUMED:
            if (resume.size > WIRE_VCPU_MESSAGE_MAX || vcpu->init_unread)
                abort();
            vcpu->at_init = false;
            break;
        case VCPU_SHUT_DOWN:
        case VCPU_UNDECODABLE:
            return 0;
        }
    }
    return 0;
}
