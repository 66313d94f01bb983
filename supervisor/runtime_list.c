#include "common/fd.h"
#include "supervisor/runtime.h"
#include "supervisor/runtime_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sysexits.h>
#include <unistd.h>

/* The entries of a listing that grows. */
struct collection {
    struct runtime_entry *entries;
    size_t count;
    size_t capacity;
};

/* A shared lock for an instant: it can be had where no supervisor holds its own. */
static bool
is_locked(int folder)
{
    if (flock(folder, LOCK_SH | LOCK_NB) < 0)
        return true;
    flock(folder, LOCK_UN);
    return false;
}

static int
look_at(int base, int last, const char *name, struct runtime_entry *entry)
{
    int folder, result = runtime_open_folder(base, name, &folder);

    *entry = (struct runtime_entry){ .state = RUNTIME_STOPPED };
    strlcpy(entry->name, name, sizeof entry->name);
    if (result == 0) {
        entry->state = is_locked(folder) ? RUNTIME_RUNNING : RUNTIME_LEFTOVER;
        entry->pid = entry->state == RUNTIME_RUNNING ? runtime_read_pid(folder) : 0;
        fd_close(&folder);
        return 0;
    }
    if (result != -ENOENT)
        return result;
    if (last < 0)
        return -ENOENT;
    result = runtime_read_reason(last, name, &entry->reason);
    if (result < 0 && result != -ENOENT) {
        strlcpy(entry->reason.text, "(the reason cannot be read)", sizeof entry->reason.text);
        result = 0;
    }
    return result;
}

static int
add_entry(struct collection *collection, const struct runtime_entry *entry)
{
    struct runtime_entry *larger;
    size_t capacity;

    if (collection->count == RUNTIME_LIST_MAX)
        return -E2BIG;
    if (collection->count == collection->capacity) {
        capacity = collection->capacity == 0 ? 16 : 2 * collection->capacity;
        larger = reallocarray(collection->entries, capacity, sizeof *larger);
        if (larger == NULL)
            return -ENOMEM;
        collection->entries = larger;
        collection->capacity = capacity;
    }
    collection->entries[collection->count++] = *entry;
    return 0;
}

/* Adds what is named in `folder`, which is BASE or BASE/.last; a name that is in both is added twice. */
static int
collect(int base, int last, int folder, struct collection *collection)
{
    int result = 0, fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct runtime_entry entry;
    struct dirent *found;
    DIR *listing;

    if (fd < 0)
        return -errno;
    listing = fdopendir(fd);
    if (listing == NULL) {
        fd_close(&fd);
        return -ENOMEM;
    }
    while (result == 0 && (found = readdir(listing)) != NULL) {
        if (!name_is_valid(found->d_name) || (folder == base && found->d_type == DT_REG))
            continue;
        /* It may have gone meanwhile, or be something else's. */
        if (look_at(base, last, found->d_name, &entry) == 0)
            result = add_entry(collection, &entry);
    }
    closedir(listing);
    return result;
}

static int
compare_entries(const void *left, const void *right)
{
    const struct runtime_entry *one = left, *other = right;

    return strcmp(one->name, other->name);
}

static void
sort_once(struct collection *collection)
{
    size_t kept = 0;

    if (collection->count == 0)
        return;
    qsort(collection->entries, collection->count, sizeof *collection->entries, compare_entries);
    for (size_t i = 1; i < collection->count; i++)
        if (strcmp(collection->entries[kept].name, collection->entries[i].name) != 0)
            collection->entries[++kept] = collection->entries[i];
    collection->count = kept + 1;
}

/* BASE and BASE/.last, which may be missing (-1). */
static int
open_both(const char *path, int *base, int *last, struct failure *failure)
{
    int result = runtime_open_base(path, false, base, failure);

    *last = -1;
    if (result < 0)
        return result;
    result = runtime_open_folder(*base, ".last", last);
    if (result < 0 && result != -ENOENT) {
        fd_close(base);
        return failure_set(failure, EX_NOPERM, result, "%s/.last: expected a folder of one's own that nobody else can write", path);
    }
    return 0;
}

ssize_t
runtime_list(const char *path, struct runtime_entry **entries, struct failure *failure)
{
    struct collection collection = { 0 };
    int base = -1, last = -1, result = open_both(path, &base, &last, failure);

    *entries = NULL;
    if (result == -ENOENT)
        return 0;
    if (result < 0)
        return result;
    result = collect(base, last, base, &collection);
    if (result == 0 && last >= 0)
        result = collect(base, last, last, &collection);
    fd_close(&last);
    fd_close(&base);
    if (result < 0) {
        free(collection.entries);
        return failure_set(failure, EX_OSERR, result, "%s cannot be listed: %s", path, strerror(-result));
    }
    sort_once(&collection);
    *entries = collection.entries;
    return (ssize_t)collection.count;
}

int
runtime_look(const char *path, const char *name, struct runtime_entry *entry, struct failure *failure)
{
    int base = -1, last = -1, result;

    if (!name_is_valid(name))
        return failure_set(failure, EX_USAGE, -EINVAL, "\"%.128s\" is not the name of a VM", name);
    result = open_both(path, &base, &last, failure);
    if (result == 0) {
        result = look_at(base, last, name, entry);
        fd_close(&last);
        fd_close(&base);
        if (result < 0 && result != -ENOENT)
            return failure_set(failure, EX_NOPERM, result, "%s/%s: %s", path, name, strerror(-result));
    }
    if (result == -ENOENT)
        return failure_set(failure, EX_NOINPUT, result, "%s: no such VM", name);
    return result;
}
