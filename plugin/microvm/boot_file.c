#include "plugin/microvm/boot_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int
boot_refuse(struct boot_refusal *refusal, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(refusal->text, sizeof refusal->text, format, arguments);
    va_end(arguments);
    return error;
}

int
boot_file_open(const char *name, int fd, struct boot_file *file, struct boot_refusal *refusal)
{
    struct stat status;

    if (fstat(fd, &status) < 0) {
        int error = errno;

        return boot_refuse(refusal, -error, "%s: %s", name, strerror(error));
    }
    if (!S_ISREG(status.st_mode))
        return boot_refuse(refusal, -EINVAL, "%s is not a regular file", name);
    *file = (struct boot_file){ .name = name, .fd = fd, .size = (uint64_t)status.st_size };
    return 0;
}

int
boot_file_read(const struct boot_file *file, void *to, uint64_t size, uint64_t offset, struct boot_refusal *refusal)
{
    uint64_t end;

    /* Behind this check no offset is beyond what a file can have. */
    if (__builtin_add_overflow(offset, size, &end) || end > file->size)
        return boot_refuse(refusal, -ENOEXEC, "%s is cut short: it has %ju bytes", file->name, (uintmax_t)file->size);
    for (uint64_t done = 0; done < size;) {
        ssize_t result = pread(file->fd, (uint8_t *)to + done, size - done, (off_t)(offset + done));

        if (result < 0 && errno != EINTR) {
            int error = errno;

            return boot_refuse(refusal, -error, "%s: %s", file->name, strerror(error));
        }
        if (result == 0)
            return boot_refuse(refusal, -ENOEXEC, "%s was cut short while it was read", file->name);
        if (result > 0)
            done += (uint64_t)result;
    }
    return 0;
}
