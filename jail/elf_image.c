#include "jail/elf_image.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than any real program has. */
#define PROGRAM_HEADERS_MAX 128
#define DYNAMIC_MAX (64 * 1024)
#define STRINGS_MAX (16 * 1024 * 1024)

struct reader {
    int fd;
    char *error;
    Elf64_Phdr headers[PROGRAM_HEADERS_MAX];
    size_t header_count;
};

static int
refuse(struct reader *reader, int result, const char *why)
{
    strlcpy(reader->error, why, ELF_IMAGE_ERROR_MAX);
    return result;
}

/* All `size` bytes at `offset`, or -ENOEXEC where the file ends before. */
static int
read_at(struct reader *reader, uint64_t offset, void *data, size_t size)
{
    ssize_t got;

    if (offset > INT64_MAX - size)
        return refuse(reader, -ENOEXEC, "a damaged ELF file: an offset beyond its end");
    got = pread(reader->fd, data, size, (off_t)offset);
    if (got < 0)
        return refuse(reader, -errno, "cannot be read");
    return (size_t)got == size ? 0 : refuse(reader, -ENOEXEC, "a damaged ELF file: it ends too early");
}

static int
read_header(struct reader *reader, Elf64_Ehdr *header)
{
    ssize_t got = pread(reader->fd, header, sizeof *header, 0);

    if (got < 0)
        return refuse(reader, -errno, "cannot be read");
    if (got >= 2 && memcmp(header, "#!", 2) == 0)
        return refuse(reader, -ENOEXEC, "is a script, an ELF program was expected");
    if (got < SELFMAG || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return refuse(reader, -ENOEXEC, "is no ELF program");
    if (got < (ssize_t)sizeof *header)
        return refuse(reader, -ENOEXEC, "a damaged ELF file: it ends too early");
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != EM_X86_64)
        return refuse(reader, -ENOEXEC, "is a program of another architecture, x86-64 was expected");
    if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
        return refuse(reader, -ENOEXEC, "is an ELF file, but neither a program nor a library");
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 || header->e_phnum > PROGRAM_HEADERS_MAX)
        return refuse(reader, -ENOEXEC, "a damaged ELF file: its program headers");
    return 0;
}

static const Elf64_Phdr *
find_header(const struct reader *reader, uint32_t type)
{
    for (size_t i = 0; i < reader->header_count; i++)
        if (reader->headers[i].p_type == type)
            return &reader->headers[i];
    return NULL;
}

static int
read_interpreter(struct reader *reader, struct elf_image *image)
{
    const Elf64_Phdr *header = find_header(reader, PT_INTERP);
    int result;

    if (header == NULL)
        return 0;
    if (header->p_filesz < 2 || header->p_filesz > PATH_MAX)
        return refuse(reader, -ENOEXEC, "a damaged ELF file: its interpreter's name");
    image->interpreter = calloc(1, header->p_filesz + 1);
    if (image->interpreter == NULL)
        return refuse(reader, -ENOMEM, "out of memory");
    result = read_at(reader, header->p_offset, image->interpreter, header->p_filesz);
    if (result == 0 && image->interpreter[0] != '/')
        return refuse(reader, -ENOEXEC, "a damaged ELF file: its interpreter's name");
    return result;
}

/* Where in the file the byte is that is loaded at `address`, and how many follow it there. */
static bool
find_offset(const struct reader *reader, uint64_t address, uint64_t *offset, uint64_t *left)
{
    for (size_t i = 0; i < reader->header_count; i++) {
        const Elf64_Phdr *header = &reader->headers[i];

        if (header->p_type == PT_LOAD && address >= header->p_vaddr && address - header->p_vaddr < header->p_filesz) {
            *left = header->p_filesz - (address - header->p_vaddr);
            return !__builtin_add_overflow(header->p_offset, address - header->p_vaddr, offset);
        }
    }
    return false;
}

static uint64_t
find_value(const Elf64_Dyn *entries, size_t count, int64_t tag)
{
    for (size_t i = 0; i < count && entries[i].d_tag != DT_NULL; i++)
        if (entries[i].d_tag == tag)
            return entries[i].d_un.d_val;
    return 0;
}

static int
read_strings(struct reader *reader, const Elf64_Dyn *entries, size_t count, struct elf_image *image, uint64_t *size)
{
    uint64_t offset, left;

    *size = find_value(entries, count, DT_STRSZ);
    if (*size == 0 || *size > STRINGS_MAX || !find_offset(reader, find_value(entries, count, DT_STRTAB), &offset, &left) ||
        *size > left)
        return refuse(reader, -ENOEXEC, "a damaged ELF file: its dynamic strings");
    image->strings = calloc(1, *size + 1);
    if (image->strings == NULL)
        return refuse(reader, -ENOMEM, "out of memory");
    return read_at(reader, offset, image->strings, *size);
}

static int
take_entries(struct reader *reader, const Elf64_Dyn *entries, size_t count, struct elf_image *image)
{
    uint64_t size, path;
    int result = read_strings(reader, entries, count, image, &size);

    if (result < 0)
        return result;
    for (size_t i = 0; i < count && entries[i].d_tag != DT_NULL; i++) {
        if (entries[i].d_tag != DT_NEEDED)
            continue;
        if (entries[i].d_un.d_val >= size)
            return refuse(reader, -ENOEXEC, "a damaged ELF file: a library's name");
        if (image->needed_count == ELF_IMAGE_NEEDED_MAX)
            return refuse(reader, -E2BIG, "names too many libraries");
        image->needed[image->needed_count++] = image->strings + entries[i].d_un.d_val;
    }
    path = find_value(entries, count, DT_RUNPATH);
    image->passed_on = path == 0;
    if (path == 0)
        path = find_value(entries, count, DT_RPATH);
    if (path >= size)
        return refuse(reader, -ENOEXEC, "a damaged ELF file: its run path");
    if (path != 0)
        image->run_path = image->strings + path;
    return 0;
}

static int
read_dynamic(struct reader *reader, struct elf_image *image)
{
    const Elf64_Phdr *header = find_header(reader, PT_DYNAMIC);
    Elf64_Dyn *entries;
    int result;

    if (header == NULL)
        return 0;
    if (header->p_filesz < sizeof *entries || header->p_filesz > DYNAMIC_MAX)
        return refuse(reader, -ENOEXEC, "a damaged ELF file: its dynamic section");
    entries = calloc(1, header->p_filesz);
    if (entries == NULL)
        return refuse(reader, -ENOMEM, "out of memory");
    result = read_at(reader, header->p_offset, entries, header->p_filesz);
    if (result == 0)
        result = take_entries(reader, entries, header->p_filesz / sizeof *entries, image);
    free(entries);
    return result;
}

int
elf_image_open(int fd, struct elf_image *image, char error[ELF_IMAGE_ERROR_MAX])
{
    struct reader reader = { .fd = fd, .error = error };
    Elf64_Ehdr header;
    int result;

    *image = (struct elf_image){ 0 };
    result = read_header(&reader, &header);
    if (result == 0)
        result = read_at(&reader, header.e_phoff, reader.headers, header.e_phnum * sizeof reader.headers[0]);
    if (result == 0) {
        reader.header_count = header.e_phnum;
        result = read_interpreter(&reader, image);
    }
    if (result == 0)
        result = read_dynamic(&reader, image);
    if (result < 0)
        elf_image_close(image);
    return result;
}

void
elf_image_close(struct elf_image *image)
{
    free(image->interpreter);
    free(image->strings);
    *image = (struct elf_image){ 0 };
}
