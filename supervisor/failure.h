/*
 * What went wrong before a VM ran: one line that says what was wrong, where, and what was expected, and the exit code that the command
 * ends with, as sysexits.h has them. The functions that make what a start needs fill one; the command prints it, once.
 */
#ifndef VMSUP_SUPERVISOR_FAILURE_H
#define VMSUP_SUPERVISOR_FAILURE_H

#define FAILURE_TEXT_MAX 640

struct failure {
    int exit_code;
    char text[FAILURE_TEXT_MAX];
};

/* Fills `failure` and gives `error`, a negative errno, so that a function can end with it. A text too long is cut. */
int failure_set(struct failure *failure, int exit_code, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
