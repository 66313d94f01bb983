/*
 * vCPUs' threads on a KVM made of memory, which does what no guest and no host can be made to do at will: pages whose
 * hardware fails (the kernel tells the thread by a signal), and guests that come back from KVM_RUN at once, for ever.
 */
#include "tests/fuzz/fake_kvm.h"

#include "common/log.h"
#include "vmproc/vcpu.h"
#include "vmproc/vm.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CROWD 32
#define CHANGES 100
#define CHANGES_SECONDS 60

static int code;

/* The signal with the kernel's own code. It interrupts KVM_RUN. */
static int
raise_bus_error(void)
{
    siginfo_t info = { .si_signo = SIGBUS, .si_code = code };

    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info) < 0)
        _exit(1);
    return -EINTR;
}

static struct vm *
make_vm(unsigned vcpus, int (*enter)(void))
{
    struct vm_config config = { .kvm = eventfd(0, EFD_CLOEXEC), .keeper = -1, .vcpu_count = vcpus, .network = { .tap = -1 } };
    char text[LIMIT_ENDED_TEXT];
    struct vm *vm;

    fake_has_vcpus = true;
    fake_enter = enter;
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(vcpu_prepare_signals(), 0);
    assert_int_equal(vm_create(&config, &vm, text, sizeof text), 0);
    assert_int_equal(vm_start(vm), 0);
    return vm;
}

/* Past INIT, with the answer to the wait left unread. */
static void
resume(struct vcpu *vcpu)
{
    static const uint8_t wait_and_resume[] = { 0x0a, 0x00, 0x12, 0x00 };

    assert_int_equal(write(vcpu->plugin_write, wait_and_resume, sizeof wait_and_resume), sizeof wait_and_resume);
}

/* A VM whose vCPU meets a bus error; comes back once its thread has ended. */
static struct vm *
run_into(int bus_error_code)
{
    struct vm *vm;

    code = bus_error_code;
    vm = make_vm(1, raise_bus_error);
    resume(vm->vcpu[0]);
    for (int waited = 0; !atomic_load(&vm->ending) && waited < 5000; waited++)
        usleep(1000);
    vm_set_told(vm);
    assert_true(atomic_load(&vm->ending));
    vcpu_join(vm->vcpu[0]);
    return vm;
}

static void
test_a_lost_page_is_an_ending_of_its_own(void **state)
{
    static const int codes[] = { BUS_MCEERR_AR, BUS_MCEERR_AO };

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct vm *vm = run_into(codes[i]);
        const struct vm_end *end = vm_get_end(vm);

        assert_non_null(end);
        assert_int_equal(end->kind, CONTROL_ENDED__KIND__OUT_OF_MEMORY);
        assert_non_null(strstr(end->text, "vCPU 0"));
        vm_destroy(vm);
    }
}

/* It is a fault of this program's own, and is not passed over. */
static void
test_another_bus_error_kills(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        run_into(BUS_ADRERR);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

static int
come_back_at_once(void)
{
    return 0;
}

/* However many vCPUs do nothing but accesses that nobody wants, what is reserved can be changed. */
static void
test_a_crowd_of_accesses_keeps_no_change_waiting(void **state)
{
    struct vm *vm = make_vm(CROWD, come_back_at_once);
    const time_t begin = time(NULL);

    (void)state;
    for (unsigned i = 0; i < CROWD; i++) {
        struct kvm_run *run = vm->vcpu[i]->run;

        run->exit_reason = KVM_EXIT_IO;
        run->io.direction = KVM_EXIT_IO_OUT;
        run->io.size = 1;
        run->io.count = 1;
        run->io.data_offset = 4096;
    }
    for (unsigned i = 0; i < CROWD; i++)
        resume(vm->vcpu[i]);
    for (unsigned i = 0; i < CHANGES; i++) {
        usleep(1000);
        pthread_rwlock_wrlock(&vm->access_lock);
        assert_int_equal(ranges_add(&vm->ranges, ADDRESS_SPACE__MMIO, i, 1, RANGE_AWAITED), 0);
        pthread_rwlock_unlock(&vm->access_lock);
        assert_true(time(NULL) - begin < CHANGES_SECONDS);
    }
    vm_stop(vm);
    for (unsigned i = 0; i < CROWD; i++)
        vcpu_join(vm->vcpu[i]);
    vm_destroy(vm);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lost_page_is_an_ending_of_its_own),
        cmocka_unit_test(test_another_bus_error_kills),
        cmocka_unit_test(test_a_crowd_of_accesses_keeps_no_change_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
