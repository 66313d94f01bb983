#include "supervisor/confine.h"

#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

/* All that version 1 of landlock can forbid, and what each later one adds. */
#define ACCESS_V1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define ACCESS_REFER (1ULL << 13)
#define ACCESS_TRUNCATE (1ULL << 14)
#define ACCESS_IOCTL_DEV (1ULL << 15)
#define RUNTIME_ACCESS                                                                                                              \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |   \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR)

static uint64_t
handled_access(long version)
{
    uint64_t access = ACCESS_V1;

    if (version >= 2)
        access |= ACCESS_REFER;
    if (version >= 3)
        access |= ACCESS_TRUNCATE;
    if (version >= 5)
        access |= ACCESS_IOCTL_DEV;
    return access;
}

static int
allow_path(int ruleset, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = { .allowed_access = access };
    int result = 0;

    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return -errno;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        result = -errno;
    close(rule.parent_fd);
    return result;
}

static int
lock_files(const char *runtime, const char *cgroups)
{
    const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct landlock_ruleset_attr attributes = { .handled_access_fs = handled_access(version) };
    int ruleset, result = 0;

    if (version < 0) {
        log_debug("this kernel has no landlock: the supervisor keeps root's access to root's files");
        return 0;
    }
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0);
    if (ruleset < 0)
        return -errno;
    result = allow_path(ruleset, runtime, RUNTIME_ACCESS | (version >= 3 ? ACCESS_TRUNCATE : 0));
    if (result == 0 && cgroups != NULL)
        result = allow_path(ruleset, cgroups, LANDLOCK_ACCESS_FS_REMOVE_DIR);
#ifdef VMSUP_SANITIZED
    /* The search for leaks, at the end, reads about its own process. */
    if (result == 0)
        result = allow_path(ruleset, "/proc", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR);
#endif
    if (result == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        result = -errno;
    fd_close(&ruleset);
    return result;
}

static int
drop_capabilities(void)
{
    const cap_value_t kept[] = { CAP_KILL };
    cap_t set = cap_init();
    int result = 0;

    if (set == NULL)
        return -errno;
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability) < 0)
            result = -errno;
    if (cap_set_flag(set, CAP_EFFECTIVE, 1, kept, CAP_SET) < 0 || cap_set_flag(set, CAP_PERMITTED, 1, kept, CAP_SET) < 0 ||
        prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED) <
            0 ||
        cap_set_proc(set) < 0)
        result = -errno;
    cap_free(set);
    return result;
}

static int
load_filter(const struct policy_program *program)
{
    struct sock_fprog filter = { .len = program->length, .filter = program->instructions };

    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0 ? -errno : 0;
}

static int
lock_itself(void)
{
    int result = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;

#ifndef VMSUP_SANITIZED
    /* The search for leaks is another process, which looks at this one. */
    if (result == 0 && prctl(PR_SET_DUMPABLE, 0) < 0)
        result = -errno;
#endif
    return result;
}

int
confine_self(const char *runtime, const char *cgroups, const struct policy_program *program, struct failure *failure)
{
    int result = lock_itself();

    if (result < 0)
        return failure_set(failure, EX_OSERR, result, "the supervisor cannot set no_new_privs on itself: %s", strerror(-result));
    result = lock_files(runtime, cgroups);
    if (result < 0)
        return failure_set(failure, EX_OSERR, result, "the supervisor cannot lock files away from itself: %s", strerror(-result));
    result = drop_capabilities();
    if (result < 0)
        return failure_set(failure, EX_OSERR, result, "the supervisor cannot drop its capabilities: %s", strerror(-result));
    result = program == NULL ? 0 : load_filter(program);
    if (result < 0)
        return failure_set(failure, EX_OSERR, result, "the supervisor cannot load its system call filter: %s", strerror(-result));
    return 0;
}
