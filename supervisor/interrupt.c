#include "supervisor/interrupt.h"

#include <stddef.h>

static const int numbers[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP };

void
interrupt_fill(sigset_t *set)
{
    struct sigaction inherited;

    sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(set, numbers[i]);
    /* As nohup(1) wants it; a signal that is held back is not ignored any more. */
    if (sigaction(SIGHUP, NULL, &inherited) == 0 && inherited.sa_handler == SIG_IGN)
        sigdelset(set, SIGHUP);
}

void
interrupt_hold(void)
{
    sigset_t set;

    interrupt_fill(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int
interrupt_waiting(void)
{
    sigset_t pending;

    if (sigpending(&pending) < 0)
        return 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (sigismember(&pending, numbers[i]) == 1)
            return numbers[i];
    return 0;
}
