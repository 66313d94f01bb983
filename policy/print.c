/* A policy as it was understood, and what is doubtful in it. */
#include "policy/expression.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 64

static void
print_conjunction(FILE *out, const struct policy_conjunction *conjunction)
{
    for (size_t i = 0; i < conjunction->count; i++) {
        const struct policy_atom *atom = &conjunction->atom[i];

        fprintf(out, "%sarg%u %s %#llx", i > 0 ? " && " : "", atom->argument, policy_operator_text(atom->operator),
                (unsigned long long)atom->value);
    }
}

static void
print_rule(FILE *out, const struct policy_rule *rule)
{
    char name[TEXT_MAX], action[TEXT_MAX];

    policy_call_name(rule->number, name, sizeof name);
    fprintf(out, "%s: ", name);
    if (!rule->conditional) {
        policy_action_text(rule->action, action, sizeof action);
        fprintf(out, "%s\n", action);
        return;
    }
    for (size_t i = 0; i < rule->count; i++) {
        fprintf(out, "%s", i > 0 ? " || " : "");
        print_conjunction(out, &rule->conjunction[i]);
    }
    if (rule->otherwise != 0) {
        policy_action_text((struct policy_result){ .verdict = POLICY_ERRNO, .error = rule->otherwise }, action, sizeof action);
        fprintf(out, "; %s", action);
    }
    fprintf(out, "\n");
}

int
policy_print(const struct policy *policy, int fd)
{
    char action[TEXT_MAX];
    int copy = dup(fd), result = 0;
    FILE *out = copy < 0 ? NULL : fdopen(copy, "w");

    if (out == NULL)
        return -errno;
    policy_action_text(policy->default_action, action, sizeof action);
    fprintf(out, "@default %s\n", action);
    for (size_t i = 0; i < policy->rule_count; i++)
        print_rule(out, &policy->rules[i]);
    if (ferror(out) != 0)
        result = -EIO;
    if (fclose(out) != 0 && result == 0)
        result = -errno;
    return result;
}

/* Arguments that the kernel takes as 32 bits, of calls that policies look into: a bit a argument. */
static const struct {
    const char *call;
    unsigned arguments;
} narrow[] = {
    { "ioctl", 0x3 },        { "prctl", 0x1 },       { "fcntl", 0x3 },         { "socket", 0x7 },     { "socketpair", 0x7 },
    { "open", 0x6 },         { "openat", 0xd },      { "mkdirat", 0x5 },       { "unlinkat", 0x5 },   { "fstatat", 0x9 },
    { "newfstatat", 0x9 },   { "faccessat", 0x5 },   { "faccessat2", 0xd },    { "readlinkat", 0x9 }, { "madvise", 0x4 },
    { "kill", 0x3 },         { "tkill", 0x3 },       { "tgkill", 0x7 },        { "futex", 0x6 },      { "epoll_ctl", 0x7 },
    { "epoll_create1", 0x1 }, { "eventfd2", 0x3 },   { "pipe2", 0x2 },         { "dup3", 0x7 },       { "dup2", 0x3 },
    { "accept4", 0x9 },      { "setsockopt", 0x17 }, { "getsockopt", 0x7 },    { "lseek", 0x5 },      { "close", 0x1 },
    { "memfd_create", 0x2 }, { "timerfd_create", 0x3 }, { "timerfd_settime", 0x3 }, { "signalfd4", 0x9 }, { "seccomp", 0x3 },
    { "rt_sigaction", 0x1 }, { "rt_sigprocmask", 0x1 }, { "prlimit64", 0x3 },  { "getrandom", 0x4 },  { "sendmsg", 0x5 },
    { "recvmsg", 0x5 },      { "execveat", 0x11 },        { "setns", 0x3 },         { "wait4", 0x5 },      { "clock_gettime", 0x1 },
    { "bind", 0x5 },         { "connect", 0x5 },      { "listen", 0x3 },        { "accept", 0x1 },     { "shutdown", 0x3 },
    { "read", 0x1 },         { "write", 0x1 },        { "mmap", 0x10 },         { "clone", 0x1 },      { "openat2", 0x1 },
    { "statx", 0x5 },        { "renameat2", 0x15 },   { "fchmodat", 0x5 },      { "fchownat", 0x1d },  { "linkat", 0x15 },
    { "symlinkat", 0x2 },    { "sendto", 0x9 },       { "recvfrom", 0x9 },      { "bpf", 0x5 },        { "mknodat", 0xd },
};

static bool
is_narrow(int number, unsigned argument)
{
    char name[TEXT_MAX];

    policy_call_name(number, name, sizeof name);
    for (size_t i = 0; i < sizeof narrow / sizeof narrow[0]; i++)
        if (strcmp(narrow[i].call, name) == 0)
            return (narrow[i].arguments >> argument & 1) != 0;
    return false;
}

/* NULL: nothing to say. The upper half of such an argument is the caller's to choose, and zero where glibc passes a negative int. */
static const char *
find_doubt(const struct policy_atom *atom)
{
    switch (atom->operator) {
    case POLICY_EQUAL:
        return atom->value > UINT32_MAX ? "can never match" : NULL;
    case POLICY_NOT_EQUAL:
    case POLICY_GREATER:
    case POLICY_GREATER_EQUAL:
        return "is passed by whoever sets bits above the 32nd";
    case POLICY_ANY_BIT:
        return (atom->value >> 32) != 0 ? "is passed by whoever sets bits above the 32nd" : NULL;
    default:
        return NULL;
    }
}

static void
warn_about_rule(const struct policy *policy, const struct policy_rule *rule, policy_warning_callback *callback, void *context)
{
    char name[TEXT_MAX], text[POLICY_ERROR_MAX];

    policy_call_name(rule->number, name, sizeof name);
    for (size_t i = 0; i < rule->count; i++) {
        for (size_t k = 0; k < rule->conjunction[i].count; k++) {
            const struct policy_atom *atom = &rule->conjunction[i].atom[k];
            const char *doubt = is_narrow(rule->number, atom->argument) ? find_doubt(atom) : NULL;

            if (doubt == NULL)
                continue;
            snprintf(text, sizeof text, "%s:%u: warning: `%s`: arg%u %s %#llx %s: the kernel takes this argument as 32 bits",
                     policy->files[rule->conjunction[i].place.file], rule->conjunction[i].place.line, name, atom->argument, policy_operator_text(atom->operator),
                     (unsigned long long)atom->value, doubt);
            callback(context, text);
        }
    }
}

void
policy_warn(const struct policy *policy, policy_warning_callback *callback, void *context)
{
    for (size_t i = 0; i < policy->rule_count; i++)
        warn_about_rule(policy, &policy->rules[i], callback, context);
}
