/*
 * Where ld.so(8) would find a library: the run path of who needs it, the loader's cache, the default directories. A library that is only
 * found through the cache is to be seen in a default directory inside, where there is no cache. Internal to jail/.
 */
#ifndef VMSUP_JAIL_LIBRARY_PATH_H
#define VMSUP_JAIL_LIBRARY_PATH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* /etc/ld.so.cache, a copy; empty where there is none. */
struct library_cache {
    uint8_t *data;
    size_t size;
};

struct library_place {
    char found[PATH_MAX]; /* on the host */
    char path[PATH_MAX];  /* where it is to be seen inside */
};

void library_cache_open(struct library_cache *cache);
void library_cache_close(struct library_cache *cache);

/* A file that names libraries. */
struct library_needer {
    const char *path;     /* for $ORIGIN */
    const char *run_path; /* may be NULL */
    bool passed_on;       /* the run path serves the libraries of its libraries, too */
    const struct library_needer *loader; /* who needs this file; NULL: it is the program */
};

/* 0 or -ENOENT. */
int library_find(const struct library_cache *cache, const char *name, const struct library_needer *needer, struct library_place *place);

#endif
