#include "supervisor/policies.h"

#include "common/log.h"
#include "jail/jail.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sysexits.h>

static int
read_one(struct policies *policies, int which, const char *folder, const char *name, struct failure *failure)
{
    char *path = policies->path[which];
    struct policy_error error;
    int result;

    snprintf(path, sizeof policies->path[which], "%s/%s", folder, name);
    result = policy_parse_file(path, &policies->policy[which], &error);
    if (result < 0)
        return failure_set(failure, result == -EINVAL ? EX_DATAERR : EX_NOINPUT, result, "%s", error.text);
    return 0;
}

const char *
policies_plugin_file(const char *own, const char *plugin)
{
    return own == NULL && plugin == NULL ? "microvm.policy" : "plugin.policy";
}

int
policies_read(struct policies *policies, const char *shipped, const char *own, const char *plugin, struct failure *failure)
{
    int result;

    policies->key = jail_make_key();
    result = read_one(policies, POLICIES_SUPERVISOR, shipped, "supervisor.policy", failure);
    if (result == 0)
        result = read_one(policies, POLICIES_VMPROC, shipped, "vmproc.policy", failure);
    if (result == 0)
        result = read_one(policies, POLICIES_PLUGIN, own != NULL ? own : shipped, policies_plugin_file(own, plugin), failure);
#ifdef VMSUP_SANITIZED
    if (result == 0)
        log_warn("this build has sanitizers, which no filter admits: supervisor, vmproc and plugin run without, and can be dumped");
#endif
    return result;
}

static void
free_one(struct policies *policies, int which)
{
    if (policies->policy[which] != NULL)
        policy_free(policies->policy[which]);
    policies->policy[which] = NULL;
}

int
policies_compile(struct policies *policies, int which, struct failure *failure)
{
    /* The supervisor cannot answer its own notifications, and executes nothing. */
    const struct policy_compile_options options = {
        .notify = which != POLICIES_SUPERVISOR, .key = which != POLICIES_SUPERVISOR ? policies->key : 0,
    };
    struct policy_error error;
    int result = policy_compile(policies->policy[which], &options, &policies->program[which], &error);

    free_one(policies, which);
    return result < 0 ? failure_set(failure, EX_DATAERR, result, "%s: %s", policies->path[which], error.text) : 0;
}

const struct policy_program *
policies_program(const struct policies *policies, int which)
{
#ifdef VMSUP_SANITIZED
    (void)policies;
    (void)which;
    return NULL;
#else
    return &policies->program[which];
#endif
}

void
policies_free(struct policies *policies)
{
    for (int i = 0; i < POLICIES_COUNT; i++) {
        free_one(policies, i);
        policy_program_free(&policies->program[i]);
    }
}
