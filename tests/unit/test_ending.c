/* Why a VM ended: each ending is told from every other, with its own exit code. */
#include "supervisor/ending.h"
#include "supervisor/exit_codes.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

/* What waitpid(2) gives. */
#define EXITED(code) ((code) << 8)
#define DIED(number) (number)
#define DUMPED(number) ((number) | 0x80)

struct row {
    const char *what;
    struct ending_facts facts;
    int exit_code;
    const char *text; /* whole */
};

static const struct row rows[] = {
    { "a good end",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = EXITED(0), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_GOOD, "plugin exited 0" },
    { "the plugin's own code",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = EXITED(3), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_FAILED, "plugin exited 3" },
    { "the plugin's fault",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = DUMPED(SIGSEGV), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_SIGNAL, "plugin died of signal 11 (Segmentation fault)" },
    { "the plugin killed from outside",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = DIED(SIGKILL), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_SIGNAL, "plugin died of signal 9 (Killed)" },
    { "vmproc killed from outside, which kills the plugin first",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = DIED(SIGKILL), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL) },
      EXIT_VMPROC_DIED, "vmproc died of signal 9 (Killed)" },
    { "vmproc's fault, seen after the plugin's death",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = DIED(SIGKILL), .vmproc_gone = true,
        .vmproc_status = DUMPED(SIGSEGV) },
      EXIT_VMPROC_DIED, "vmproc died of signal 11 (Segmentation fault)" },
    { "vmproc's own exit, seen first",
      { .cause = ENDING_VMPROC_GONE, .plugin_gone = true, .plugin_status = DIED(SIGKILL), .plugin_killed = true, .vmproc_gone = true,
        .vmproc_status = EXITED(1) },
      EXIT_VMPROC_DIED, "vmproc exited by itself with 1" },
    { "the plugin's policy",
      { .cause = ENDING_PLUGIN_FILTERED, .detail = "plugin killed by SIGSYS: `ptrace` is not in plugin.policy", .plugin_gone = true,
        .plugin_status = DIED(SIGKILL), .plugin_killed = true, .vmproc_gone = true, .vmproc_status = DIED(SIGKILL),
        .vmproc_killed = true },
      EXIT_PLUGIN_FILTERED, "plugin killed by SIGSYS: `ptrace` is not in plugin.policy" },
    { "vmproc's policy",
      { .cause = ENDING_VMPROC_FILTERED, .detail = "vmproc killed by SIGSYS: `open` is not in vmproc.policy", .plugin_gone = true,
        .plugin_status = DIED(SIGKILL), .plugin_killed = true, .vmproc_gone = true, .vmproc_status = DIED(SIGKILL),
        .vmproc_killed = true },
      EXIT_VMPROC_FILTERED, "vmproc killed by SIGSYS: `open` is not in vmproc.policy" },
    { "a request, and the plugin exits",
      { .cause = ENDING_STOP, .detail = "stopped by uid 0", .plugin_gone = true, .plugin_status = EXITED(0), .vmproc_gone = true,
        .vmproc_status = EXITED(0), .grace = 1000 },
      EXIT_STOPPED, "stopped by uid 0" },
    { "a request, and the plugin stays",
      { .cause = ENDING_STOP, .detail = "stopped by uid 0", .timed_out = true, .plugin_gone = true, .plugin_status = DIED(SIGKILL),
        .plugin_killed = true, .vmproc_gone = true, .vmproc_status = DIED(SIGKILL), .vmproc_killed = true, .grace = 1000 },
      EXIT_STOPPED, "stopped by uid 0; the plugin did not exit in 1000 ms and was killed" },
    { "the guest's end, and the plugin stays",
      { .cause = ENDING_VM_ENDED, .kind = CONTROL_ENDED__KIND__GUEST_SHUTDOWN, .detail = "vCPU 0: shut down", .timed_out = true,
        .plugin_gone = true, .plugin_status = DIED(SIGKILL), .plugin_killed = true, .vmproc_gone = true, .vmproc_status = DIED(SIGKILL),
        .vmproc_killed = true, .grace = 200 },
      EXIT_TIMED_OUT, "vCPU 0: shut down; the plugin did not exit in 200 ms and was killed" },
    { "the supervisor's own fault",
      { .cause = ENDING_FAULT, .detail = "vmproc spoke out of turn", .plugin_gone = true, .plugin_status = DIED(SIGKILL),
        .plugin_killed = true, .vmproc_gone = true, .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_SUPERVISOR, "vmproc spoke out of turn" },
    { "nothing that is known", { .cause = ENDING_NONE }, EXIT_SUPERVISOR, "the supervisor lost track of the VM" },
    { "memory, and the kernel took the plugin",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = DIED(SIGKILL), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true, .oom_kills = 1 },
      EXIT_OUT_OF_MEMORY, "out of memory: the kernel killed a process of the VM" },
    { "memory, and the kernel took vmproc",
      { .cause = ENDING_VMPROC_GONE, .plugin_gone = true, .plugin_status = DIED(SIGKILL), .plugin_killed = true, .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .oom_kills = 1 },
      EXIT_OUT_OF_MEMORY, "out of memory: the kernel killed a process of the VM" },
    { "memory ran short in the past, and the plugin failed by itself",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = EXITED(1), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true, .oom_kills = 1 },
      EXIT_PLUGIN_FAILED, "plugin exited 1" },
    { "microvm, and its guest turned itself off",
      { .cause = ENDING_PLUGIN_GONE, .microvm = true, .plugin_gone = true, .plugin_status = EXITED(0), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_GOOD, "guest powered off" },
    { "microvm, and its guest turned itself off because it was asked to",
      { .cause = ENDING_PLUGIN_GONE, .microvm = true, .asked_by = "uid 7", .plugin_gone = true, .plugin_status = EXITED(0),
        .vmproc_gone = true, .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_GOOD, "stopped by uid 7: guest powered off" },
    { "microvm, and its guest was asked, but failed",
      { .cause = ENDING_PLUGIN_GONE, .microvm = true, .asked_by = "uid 7", .plugin_gone = true, .plugin_status = EXITED(1),
        .vmproc_gone = true, .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_FAILED, "plugin exited 1" },
    { "microvm, and its guest wants to be started again",
      { .cause = ENDING_PLUGIN_GONE, .microvm = true, .plugin_gone = true, .plugin_status = EXITED(8), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_GUEST_RESET, "guest reset: the guest asked to be started again" },
    { "microvm could not make its machine",
      { .cause = ENDING_PLUGIN_GONE, .microvm = true, .plugin_gone = true, .plugin_status = EXITED(1), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_FAILED, "plugin exited 1" },
    { "another plugin's exit code is its own affair",
      { .cause = ENDING_PLUGIN_GONE, .plugin_gone = true, .plugin_status = EXITED(8), .vmproc_gone = true,
        .vmproc_status = DIED(SIGKILL), .vmproc_killed = true },
      EXIT_PLUGIN_FAILED, "plugin exited 8" },
};

static void
test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ending ending;

        ending_decide(&rows[i].facts, &ending);
        if (ending.exit_code != rows[i].exit_code || strcmp(ending.text, rows[i].text) != 0)
            fail_msg("%s: %d \"%s\", expected %d \"%s\"", rows[i].what, ending.exit_code, ending.text, rows[i].exit_code,
                     rows[i].text);
    }
}

/* What vmproc says of the guest's end. */
static void
test_kinds(void **state)
{
    static const struct {
        ControlEnded__Kind kind;
        int exit_code;
    } kinds[] = {
        { CONTROL_ENDED__KIND__GUEST_SHUTDOWN, EXIT_GUEST_SHUTDOWN },
        { CONTROL_ENDED__KIND__GUEST_RESET, EXIT_GUEST_RESET },
        { CONTROL_ENDED__KIND__INTERNAL_ERROR, EXIT_INTERNAL_ERROR },
        { CONTROL_ENDED__KIND__UNKNOWN_EXIT, EXIT_UNKNOWN_EXIT },
        { CONTROL_ENDED__KIND__KVM_FAILED, EXIT_KVM_FAILED },
        { CONTROL_ENDED__KIND__PLUGIN_PROTOCOL, EXIT_PROTOCOL },
        { CONTROL_ENDED__KIND__OUT_OF_MEMORY, EXIT_OUT_OF_MEMORY },
        { CONTROL_ENDED__KIND__UNKNOWN, EXIT_VMPROC_DIED },
        { (ControlEnded__Kind)77, EXIT_VMPROC_DIED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct ending_facts facts = {
            .cause = ENDING_VM_ENDED, .kind = kinds[i].kind, .detail = "vCPU 1: text", .plugin_gone = true, .vmproc_gone = true,
        };
        struct ending ending;

        ending_decide(&facts, &ending);
        assert_int_equal(ending.exit_code, kinds[i].exit_code);
        assert_string_equal(ending.text, "vCPU 1: text");
    }
}

/* A text of the other side's that fills its room does not run over. */
static void
test_long_detail(void **state)
{
    struct ending_facts facts = { .cause = ENDING_VM_ENDED, .kind = CONTROL_ENDED__KIND__GUEST_RESET, .timed_out = true };
    struct ending ending;

    (void)state;
    memset(facts.detail, 'x', sizeof facts.detail - 1);
    ending_decide(&facts, &ending);
    assert_int_equal(ending.exit_code, EXIT_TIMED_OUT);
    assert_true(strlen(ending.text) < sizeof ending.text);
}

static void
test_codes(void **state)
{
    static const int codes[] = {
        EXIT_PLUGIN_GOOD, EXIT_PLUGIN_FAILED, EXIT_PLUGIN_SIGNAL, EXIT_PLUGIN_FILTERED, EXIT_GUEST_SHUTDOWN, EXIT_GUEST_RESET,
        EXIT_INTERNAL_ERROR, EXIT_UNKNOWN_EXIT, EXIT_KVM_FAILED, EXIT_PROTOCOL, EXIT_OUT_OF_MEMORY, EXIT_TIMED_OUT, EXIT_VMPROC_DIED,
        EXIT_VMPROC_FILTERED, EXIT_STOPPED, EXIT_SUPERVISOR, EXIT_JAIL_FAILED, EXIT_NETWORK_FAILED,
    };

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_false(codes[i] >= EX__BASE && codes[i] <= EX__MAX);
        /* A shell's own begin there. */
        assert_in_range(codes[i], 0, 123);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(codes[i], codes[j]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_long_detail),
        cmocka_unit_test(test_codes),
    };

    return cmocka_run_group_tests_name("ending", tests, NULL, NULL);
}
