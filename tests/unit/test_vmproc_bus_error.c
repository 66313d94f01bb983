/*
 * A page of the guest's whose hardware fails while a vCPU is in KVM_RUN, as the kernel tells of it: by a signal to the
 * thread. On a KVM made of memory, since no test should take a page from its host.
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
#include <unistd.h>

#include <cmocka.h>

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

/* A VM whose vCPU meets a bus error; comes back once its thread has ended. */
static struct vm *
run_into(int bus_error_code)
{
    static const uint8_t wait_and_resume[] = { 0x0a, 0x00, 0x12, 0x00 };
    struct vm_config config = { .kvm = eventfd(0, EFD_CLOEXEC), .vcpu_count = 1, .network = { .tap = -1 } };
    char text[LIMIT_ENDED_TEXT];
    struct vm *vm;

    fake_has_vcpus = true;
    fake_enter = raise_bus_error;
    code = bus_error_code;
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(vcpu_prepare_signals(), 0);
    assert_int_equal(vm_create(&config, &vm, text, sizeof text), 0);
    assert_int_equal(vm_start(vm), 0);
    assert_int_equal(write(vm->vcpu[0]->plugin_write, wait_and_resume, sizeof wait_and_resume), sizeof wait_and_resume);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lost_page_is_an_ending_of_its_own),
        cmocka_unit_test(test_another_bus_error_kills),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
