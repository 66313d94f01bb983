/*
 * Reading ELF programs without running them. The walk: the program's own needs, then those of each library found, in order, as ld.so(8)
 * would; a library is looked for by name once. See elf(5) and ld.so(8).
 */
#include "jail/elf.h"

#include "common/fd.h"
#include "jail/elf_image.h"
#include "jail/library_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* pthread_exit(3) and thread cancellation load it by name; nothing lists it. */
#define UNWINDER "libgcc_s.so.1"

struct walk {
    struct elf_files *files;
    char *error;
    struct library_cache cache;
};

static int __attribute__((format(printf, 3, 4)))
fail(struct walk *walk, int result, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(walk->error, ELF_ERROR_MAX, format, arguments);
    va_end(arguments);
    return result;
}

static bool
has_file(const struct elf_files *files, const char *path)
{
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->file[i].path, path) == 0)
            return true;
    return false;
}

static bool
has_name(const struct elf_files *files, const char *name)
{
    for (size_t i = 0; i < files->count; i++) {
        const char *slash = strrchr(files->file[i].path, '/');

        if (strcmp(slash == NULL ? files->file[i].path : slash + 1, name) == 0)
            return true;
    }
    return false;
}

/* Takes over nothing; `found` is where it is on the host, `path` where the program will look. */
static int
add_file(struct walk *walk, const char *path, const char *found)
{
    struct elf_files *files = walk->files;
    struct elf_file *file = &files->file[files->count];

    if (has_file(files, path))
        return 0;
    if (files->count == ELF_FILES_MAX)
        return fail(walk, -E2BIG, "needs more than %d libraries", ELF_FILES_MAX);
    file->source = realpath(found, NULL);
    if (file->source == NULL)
        return fail(walk, -errno, "%s: %s", found, strerror(errno));
    file->path = strdup(path);
    if (file->path == NULL) {
        free(file->source);
        return fail(walk, -ENOMEM, "out of memory");
    }
    files->count++;
    return 0;
}

static int walk_image(struct walk *walk, const struct elf_image *image, const char *path, const struct library_needer *loader);

static int
walk_library(struct walk *walk, const struct library_place *place, const struct library_needer *loader)
{
    struct elf_image image;
    char why[ELF_IMAGE_ERROR_MAX];
    int fd = open(place->found, O_RDONLY | O_CLOEXEC), result;

    if (fd < 0)
        return fail(walk, -errno, "%s: %s", place->path, strerror(errno));
    result = elf_image_open(fd, &image, why);
    fd_close(&fd);
    if (result < 0)
        return fail(walk, result, "%s: %s", place->path, why);
    result = walk_image(walk, &image, place->found, loader);
    elf_image_close(&image);
    return result;
}

static int
find_library(struct walk *walk, const struct library_needer *needer, const char *name, bool must)
{
    struct library_place place;
    int result;

    if (has_name(walk->files, name))
        return 0;
    result = library_find(&walk->cache, name, needer, &place);
    if (result < 0 && !must)
        return 0;
    if (result < 0)
        return fail(walk, result, "the library %s, which %s needs, is not found", name, needer->path);
    result = add_file(walk, place.path, place.found);
    return result < 0 ? result : walk_library(walk, &place, needer);
}

static int
walk_image(struct walk *walk, const struct elf_image *image, const char *path, const struct library_needer *loader)
{
    const struct library_needer needer = { path, image->run_path, image->passed_on, loader };
    int result = 0;

    for (size_t i = 0; i < image->needed_count && result == 0; i++)
        result = find_library(walk, &needer, image->needed[i], true);
    return result;
}

int
elf_find_files(int fd, const char *path, struct elf_files *files, char error[ELF_ERROR_MAX])
{
    struct walk walk = { .files = files, .error = error };
    char why[ELF_IMAGE_ERROR_MAX];
    struct elf_image image;
    int result;

    *files = (struct elf_files){ 0 };
    error[0] = '\0';
    result = elf_image_open(fd, &image, why);
    if (result < 0)
        return fail(&walk, result, "%s: %s", path, why);
    /* A static program has no interpreter, and whatever it needs it has. */
    if (image.interpreter != NULL) {
        library_cache_open(&walk.cache);
        result = add_file(&walk, image.interpreter, image.interpreter);
        if (result == 0)
            result = walk_image(&walk, &image, path, NULL);
        if (result == 0)
            result = find_library(&walk, &(struct library_needer){ path, image.run_path, image.passed_on, NULL }, UNWINDER, false);
        library_cache_close(&walk.cache);
    }
    elf_image_close(&image);
    if (result < 0)
        elf_files_free(files);
    return result;
}

void
elf_files_free(struct elf_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        free(files->file[i].path);
        free(files->file[i].source);
    }
    files->count = 0;
}
