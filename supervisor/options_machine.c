#include "supervisor/options_machine.h"

#include "supervisor/options_value.h"
#include "supervisor/vsock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

/* Those that the supervisor gives by itself. */
static bool
is_reserved(const char *name)
{
    if (strcmp(name, "supervisor") == 0 || strcmp(name, "vsock") == 0)
        return true;
    return strncmp(name, "net", 3) == 0 && strspn(name + 3, "0123456789") == strlen(name + 3);
}

/* Takes over `path`. */
static int
add(struct options *options, const struct options_grant *grant, struct failure *failure)
{
    const char *problem = NULL;

    for (size_t i = 0; i < options->grant_count; i++)
        if (strcmp(options->grants[i].name, grant->name) == 0)
            problem = "is granted already: expected each name once";
    if (problem == NULL && options->grant_count < OPTIONS_GRANTS_MAX) {
        options->grants[options->grant_count++] = *grant;
        return 0;
    }
    free(grant->path);
    if (problem != NULL)
        return failure_set(failure, EX_USAGE, -EEXIST, "%s: %s %s", grant->option, grant->name, problem);
    return failure_set(failure, EX_USAGE, -E2BIG, "%s: too many grants: expected at most %d of --grant, --kernel, --initrd and --disk",
                       grant->option, OPTIONS_GRANTS_MAX);
}

/* The path that *text begins with, up to a comma that is not doubled, newly allocated; *text then is at the comma or the end. */
static int
take_path(const char **text, const char *option, char **path, struct failure *failure)
{
    char *result = malloc(strlen(*text) + 1);
    const char *from = *text;
    size_t length = 0;

    if (result == NULL)
        return failure_set(failure, EX_OSERR, -ENOMEM, "%s: out of memory", option);
    for (; *from != '\0' && (from[0] != ',' || from[1] == ','); from++) {
        result[length++] = *from;
        from += *from == ',';
    }
    result[length] = '\0';
    if (length == 0 || length >= PATH_MAX) {
        free(result);
        return failure_set(failure, EX_USAGE, -EINVAL, "%s is \"%.128s\": expected the path of a file or block device", option, *text);
    }
    *text = from;
    *path = result;
    return 0;
}

/* The next of the words that commas part, which *text is at the first comma of. False at the end. */
static bool
take_flag(const char **text, const char **flag, size_t *length)
{
    if (**text == '\0')
        return false;
    *flag = *text + 1;
    *length = strcspn(*flag, ",");
    *text = *flag + *length;
    return true;
}

static bool
is_flag(const char *flag, size_t length, const char *wanted)
{
    return length == strlen(wanted) && memcmp(flag, wanted, length) == 0;
}

static int
take_name(const char *text, struct options_grant *grant, struct failure *failure)
{
    const size_t length = strspn(text, NAME_CHARACTERS);

    if (length == 0 || length > OPTIONS_GRANT_NAME_MAX || text[length] != '=')
        return failure_set(failure, EX_USAGE, -EINVAL,
                           "--grant is \"%.128s\": expected NAME=PATH[,ro|rw][,lock], with a name of at most %d of a-z A-Z 0-9 _ . -",
                           text, OPTIONS_GRANT_NAME_MAX);
    memcpy(grant->name, text, length);
    grant->name[length] = '\0';
    if (is_reserved(grant->name))
        return failure_set(failure, EX_USAGE, -EINVAL, "--grant: %s is a name that vmsup itself uses: expected another", grant->name);
    return 0;
}

int
options_add_grant(struct options *options, const char *text, struct failure *failure)
{
    struct options_grant grant = { .option = "--grant" };
    const char *flag;
    size_t length;
    int result = take_name(text, &grant, failure);

    if (result < 0)
        return result;
    text += strlen(grant.name) + 1;
    result = take_path(&text, grant.option, &grant.path, failure);
    if (result < 0)
        return result;
    while (take_flag(&text, &flag, &length)) {
        if (is_flag(flag, length, "rw") || is_flag(flag, length, "ro")) {
            grant.writable = flag[1] == 'w';
        } else if (is_flag(flag, length, "lock")) {
            grant.lock = true;
        } else {
            free(grant.path);
            return failure_set(failure, EX_USAGE, -EINVAL, "--grant: \"%.*s\" stands behind the path of %s: expected ro, rw or lock",
                               (int)(length > 128 ? 128 : length), flag, grant.name);
        }
    }
    return add(options, &grant, failure);
}

int
options_add_disk(struct options *options, const char *text, struct failure *failure)
{
    struct options_grant grant = { .option = "--disk", .writable = true, .lock = true };
    const char *flag;
    size_t length;
    int result = take_path(&text, grant.option, &grant.path, failure);

    if (result < 0)
        return result;
    snprintf(grant.name, sizeof grant.name, "disk%zu", options->disk_count);
    if (*text != '\0')
        grant.flags = text + 1;
    /* The rest of them is microvm's to judge. */
    while (take_flag(&text, &flag, &length)) {
        if (is_flag(flag, length, "ro"))
            grant.writable = false;
        else if (is_flag(flag, length, "direct"))
            grant.direct = true;
    }
    result = add(options, &grant, failure);
    if (result == 0)
        options->disk_count++;
    return result;
}

int
options_add_image(struct options *options, const char *option, const char *path, struct failure *failure)
{
    struct options_grant grant = { .option = option, .lock = true };

    if (path[0] == '\0' || strlen(path) >= PATH_MAX)
        return failure_set(failure, EX_USAGE, -EINVAL, "%s is \"%.128s\": expected the path of a file", option, path);
    strlcpy(grant.name, option + strlen("--"), sizeof grant.name);
    grant.path = strdup(path);
    if (grant.path == NULL)
        return failure_set(failure, EX_OSERR, -ENOMEM, "%s: out of memory", option);
    return add(options, &grant, failure);
}

int
options_set_memory(struct options *options, const char *text, struct failure *failure)
{
    uint64_t size;

    if (value_size(text, &size) < 0 || size < OPTIONS_MACHINE_MEMORY_MIN || size > OPTIONS_MACHINE_MEMORY_MAX ||
        size % OPTIONS_MACHINE_MEMORY_UNIT != 0)
        return failure_set(failure, EX_USAGE, -EINVAL, "--memory is \"%.128s\": expected whole pages of 4K from 32M to 1T, such as 512M",
                           text);
    options->machine_memory = size;
    return 0;
}

int
options_set_vsock(struct options *options, const char *text, struct failure *failure)
{
    uint64_t cid;

    if (value_number(text, VSOCK_CID_MIN, VSOCK_CID_MAX, &cid) < 0)
        return failure_set(failure, EX_USAGE, -EINVAL, "--vsock is \"%.128s\": expected the guest's address, a number from %u to %u", text,
                           VSOCK_CID_MIN, VSOCK_CID_MAX);
    options->vsock_cid = (uint32_t)cid;
    return 0;
}

/* A plugin other than microvm has arguments of its own. */
static int
check_other_plugin(const struct options *options, struct failure *failure)
{
    const char *given = options->machine_memory != 0 ? "--memory" : options->command_line != NULL ? "--cmdline" : NULL;

    if (given == NULL && options->vsock_cid != 0)
        given = "--vsock";
    for (size_t i = 0; i < options->grant_count; i++) {
        const struct options_grant *grant = &options->grants[i];

        if (strcmp(grant->option, "--grant") != 0)
            return failure_set(failure, EX_USAGE, -EINVAL, "%s is for microvm, not for another plugin: expected --grant %s=%.128s",
                               grant->option, grant->name, grant->path);
    }
    if (given == NULL)
        return 0;
    return failure_set(failure, EX_USAGE, -EINVAL, "%s is for microvm, not for another plugin: expected the plugin's arguments after --",
                       given);
}

int
options_check_machine(const struct options *options, struct failure *failure)
{
    if (options->plugin != NULL)
        return check_other_plugin(options, failure);
    for (size_t i = 0; i < options->grant_count; i++)
        if (strcmp(options->grants[i].name, "kernel") == 0)
            return 0;
    return failure_set(failure, EX_USAGE, -EINVAL, "neither --kernel nor --plugin: expected the path of a kernel, or that of a plugin");
}
