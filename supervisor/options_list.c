#include "supervisor/options_list.h"

#include "common/fd.h"
#include "supervisor/options_value.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* Place of an error: a path, a colon and a line's number. */
#define WHERE_MAX (PATH_MAX + 16)

/* The fields of a text that colons separate. */
struct field {
    const char *text;
    size_t length;
};

/* How many fields there are; more than `capacity` are counted but not kept. */
static size_t
split_fields(const char *text, struct field *fields, size_t capacity)
{
    size_t count = 0;

    for (;;) {
        size_t length = strcspn(text, ":");

        if (count < capacity)
            fields[count] = (struct field){ text, length };
        count++;
        if (text[length] == '\0')
            return count;
        text += length + 1;
    }
}

static int
path_failure(const char *where, const char *which, const struct field *field, int error, int exit_code, struct failure *failure)
{
    const char *expected = "expected an absolute path";

    if (error == -ENOMEM)
        return failure_set(failure, EX_OSERR, error, "%s: out of memory", where);
    if (error == -ERANGE)
        expected = field->length >= PATH_MAX ? "it is too long" : "expected a path without \".\" and \"..\"";
    return failure_set(failure, exit_code, -EINVAL, "%s: the %s is \"%.*s\": %s", where, which,
                       (int)(field->length > 128 ? 128 : field->length), field->text, expected);
}

static int
parse_writable(const struct field *field, const char *where, int exit_code, bool *writable, struct failure *failure)
{
    *writable = field->length == 4 && memcmp(field->text, "true", 4) == 0;
    if (*writable || (field->length == 5 && memcmp(field->text, "false", 5) == 0))
        return 0;
    return failure_set(failure, exit_code, -EINVAL, "%s: the third field is \"%.*s\": expected true (writable) or false", where,
                       (int)(field->length > 128 ? 128 : field->length), field->text);
}

/* The place of a mount must be free and not the root itself. */
static int
check_target(const struct options *options, const char *target, const char *where, int exit_code, struct failure *failure)
{
    if (strcmp(target, "/") == 0)
        return failure_set(failure, exit_code, -EINVAL, "%s: the destination is \"/\": expected a path below the plugin's root", where);
    for (size_t i = 0; i < options->mount_count; i++)
        if (strcmp(options->mounts[i].target, target) == 0)
            return failure_set(failure, exit_code, -EINVAL, "%s: there is a mount at %.128s already: expected another destination",
                               where, target);
    return 0;
}

int
options_add_mount(struct options *options, const char *text, const char *where, int exit_code, struct failure *failure)
{
    struct field fields[3], *destination = &fields[0];
    size_t count = split_fields(text, fields, 3);
    struct options_mount mount = { 0 };
    int result;

    if (options->mount_count == OPTIONS_MOUNTS_MAX)
        return failure_set(failure, exit_code, -E2BIG, "%s: too many mounts: expected at most %d", where, OPTIONS_MOUNTS_MAX);
    if (count > 3)
        return failure_set(failure, exit_code, -EINVAL, "%s: \"%.128s\" has %zu fields: expected SRC[:[DST][:true|false]]", where,
                           text, count);
    if (count == 3) {
        result = parse_writable(&fields[2], where, exit_code, &mount.writable, failure);
        if (result < 0)
            return result;
    }
    result = value_path(fields[0].text, fields[0].length, &mount.source);
    if (result < 0)
        return path_failure(where, "source", &fields[0], result, exit_code, failure);
    if (count >= 2 && fields[1].length > 0)
        destination = &fields[1];
    result = value_path(destination->text, destination->length, &mount.target);
    if (result < 0)
        result = path_failure(where, "destination", destination, result, exit_code, failure);
    else
        result = check_target(options, mount.target, where, exit_code, failure);
    if (result < 0) {
        free(mount.source);
        free(mount.target);
        return result;
    }
    options->mounts[options->mount_count++] = mount;
    return 0;
}

static int
parse_id(const struct field *field, const char *which, uint32_t minimum, const char *where, int exit_code, uint32_t *id,
         struct failure *failure)
{
    char text[16];
    uint64_t number;

    if (field->length < sizeof text) {
        memcpy(text, field->text, field->length);
        text[field->length] = '\0';
        /* 2^32 - 1 is "no group". */
        if (value_number(text, minimum, UINT32_MAX - 1, &number) == 0) {
            *id = (uint32_t)number;
            return 0;
        }
    }
    return failure_set(failure, exit_code, -EINVAL, "%s: the %s is \"%.*s\": expected a number from %u to %u", where, which,
                       (int)(field->length > 128 ? 128 : field->length), field->text, minimum, UINT32_MAX - 1);
}

static bool
overlaps(uint32_t first, uint32_t other, uint32_t count, uint32_t other_count)
{
    return (uint64_t)first < (uint64_t)other + other_count && (uint64_t)other < (uint64_t)first + count;
}

/* What the kernel would refuse (user_namespaces(7)), told before it does. */
static int
check_gid_map(const struct options *options, const struct jail_id_map *map, const char *where, int exit_code,
              struct failure *failure)
{
    if ((uint64_t)map->inner + map->count > UINT32_MAX || (uint64_t)map->outer + map->count > UINT32_MAX)
        return failure_set(failure, exit_code, -EINVAL, "%s: %u:%u:%u goes beyond the last group: expected at most %u", where,
                           map->inner, map->outer, map->count, UINT32_MAX - 1);
    if (map->inner == 0)
        return failure_set(failure, exit_code, -EINVAL, "%s: the inner group 0 is the plugin's own: expected another", where);
    for (size_t i = 0; i < options->gid_map_count; i++) {
        const struct jail_id_map *other = &options->gid_maps[i];

        if (overlaps(map->inner, other->inner, map->count, other->count) ||
            overlaps(map->outer, other->outer, map->count, other->count))
            return failure_set(failure, exit_code, -EINVAL, "%s: %u:%u:%u overlaps %u:%u:%u: expected each group once", where,
                               map->inner, map->outer, map->count, other->inner, other->outer, other->count);
    }
    return 0;
}

int
options_add_gid_map(struct options *options, const char *text, const char *where, int exit_code, struct failure *failure)
{
    struct field fields[3];
    size_t count = split_fields(text, fields, 3);
    struct jail_id_map map = { .count = 1 };
    int result;

    if (options->gid_map_count == OPTIONS_GID_MAPS_MAX)
        return failure_set(failure, exit_code, -E2BIG, "%s: too many gid maps: expected at most %d", where, OPTIONS_GID_MAPS_MAX);
    if (count > 3)
        return failure_set(failure, exit_code, -EINVAL, "%s: \"%.128s\" has %zu fields: expected INNER[:[OUTER][:COUNT]]", where,
                           text, count);
    result = parse_id(&fields[0], "inner group", 0, where, exit_code, &map.inner, failure);
    map.outer = map.inner;
    if (result == 0 && count >= 2 && fields[1].length > 0)
        result = parse_id(&fields[1], "outer group", 0, where, exit_code, &map.outer, failure);
    if (result == 0 && count == 3)
        result = parse_id(&fields[2], "count", 1, where, exit_code, &map.count, failure);
    if (result == 0)
        result = check_gid_map(options, &map, where, exit_code, failure);
    if (result == 0)
        options->gid_maps[options->gid_map_count++] = map;
    return result;
}

int
options_add_text(struct options *options, options_add *add, const char *name, char *text, struct failure *failure)
{
    static const char blanks[] = " \t\r\v\f";
    char where[WHERE_MAX], *line;
    unsigned int number = 0;

    while ((line = strsep(&text, "\n")) != NULL) {
        size_t length;
        int result;

        number++;
        line[strcspn(line, "#")] = '\0';
        line += strspn(line, blanks);
        length = strlen(line);
        while (length > 0 && strchr(blanks, line[length - 1]) != NULL)
            line[--length] = '\0';
        if (length == 0)
            continue;
        snprintf(where, sizeof where, "%.256s:%u", name, number);
        result = add(options, line, where, EX_DATAERR, failure);
        if (result < 0)
            return result;
    }
    return 0;
}

int
options_add_file(struct options *options, options_add *add, const char *path, struct failure *failure)
{
    char *text = malloc(OPTIONS_FILE_MAX + 1);
    ssize_t length;
    int result;

    if (text == NULL)
        return failure_set(failure, EX_OSERR, -ENOMEM, "%.256s: out of memory", path);
    length = fd_read_file(AT_FDCWD, path, text, OPTIONS_FILE_MAX + 1);
    if (length == -EFBIG)
        result = failure_set(failure, EX_DATAERR, -EFBIG, "%.256s: too large: expected at most %d bytes", path, OPTIONS_FILE_MAX);
    else if (length < 0)
        result = failure_set(failure, EX_NOINPUT, (int)length, "%.256s: cannot be read: %s", path, strerror((int)-length));
    else if (memchr(text, '\0', (size_t)length) != NULL)
        result = failure_set(failure, EX_DATAERR, -EINVAL, "%.256s: holds a NUL byte: expected text", path);
    else
        result = options_add_text(options, add, path, text, failure);
    free(text);
    return result;
}
