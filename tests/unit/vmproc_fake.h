/*
 * One vCPU that has come back from KVM_RUN, on a KVM made of memory: a test says why, and sees what vmproc makes of it.
 */
#ifndef VMSUP_TESTS_UNIT_VMPROC_FAKE_H
#define VMSUP_TESTS_UNIT_VMPROC_FAKE_H

#include "tests/fuzz/fake_kvm.h"

#include "common/log.h"
#include "vmproc/vcpu.h"
#include "vmproc/vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#define UNUSED __attribute__((unused))

#define DATA_OFFSET 4096
#define PORT 0x60

/* A VM with one vCPU that has come back from KVM_RUN. */
static UNUSED struct vcpu *
make_vcpu(void)
{
    struct vm_config config = { .kvm = eventfd(0, EFD_CLOEXEC), .keeper = -1, .vcpu_count = 1, .network = { .tap = -1 } };
    char text[LIMIT_ENDED_TEXT];
    struct vm *vm;

    fake_has_vcpus = true;
    fake_calls = 0;
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(vm_create(&config, &vm, text, sizeof text), 0);
    assert_int_equal(vcpu_open(vm->vcpu[0]), 0);
    vm->vcpu[0]->init_unread = vm->vcpu[0]->at_init = false;
    return vm->vcpu[0];
}

static UNUSED void
destroy(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    vm_stop(vm);
    vm_destroy(vm);
}

/* It is for an access to PORT, with its data at DATA_OFFSET. */
static UNUSED void
set_access(struct vcpu *vcpu, bool is_write, uint8_t size, uint32_t count)
{
    struct kvm_run *run = vcpu->run;

    run->exit_reason = KVM_EXIT_IO;
    run->io.direction = is_write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
    run->io.size = size;
    run->io.port = PORT;
    run->io.count = count;
    run->io.data_offset = DATA_OFFSET;
}

#endif
