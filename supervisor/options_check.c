#include "supervisor/options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

static int
check_directory(const char *option, const char *path, struct failure *failure)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return failure_set(failure, EX_NOINPUT, -errno, "%s %.256s: %s: expected an existing directory", option, path, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return failure_set(failure, EX_CONFIG, -ENOTDIR, "%s %.256s: not a directory: expected one", option, path);
    return 0;
}

static int
check_policy_dir(const char *path, struct failure *failure)
{
    char file[PATH_MAX];
    struct stat status;
    int result = check_directory("--policy-dir", path, failure);

    if (result < 0)
        return result;
    if (snprintf(file, sizeof file, "%s/plugin.policy", path) >= (int)sizeof file)
        return failure_set(failure, EX_USAGE, -ENAMETOOLONG, "--policy-dir: the path is too long");
    if (stat(file, &status) < 0)
        return failure_set(failure, EX_NOINPUT, -errno, "--policy-dir %.256s: plugin.policy: %s: expected that file in it", path,
                           strerror(errno));
    if (!S_ISREG(status.st_mode))
        return failure_set(failure, EX_CONFIG, -EINVAL, "--policy-dir %.256s: plugin.policy: not a file: expected one", path);
    return 0;
}

static int
check_mount(const struct options_mount *mount, struct failure *failure)
{
    struct stat status;

    if (stat(mount->source, &status) < 0)
        return failure_set(failure, EX_NOINPUT, -errno, "--plugin-mount %.256s: %s: expected an existing source", mount->source,
                           strerror(errno));
    return 0;
}

int
options_check(const struct options *options, struct failure *failure)
{
    int result = 0;

    if (options->plugin_root != NULL)
        result = check_directory("--plugin-root", options->plugin_root, failure);
    if (result == 0 && options->policy_dir != NULL)
        result = check_policy_dir(options->policy_dir, failure);
    for (size_t i = 0; result == 0 && i < options->mount_count; i++)
        result = check_mount(&options->mounts[i], failure);
    return result;
}
