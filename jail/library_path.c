#include "jail/library_path.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE_PATH "/etc/ld.so.cache"
#define CACHE_MAX (16 * 1024 * 1024)

/* The format of glibc 2.2 and later: a header, entries, strings; offsets count from the header's begin. */
#define CACHE_MAGIC "glibc-ld.so.cache1.1"
#define CACHE_HEADER_SIZE 48
#define CACHE_ENTRY_SIZE 24
#define CACHE_FLAGS_X86_64 0x0303 /* an ELF library of glibc for x86-64 */

static const char *const default_directories[] = {
    "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
};

void
library_cache_open(struct library_cache *cache)
{
    struct stat status;
    int fd = open(CACHE_PATH, O_RDONLY | O_CLOEXEC);

    *cache = (struct library_cache){ 0 };
    if (fd < 0)
        return;
    if (fstat(fd, &status) == 0 && status.st_size >= CACHE_HEADER_SIZE && status.st_size <= CACHE_MAX) {
        cache->size = (size_t)status.st_size;
        /* One more, so that the last string ends. */
        cache->data = calloc(1, cache->size + 1);
        if (cache->data == NULL || fd_read_all(fd, cache->data, cache->size) < 0 ||
            memcmp(cache->data, CACHE_MAGIC, strlen(CACHE_MAGIC)) != 0)
            library_cache_close(cache);
    }
    fd_close(&fd);
}

void
library_cache_close(struct library_cache *cache)
{
    free(cache->data);
    *cache = (struct library_cache){ 0 };
}

static uint32_t
read_number(const struct library_cache *cache, size_t offset)
{
    uint32_t number;

    memcpy(&number, cache->data + offset, sizeof number);
    return number;
}

static bool
is_library(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

/* NULL where the cache does not have it. */
static const char *
find_in_cache(const struct library_cache *cache, const char *name)
{
    size_t count;

    if (cache->data == NULL)
        return NULL;
    count = read_number(cache, 20);
    if (count > (cache->size - CACHE_HEADER_SIZE) / CACHE_ENTRY_SIZE)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t entry = CACHE_HEADER_SIZE + i * CACHE_ENTRY_SIZE;
        uint32_t flags = read_number(cache, entry), key = read_number(cache, entry + 4), value = read_number(cache, entry + 8);
        uint32_t hardware = read_number(cache, entry + 20);

        /* Variants for newer processors have hardware bits; the plain one serves everywhere. */
        if (flags == CACHE_FLAGS_X86_64 && hardware == 0 && key < cache->size && value < cache->size &&
            strcmp((const char *)cache->data + key, name) == 0 && is_library((const char *)cache->data + value))
            return (const char *)cache->data + value;
    }
    return NULL;
}

/* One directory of a run path, with $ORIGIN put in; false where it is something else that only the loader knows. */
static bool
expand(const char *part, size_t length, const char *needer, char out[PATH_MAX])
{
    static const char *const words[] = { "$ORIGIN", "${ORIGIN}" };
    char origin[PATH_MAX], *slash;

    strlcpy(origin, needer, sizeof origin);
    slash = strrchr(origin, '/');
    if (slash != NULL)
        *slash = '\0';
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t word = strlen(words[i]);

        if (length >= word && strncmp(part, words[i], word) == 0)
            return snprintf(out, PATH_MAX, "%s%.*s", origin, (int)(length - word), part + word) < PATH_MAX;
    }
    if (memchr(part, '$', length) != NULL || length == 0 || part[0] != '/')
        return false;
    return snprintf(out, PATH_MAX, "%.*s", (int)length, part) < PATH_MAX;
}

/* Takes `.`, `..` and double slashes out of an absolute path, letter by letter: what it names inside, where there are no links. */
static void
flatten(char *path)
{
    char *end = path;
    const char *part = path;

    while (*part != '\0') {
        const char *name = part + strspn(part, "/");
        size_t length = strcspn(name, "/");

        part = name + length;
        if (length == 0 || (length == 1 && name[0] == '.'))
            continue;
        if (length == 2 && name[0] == '.' && name[1] == '.') {
            while (end > path && *--end != '/')
                ;
            continue;
        }
        *end++ = '/';
        memmove(end, name, length);
        end += length;
    }
    *end = '\0';
}

/* `place` has the path where the loader will look, although a link may lead there on the host. */
static bool
try_directory(const char *directory, const char *name, struct library_place *place)
{
    if (snprintf(place->found, sizeof place->found, "%s/%s", directory, name) >= (int)sizeof place->found)
        return false;
    strlcpy(place->path, place->found, sizeof place->path);
    flatten(place->path);
    return is_library(place->found);
}

static bool
find_in_run_path(const struct library_needer *needer, const char *name, struct library_place *place)
{
    for (const char *part = needer->run_path; part != NULL; part = strchr(part, ':') != NULL ? strchr(part, ':') + 1 : NULL) {
        char directory[PATH_MAX];

        if (expand(part, strcspn(part, ":"), needer->path, directory) && try_directory(directory, name, place))
            return true;
    }
    return false;
}

/* A DT_RUNPATH stands alone; else the paths of all that led to this file are searched, as far as they are passed on. */
static bool
find_in_run_paths(const struct library_needer *needer, const char *name, struct library_place *place)
{
    if (needer->run_path != NULL && !needer->passed_on)
        return find_in_run_path(needer, name, place);
    for (; needer != NULL; needer = needer->loader)
        if (needer->run_path != NULL && needer->passed_on && find_in_run_path(needer, name, place))
            return true;
    return false;
}

static bool
find_in_defaults(const char *name, struct library_place *place)
{
    for (size_t i = 0; i < sizeof default_directories / sizeof default_directories[0]; i++)
        if (try_directory(default_directories[i], name, place))
            return true;
    return false;
}

int
library_find(const struct library_cache *cache, const char *name, const struct library_needer *needer, struct library_place *place)
{
    const char *cached;

    if (strchr(name, '/') != NULL) {
        if (name[0] != '/' || !is_library(name))
            return -ENOENT;
        strlcpy(place->found, name, sizeof place->found);
        strlcpy(place->path, name, sizeof place->path);
        return 0;
    }
    if (find_in_run_paths(needer, name, place))
        return 0;
    cached = find_in_cache(cache, name);
    if (cached == NULL)
        return find_in_defaults(name, place) ? 0 : -ENOENT;
    strlcpy(place->found, cached, sizeof place->found);
    snprintf(place->path, sizeof place->path, "%s/%s", default_directories[0], name);
    return 0;
}
