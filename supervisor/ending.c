#include "supervisor/ending.h"

#include "supervisor/exit_codes.h"
#include "supervisor/microvm.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static void __attribute__((format(printf, 3, 4)))
set(struct ending *ending, int exit_code, const char *format, ...)
{
    va_list arguments;

    ending->exit_code = exit_code;
    va_start(arguments, format);
    vsnprintf(ending->text, sizeof ending->text, format, arguments);
    va_end(arguments);
}

static void
describe_signal(int status, char *text, size_t size)
{
    snprintf(text, size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
}

static bool
was_killed(bool gone, int status)
{
    return gone && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* vmproc's death takes the plugin along: the kernel kills what lives in namespaces below vmproc's, and is seen to do so first. */
static bool
vmproc_went_first(const struct ending_facts *facts)
{
    if (facts->cause == ENDING_VMPROC_GONE)
        return true;
    return facts->cause == ENDING_PLUGIN_GONE && was_killed(true, facts->plugin_status) && facts->vmproc_gone &&
           !facts->vmproc_killed;
}

static bool
ran_out_of_memory(const struct ending_facts *facts)
{
    if (facts->oom_kills == 0)
        return false;
    return (was_killed(facts->plugin_gone, facts->plugin_status) && !facts->plugin_killed) ||
           (was_killed(facts->vmproc_gone, facts->vmproc_status) && !facts->vmproc_killed);
}

static void
decide_vmproc(const struct ending_facts *facts, struct ending *ending)
{
    char what[128];

    if (WIFSIGNALED(facts->vmproc_status)) {
        describe_signal(facts->vmproc_status, what, sizeof what);
        set(ending, EXIT_VMPROC_DIED, "vmproc died of %s", what);
    } else {
        set(ending, EXIT_VMPROC_DIED, "vmproc exited by itself with %d", WEXITSTATUS(facts->vmproc_status));
    }
}

static void
decide_plugin(const struct ending_facts *facts, struct ending *ending)
{
    char what[128];

    if (WIFSIGNALED(facts->plugin_status)) {
        describe_signal(facts->plugin_status, what, sizeof what);
        set(ending, EXIT_PLUGIN_SIGNAL, "plugin died of %s", what);
    } else if (facts->microvm && WEXITSTATUS(facts->plugin_status) == MICROVM_EXIT_RESET) {
        set(ending, EXIT_GUEST_RESET, "guest reset: the guest asked to be started again");
    } else if (facts->microvm && WEXITSTATUS(facts->plugin_status) == 0 && facts->asked_by[0] != '\0') {
        set(ending, EXIT_PLUGIN_GOOD, "stopped by %s: guest powered off", facts->asked_by);
    } else if (facts->microvm && WEXITSTATUS(facts->plugin_status) == 0) {
        set(ending, EXIT_PLUGIN_GOOD, "guest powered off");
    } else if (WEXITSTATUS(facts->plugin_status) == 0) {
        set(ending, EXIT_PLUGIN_GOOD, "plugin exited 0");
    } else {
        set(ending, EXIT_PLUGIN_FAILED, "plugin exited %d", WEXITSTATUS(facts->plugin_status));
    }
}

static int
code_of_kind(ControlEnded__Kind kind)
{
    switch (kind) {
    case CONTROL_ENDED__KIND__GUEST_SHUTDOWN:
        return EXIT_GUEST_SHUTDOWN;
    case CONTROL_ENDED__KIND__GUEST_RESET:
        return EXIT_GUEST_RESET;
    case CONTROL_ENDED__KIND__INTERNAL_ERROR:
        return EXIT_INTERNAL_ERROR;
    case CONTROL_ENDED__KIND__UNKNOWN_EXIT:
        return EXIT_UNKNOWN_EXIT;
    case CONTROL_ENDED__KIND__KVM_FAILED:
        return EXIT_KVM_FAILED;
    case CONTROL_ENDED__KIND__PLUGIN_PROTOCOL:
        return EXIT_PROTOCOL;
    case CONTROL_ENDED__KIND__OUT_OF_MEMORY:
        return EXIT_OUT_OF_MEMORY;
    default:
        return EXIT_VMPROC_DIED;
    }
}

/* What the plugin made of the grace time. */
static void
decide_ended(const struct ending_facts *facts, int exit_code, struct ending *ending)
{
    if (facts->timed_out)
        set(ending, exit_code == EXIT_STOPPED ? EXIT_STOPPED : EXIT_TIMED_OUT,
            "%s; the plugin did not exit in %u ms and was killed", facts->detail, facts->grace);
    else
        set(ending, exit_code, "%s", facts->detail);
}

void
ending_decide(const struct ending_facts *facts, struct ending *ending)
{
    if (ran_out_of_memory(facts)) {
        set(ending, EXIT_OUT_OF_MEMORY, "out of memory: the kernel killed a process of the VM");
        return;
    }
    if (vmproc_went_first(facts)) {
        decide_vmproc(facts, ending);
        return;
    }
    switch (facts->cause) {
    case ENDING_PLUGIN_GONE:
        decide_plugin(facts, ending);
        break;
    case ENDING_VM_ENDED:
        decide_ended(facts, code_of_kind(facts->kind), ending);
        break;
    case ENDING_STOP:
        decide_ended(facts, EXIT_STOPPED, ending);
        break;
    case ENDING_PLUGIN_FILTERED:
        set(ending, EXIT_PLUGIN_FILTERED, "%s", facts->detail);
        break;
    case ENDING_VMPROC_FILTERED:
        set(ending, EXIT_VMPROC_FILTERED, "%s", facts->detail);
        break;
    default:
        set(ending, EXIT_SUPERVISOR, "%s", facts->detail[0] != '\0' ? facts->detail : "the supervisor lost track of the VM");
    }
}
