/*
 * Without -f: the supervisor goes on as a process of its own, and who called waits until it says, over a pipe, that the VM runs or why it
 * does not. After that the pipe is gone, and the supervisor has no terminal. A plugin may take as long as it likes until then: who is
 * told to end meanwhile, by control-C or a signal, tells the supervisor, which undoes what it made and says so.
 */
#ifndef VMSUP_SUPERVISOR_DETACH_H
#define VMSUP_SUPERVISOR_DETACH_H

struct detach {
    int report; /* where to say it; -1: nobody waits, or it was said */
    int null;   /* /dev/null, which takes the terminal's place: it cannot be opened once files are locked away */
};

/*
 * Forks. In the child: 0, and *detach is to be used. In the parent it does not return before it was said, and then gives 1 with
 * *exit_code, having printed what there was to print. A negative errno where it failed.
 */
int detach_fork(struct detach *detach, int *exit_code);

/* Says how the start went: `text` is for the caller's terminal, NULL where all is well. Leaves the terminal. Once; then it does nothing. */
void detach_report(struct detach *detach, int exit_code, const char *text);

#endif
