/* The file of a plugin, or of a library that it names: read by root, written by a stranger. */
#include "jail/elf_image.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[ELF_IMAGE_ERROR_MAX] = "";
    struct elf_image image;
    size_t used = 0;
    int fd = memfd_create("plugin", MFD_CLOEXEC);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    if (elf_image_open(fd, &image, error) == 0) {
        /* Every string is there, and ends. */
        used += image.interpreter == NULL ? 0 : strlen(image.interpreter);
        used += image.run_path == NULL ? 0 : strlen(image.run_path);
        for (size_t i = 0; i < image.needed_count; i++)
            used += strlen(image.needed[i]);
        if (used > size * (ELF_IMAGE_NEEDED_MAX + 2))
            abort();
        elf_image_close(&image);
    } else if (strlen(error) >= sizeof error) {
        abort();
    }
    close(fd);
    return 0;
}
