/*
 * The programs that a bench measures: started with pipes for their standard input and output, looked at from outside, and waited for.
 * Whoever starts one ends it. Whatever fails ends the bench with a line that says what.
 */
#ifndef VMSUP_TESTS_BENCH_CHILD_H
#define VMSUP_TESTS_BENCH_CHILD_H

#include <stdio.h>
#include <sys/types.h>

#define CHILD_ANY_CPU (-1)

struct child {
    pid_t pid;
    FILE *in, *out;
};

/* The processes of one VM: supervisor, vmproc, plugin. */
#define CHILD_VM_PROCESSES 3
struct vm_processes {
    pid_t pid[CHILD_VM_PROCESSES];
};

/* On this CPU alone, or on any. */
struct child child_run(char *const argv[], int cpu);

/* Waits until it is gone. It must end with 0. */
void child_end(struct child *child);

/* Keeps one thread on a CPU. */
void child_pin(pid_t task, int cpu);

/* The supervisor's two children, told apart by their names. */
struct vm_processes child_find_vm(pid_t supervisor);

/* The number behind `name` in the first line of a file that begins with it, or -1. */
long child_read_number(const char *path, const char *name);

#endif
