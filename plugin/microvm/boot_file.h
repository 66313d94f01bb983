/*
 * The files that a boot is made of, and why one could not be used. Descriptors are borrowed, and read at their beginning whatever their
 * offset is. What a file says is not to be trusted: it may be any file at all.
 */
#ifndef VMSUP_PLUGIN_MICROVM_BOOT_FILE_H
#define VMSUP_PLUGIN_MICROVM_BOOT_FILE_H

#include <stddef.h>
#include <stdint.h>

/* One line, for a person, without an end of line. */
struct boot_refusal {
    char text[200];
};

struct boot_file {
    const char *name; /* as the refusal has it */
    int fd;
    uint64_t size;
};

/* Fills the refusal and gives `error` back, which is a negative errno. */
int boot_refuse(struct boot_refusal *refusal, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Looks how long the file is. -EINVAL: it is no regular one; or what fstat(2) gave. */
int boot_file_open(const char *name, int fd, struct boot_file *file, struct boot_refusal *refusal);

/* All of what is asked for. -ENOEXEC: the file ends before; or what pread(2) gave. */
int boot_file_read(const struct boot_file *file, void *to, uint64_t size, uint64_t offset, struct boot_refusal *refusal);

#endif
