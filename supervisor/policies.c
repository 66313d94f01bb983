#include "supervisor/policies.h"

#include "common/log.h"
#include "jail/jail.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sysexits.h>

static int
load(struct policies *policies, int which, const char *folder, const char *name, struct failure *failure)
{
    /* The supervisor cannot answer its own notifications, and executes nothing. */
    const struct policy_compile_options options = {
        .notify = which != POLICIES_SUPERVISOR, .key = which != POLICIES_SUPERVISOR ? policies->key : 0,
    };
    struct policy_error error;
    struct policy *policy;
    char path[PATH_MAX];
    int result;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    result = policy_parse_file(path, &policy, &error);
    if (result < 0)
        return failure_set(failure, result == -EINVAL ? EX_DATAERR : EX_NOINPUT, result, "%s", error.text);
    result = policy_compile(policy, &options, &policies->program[which], &error);
    policy_free(policy);
    return result < 0 ? failure_set(failure, EX_DATAERR, result, "%s: %s", path, error.text) : 0;
}

const char *
policies_plugin_file(const char *own, const char *plugin)
{
    return own == NULL && plugin == NULL ? "microvm.policy" : "plugin.policy";
}

int
policies_load(struct policies *policies, const char *shipped, const char *own, const char *plugin, struct failure *failure)
{
    int result;

    policies->key = jail_make_key();
    result = load(policies, POLICIES_SUPERVISOR, shipped, "supervisor.policy", failure);
    if (result == 0)
        result = load(policies, POLICIES_VMPROC, shipped, "vmproc.policy", failure);
    if (result == 0)
        result = load(policies, POLICIES_PLUGIN, own != NULL ? own : shipped, policies_plugin_file(own, plugin), failure);
#ifdef VMSUP_SANITIZED
    if (result == 0)
        log_warn("this build has sanitizers, which no filter admits: supervisor, vmproc and plugin run without, and can be dumped");
#endif
    return result;
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
    for (size_t i = 0; i < POLICIES_COUNT; i++)
        policy_program_free(&policies->program[i]);
}
