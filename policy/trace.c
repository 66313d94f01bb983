/*
 * `vmsup policy trace`: what a program calls, seen by ptrace(2). For calls that are many in one, the argument that tells them apart is kept
 * and becomes a condition; of all others only the name counts.
 */
#include "policy/command.h"

#include "policy/policy.h"

#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define CALLS_MAX 1024
/* Values of one call's telling argument; a program with more needs the call without condition. */
#define VALUES_MAX 64

struct seen {
    bool called, too_many;
    uint64_t value[VALUES_MAX];
    size_t count;
};

struct trace {
    pid_t program;
    bool executed; /* until then the calls are those of the child that becomes the program */
    struct seen calls[CALLS_MAX];
};

/* Which argument tells what the call is. */
static const struct {
    int number;
    unsigned argument;
} telling[] = {
    { SYS_ioctl, 1 }, { SYS_prctl, 0 }, { SYS_fcntl, 1 }, { SYS_socket, 0 }, { SYS_socketpair, 0 }, { SYS_madvise, 2 },
    { SYS_clone, 0 }, { SYS_futex, 1 }, { SYS_arch_prctl, 0 },
};

static int
find_telling(int number)
{
    for (size_t i = 0; i < sizeof telling / sizeof telling[0]; i++)
        if (telling[i].number == number)
            return (int)telling[i].argument;
    return -1;
}

static void
note_value(struct seen *seen, uint64_t value)
{
    for (size_t i = 0; i < seen->count; i++)
        if (seen->value[i] == value)
            return;
    if (seen->count == VALUES_MAX)
        seen->too_many = true;
    else
        seen->value[seen->count++] = value;
}

static void
note_call(struct seen *table, const struct __ptrace_syscall_info *info)
{
    int argument;

    if (info->arch != AUDIT_ARCH_X86_64 || info->entry.nr >= CALLS_MAX)
        return;
    table[info->entry.nr].called = true;
    argument = find_telling((int)info->entry.nr);
    if (argument >= 0)
        note_value(&table[info->entry.nr], info->entry.args[argument]);
}

static void
print_seen(int number, const struct seen *seen)
{
    const int argument = find_telling(number);
    char name[64];

    policy_call_name(number, name, sizeof name);
    printf("%s: ", name);
    if (number == SYS_clone3) {
        printf("return ENOSYS\n");
        return;
    }
    if (argument < 0 || seen->too_many) {
        printf("1\n");
        return;
    }
    for (size_t i = 0; i < seen->count; i++)
        printf("%sarg%d == %#llx", i > 0 ? " || " : "", argument, (unsigned long long)seen->value[i]);
    printf("\n");
}

/*
 * The flags of clone3(2) are in memory, where no filter sees them: a policy that allows it allows every namespace. So the call is answered
 * here as the policies that ship do, and the program's clone(2) in its place is seen with its flags.
 */
static void
refuse_clone3(pid_t pid, const struct __ptrace_syscall_info *info)
{
    if (info->entry.nr == SYS_clone3)
        ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.orig_rax), -1L);
}

/* The stop of one thread: gives the signal with which it goes on. */
static int
handle_stop(struct trace *trace, pid_t pid, int status)
{
    const int signal = WSTOPSIG(status);
    struct __ptrace_syscall_info info;

    if (signal == (SIGTRAP | 0x80)) {
        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY) {
            note_call(trace->calls, &info);
            refuse_clone3(pid, &info);
        }
        return 0;
    }
    if (status >> 16 == PTRACE_EVENT_EXEC && pid == trace->program && !trace->executed) {
        memset(trace->calls, 0, sizeof trace->calls);
        trace->executed = true;
    }
    /* Events of ptrace's own, among them the first stop of each new thread. */
    if (status >> 16 != 0)
        return 0;
    return signal;
}

static int
follow(struct trace *trace)
{
    int exit_code = EX_SOFTWARE, status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
        if (pid <= 0)
            continue;
        if (WIFSTOPPED(status)) {
            const long signal = handle_stop(trace, pid, status);

            ptrace(PTRACE_SYSCALL, pid, NULL, signal);
        } else if (pid == trace->program) {
            exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
    return exit_code;
}

/* Stops itself, so that the tracer is there before the program's first call. */
static void
become_program(char **argv)
{
    raise(SIGSTOP);
    execvp(argv[0], argv);
    fprintf(stderr, "vmsup policy trace: %s: %s\n", argv[0], strerror(errno));
    _exit(EX_UNAVAILABLE);
}

int
trace_program(char **argv)
{
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                         PTRACE_O_EXITKILL;
    struct trace *trace = calloc(1, sizeof *trace);
    int status, exit_code;
    pid_t pid;

    if (trace == NULL)
        return EX_OSERR;
    pid = fork();
    if (pid == 0)
        become_program(argv);
    if (pid < 0 || waitpid(pid, &status, WUNTRACED) < 0 || ptrace(PTRACE_SEIZE, pid, NULL, options) < 0) {
        fprintf(stderr, "vmsup policy trace: %s cannot be traced: %s\n", argv[0], strerror(errno));
        if (pid > 0)
            kill(pid, SIGKILL);
        free(trace);
        return EX_UNAVAILABLE;
    }
    trace->program = pid;
    kill(pid, SIGCONT);
    exit_code = follow(trace);
    for (int i = 0; i < CALLS_MAX && trace->executed; i++)
        if (trace->calls[i].called)
            print_seen(i, &trace->calls[i]);
    free(trace);
    return fflush(stdout) == 0 ? exit_code : EX_IOERR;
}
