/*
 * A seccomp policy: which system calls a process may make. A policy is parsed from a file (the language is in vmsup-policy(5)),
 * is a set of calls, each with an expression over its arguments, and is compiled to the BPF programs that the kernel runs. Parsing and
 * compiling have no side effect but memory; loading is the jail's. A parsed policy and a compiled program are each freed by
 * their own function. Whoever wrote the file is trusted to decide, not to be right: every mistake is told with its place.
 */
#ifndef VMSUP_POLICY_POLICY_H
#define VMSUP_POLICY_POLICY_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_ERROR_MAX 1024

struct policy;

/* What was wrong: "FILE:LINE:COLUMN: what, what was expected", a newline, the line, a newline, a caret. Ends with no newline. */
struct policy_error {
    char text[POLICY_ERROR_MAX];
};

/*
 * Reads the policy of `path` and what it includes. 0, with *policy the caller's to free; -EINVAL where the text is not the language;
 * the errno of open(2) and read(2) otherwise. `error` is filled in all failures.
 */
int policy_parse_file(const char *path, struct policy **policy, struct policy_error *error);

/* The same from memory; `name` stands for the file in errors, and @include is relative to the current directory. */
int policy_parse_text(const char *name, const char *text, size_t size, struct policy **policy, struct policy_error *error);

void policy_free(struct policy *policy);

/* Warnings of `vmsup policy check`: comparisons that cannot match or can be evaded. */
typedef void policy_warning_callback(void *context, const char *text);
void policy_warn(const struct policy *policy, policy_warning_callback *callback, void *context);

/* What happens to a call, in the words of `vmsup policy eval`. */
enum policy_verdict {
    POLICY_ALLOW,
    POLICY_ERRNO,
    POLICY_LOG,
    POLICY_TRAP,
    POLICY_KILL_THREAD,
    POLICY_KILL_PROCESS,
};

struct policy_result {
    enum policy_verdict verdict;
    int error; /* of POLICY_ERRNO: a positive errno */
};

/* What the parsed expressions say of a call: the reference that compiled programs are held against. */
struct policy_result policy_evaluate(const struct policy *policy, int number, const uint64_t arguments[6]);

/* Writes calls and conditions as understood, for `vmsup policy show`. 0 or a negative errno. */
int policy_print(const struct policy *policy, int fd);

/* One BPF program, which decides every call. */
struct policy_program {
    struct sock_filter *instructions;
    unsigned short length;
    /* Load it with SECCOMP_FILTER_FLAG_NEW_LISTENER: kills are notifications, to be answered by the kill. */
    bool listener;
};

struct policy_compile_options {
    /*
     * A kill of the process becomes SECCOMP_RET_USER_NOTIF, so that whoever holds the filter's listener can name the call before
     * it kills. False: SECCOMP_RET_KILL_PROCESS.
     */
    bool notify;
    /*
     * The calls sendmsg(2) and execveat(2) are let through where their sixth argument, which the kernel ignores, is this number: a
     * jail loads its filter, hands over the listener and executes its program from behind it.
     * A fresh random number each time, which the program never learns. 0: none is let through.
     */
    uint64_t key;
};

/*
 * Compiles: libseccomp for what is decided by a call's number, BPF of our own for conditions. 0, with the program the caller's to free;
 * -E2BIG where it is longer than the kernel takes (BPF_MAXINSNS); -ENOMEM. `error` is filled in all failures.
 */
int policy_compile(const struct policy *policy, const struct policy_compile_options *options, struct policy_program *program,
                   struct policy_error *error);
void policy_program_free(struct policy_program *program);

/*
 * What a compiled program does with a call of the machine's own architecture, by interpreting its BPF (not by asking the kernel).
 * SECCOMP_RET_USER_NOTIF counts as POLICY_KILL_PROCESS.
 */
struct policy_result policy_simulate(const struct policy_program *program, int number, const uint64_t arguments[6]);

/* The name of a system call of this machine, into `name`; "call 470" where none is known. */
void policy_call_name(int number, char *name, size_t size);

/* `vmsup policy check|show|eval|trace …`: argv[0] is "policy". Gives the exit code. */
int policy_main(int argc, char **argv);

#endif
