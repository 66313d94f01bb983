/*
 * One ELF file, read and checked: its interpreter, the libraries it names, its run path. The strings live in a private copy of the
 * file's headers and string table; nothing points into the file, which somebody may be changing. Internal to jail/.
 */
#ifndef VMSUP_JAIL_ELF_IMAGE_H
#define VMSUP_JAIL_ELF_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

#define ELF_IMAGE_NEEDED_MAX 64
#define ELF_IMAGE_ERROR_MAX 128

struct elf_image {
    char *interpreter; /* NULL: none */
    char *run_path;    /* DT_RUNPATH, else DT_RPATH; NULL: none */
    bool passed_on;    /* it is a DT_RPATH, which serves its libraries' libraries, too */
    const char *needed[ELF_IMAGE_NEEDED_MAX];
    size_t needed_count;
    char *strings; /* the dynamic string table, which `needed` and `run_path` point into */
};

/*
 * Reads the file of `fd`, which stays the caller's. 0, or -ENOEXEC where it is not a program or library of this machine (`error` says
 * what it is), -E2BIG, -ENOMEM or what pread(2) says.
 */
int elf_image_open(int fd, struct elf_image *image, char error[ELF_IMAGE_ERROR_MAX]);
void elf_image_close(struct elf_image *image);

#endif
