#include "plugin/microvm/boot_elf.h"
#include "plugin/microvm/layout.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Xen, include/public/elfnote.h. */
#define NOTE_NAME "Xen"
#define NOTE_PHYS32_ENTRY 18

/* What a bzImage's header says of kernels as they are now, for those that come without one. */
#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448
#define HEADER_VERSION 0x020f
#define KERNEL_ALIGNMENT 0x1000000
#define INITRD_LIMIT 0x80000000ULL
#define COMMAND_LINE_MAX 2047

bool
boot_elf_is(const struct boot_file *file)
{
    struct boot_refusal ignored;
    char magic[SELFMAG];

    return boot_file_read(file, magic, sizeof magic, 0, &ignored) == 0 && memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static int
check_header(const struct boot_file *file, const Elf64_Ehdr *header, struct boot_refusal *refusal)
{
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != EM_X86_64)
        return boot_refuse(refusal, -ENOEXEC, "%s is an ELF file, but none of x86-64", file->name);
    if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
        return boot_refuse(refusal, -ENOEXEC, "%s is an ELF file, but none that can be executed", file->name);
    if (header->e_phentsize != sizeof(Elf64_Phdr))
        return boot_refuse(refusal, -ENOEXEC, "%s has program headers of %d bytes, expected %zu", file->name, header->e_phentsize,
                           sizeof(Elf64_Phdr));
    if (header->e_phnum == 0 || header->e_phnum > BOOT_ELF_HEADERS_MAX)
        return boot_refuse(refusal, -ENOEXEC, "%s has %d program headers, expected 1 to %d", file->name, header->e_phnum,
                           BOOT_ELF_HEADERS_MAX);
    return 0;
}

/* What its file part does not fill is zeroes already. */
static int
load_segment(const struct guest_memory *memory, const struct boot_file *file, const Elf64_Phdr *segment, struct boot_kernel *kernel,
             struct boot_refusal *refusal)
{
    void *to;

    if (segment->p_filesz > segment->p_memsz)
        return boot_refuse(refusal, -ENOEXEC, "%s has a segment that is larger in the file than in memory", file->name);
    if (segment->p_memsz == 0)
        return 0;
    /*
     * What is lower is where the kernel finds what it is told, and what is higher than the hole is not mapped at first. A size and a place
     * within memory have a sum that does not wrap.
     */
    to = segment->p_paddr < LAYOUT_HIGH_MEMORY || segment->p_paddr >= boot_low_end(memory)
             ? NULL : memory_at(memory, segment->p_paddr, segment->p_memsz);
    if (to == NULL)
        return boot_refuse(refusal, -EFBIG, "%s takes %ju KiB from address %#jx on: the guest's memory has no room for it", file->name,
                           (uintmax_t)(segment->p_memsz / 1024), (uintmax_t)segment->p_paddr);
    if (segment->p_paddr + segment->p_memsz > kernel->end)
        kernel->end = segment->p_paddr + segment->p_memsz;
    return boot_file_read(file, to, segment->p_filesz, segment->p_offset, refusal);
}

/* The note's value has 4 or 8 bytes, little-endian both. */
static int
take_entry(const struct boot_file *file, const uint8_t *value, uint64_t size, struct boot_kernel *kernel, struct boot_refusal *refusal)
{
    uint64_t entry = 0;

    if (size != sizeof(uint32_t) && size != sizeof(uint64_t))
        return boot_refuse(refusal, -ENOEXEC, "%s has a PVH note of %ju bytes, expected 4 or 8", file->name, (uintmax_t)size);
    memcpy(&entry, value, size);
    if (entry > UINT32_MAX)
        return boot_refuse(refusal, -ENOEXEC, "%s has a PVH entry at %#jx, expected one below 4G", file->name, (uintmax_t)entry);
    kernel->protocol = BOOT_PVH;
    kernel->entry = entry;
    return 0;
}

/* Sizes are of 32 bits: their sums, rounded up, fit into 64. */
static int
scan_notes(const struct boot_file *file, const uint8_t *notes, uint64_t size, uint64_t align, struct boot_kernel *kernel,
           struct boot_refusal *refusal)
{
    for (uint64_t at = 0, name_at, value_at, next; size - at >= sizeof(Elf64_Nhdr); at = next) {
        Elf64_Nhdr note;

        memcpy(&note, notes + at, sizeof note);
        name_at = at + sizeof note;
        value_at = (name_at + note.n_namesz + align - 1) & ~(align - 1);
        next = (value_at + note.n_descsz + align - 1) & ~(align - 1);
        if (value_at > size || note.n_descsz > size - value_at)
            return boot_refuse(refusal, -ENOEXEC, "%s has a note that does not end where its notes do", file->name);
        if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == sizeof NOTE_NAME &&
            memcmp(notes + name_at, NOTE_NAME, sizeof NOTE_NAME) == 0)
            return take_entry(file, notes + value_at, note.n_descsz, kernel, refusal);
        if (next > size)
            break;
    }
    return 0;
}

static int
read_notes(const struct boot_file *file, const Elf64_Phdr *segment, struct boot_kernel *kernel, struct boot_refusal *refusal)
{
    uint8_t *notes;
    int result;

    if (segment->p_filesz > BOOT_ELF_NOTES_MAX)
        return boot_refuse(refusal, -ENOEXEC, "%s has %ju bytes of notes, expected at most %d", file->name,
                           (uintmax_t)segment->p_filesz, BOOT_ELF_NOTES_MAX);
    notes = malloc(segment->p_filesz + 1);
    if (notes == NULL)
        return boot_refuse(refusal, -ENOMEM, "%s: %s", file->name, strerror(ENOMEM));
    result = boot_file_read(file, notes, segment->p_filesz, segment->p_offset, refusal);
    if (result == 0)
        result = scan_notes(file, notes, segment->p_filesz, segment->p_align == 8 ? 8 : 4, kernel, refusal);
    free(notes);
    return result;
}

static int
load_segments(const struct guest_memory *memory, const struct boot_file *file, const Elf64_Ehdr *header, struct boot_kernel *kernel,
              struct boot_refusal *refusal)
{
    Elf64_Phdr segments[BOOT_ELF_HEADERS_MAX];
    int result = boot_file_read(file, segments, header->e_phnum * sizeof segments[0], header->e_phoff, refusal);

    for (size_t i = 0; result == 0 && i < header->e_phnum; i++) {
        if (segments[i].p_type == PT_LOAD)
            result = load_segment(memory, file, &segments[i], kernel, refusal);
        else if (segments[i].p_type == PT_NOTE)
            result = read_notes(file, &segments[i], kernel, refusal);
    }
    return result;
}

int
boot_elf_load(const struct guest_memory *memory, const struct boot_file *file, struct boot_kernel *kernel, struct boot_refusal *refusal)
{
    Elf64_Ehdr header;
    int result = boot_file_read(file, &header, sizeof header, 0, refusal);

    if (result < 0 || (result = check_header(file, &header, refusal)) < 0)
        return result;
    *kernel = (struct boot_kernel){
        .protocol = BOOT_LINUX, .entry = header.e_entry, .initrd_limit = INITRD_LIMIT, .command_line_max = COMMAND_LINE_MAX,
    };
    kernel->header = (struct setup_header){
        .boot_flag = BOOT_FLAG, .header = HEADER_MAGIC, .version = HEADER_VERSION, .loadflags = LOADED_HIGH,
        .kernel_alignment = KERNEL_ALIGNMENT, .initrd_addr_max = INITRD_LIMIT - 1, .cmdline_size = COMMAND_LINE_MAX,
    };
    result = load_segments(memory, file, &header, kernel, refusal);
    if (result == 0 && (kernel->entry < LAYOUT_HIGH_MEMORY || kernel->entry >= kernel->end))
        return boot_refuse(refusal, -ENOEXEC, "%s has its entry at %#jx, where nothing of it is", file->name, (uintmax_t)kernel->entry);
    return result;
}
