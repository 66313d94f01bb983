/*
 * What a program needs to start, found without running it: its interpreter and its shared libraries, all the way down, read from
 * the ELF dynamic section and looked up as ld.so(8) does (DT_RPATH, DT_RUNPATH with $ORIGIN, the loader's cache, the default paths).
 * The files that are read are hostile: every offset is checked against the file's size. Nothing is executed.
 */
#ifndef VMSUP_JAIL_ELF_H
#define VMSUP_JAIL_ELF_H

#include <stddef.h>

#define ELF_FILES_MAX 96
#define ELF_ERROR_MAX 512

/* A file to be seen at `path` inside; `source` is where it is on the host (the path with its links followed). */
struct elf_file {
    char *path;
    char *source;
};

struct elf_files {
    struct elf_file file[ELF_FILES_MAX];
    size_t count;
};

/*
 * Fills `files` with the interpreter, the libraries and libgcc_s.so.1 (which pthread_exit(3) loads though nothing lists it), without
 * the program itself; none for a static program. 0, or -ENOEXEC (no ELF program of this machine: a script, another
 * architecture; `error` says what it is), -ENOENT (a library was not found; `error` names it), -E2BIG, -ENOMEM.
 */
int elf_find_files(int fd, const char *path, struct elf_files *files, char error[ELF_ERROR_MAX]);
void elf_files_free(struct elf_files *files);

#endif
