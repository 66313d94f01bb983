/*
 * Makes a process die of a real fault: `crash PID`. A signal from outside does not do, since a process that is pid 1 of its namespace ignores
 * those that it has no handler for. The process is traced, its next instruction is set to where no code can be, and it is let go.
 */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

int
main(int argc, char **argv)
{
    struct user_regs_struct registers;
    pid_t pid = argc == 2 ? atoi(argv[1]) : 0;

    if (pid <= 0)
        errx(2, "usage: crash PID");
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
        err(1, "cannot trace %d", pid);
    if (waitpid(pid, NULL, __WALL) != pid)
        err(1, "cannot wait for %d", pid);
    if (ptrace(PTRACE_GETREGS, pid, NULL, &registers) < 0)
        err(1, "cannot read the registers of %d", pid);
    registers.rip = 16;
    /* No system call is to be tried again. */
    registers.orig_rax = (unsigned long long)-1;
    if (ptrace(PTRACE_SETREGS, pid, NULL, &registers) < 0 || ptrace(PTRACE_DETACH, pid, NULL, NULL) < 0)
        err(1, "cannot set the registers of %d", pid);
    return 0;
}
