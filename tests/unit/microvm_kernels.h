/*
 * Kernels that a test makes: files that hold what a case wants them to, right or wrong, and a guest memory to load them into. Each case is
 * a struct that the test changes before it is written to a file.
 */
#ifndef VMSUP_TESTS_UNIT_MICROVM_KERNELS_H
#define VMSUP_TESTS_UNIT_MICROVM_KERNELS_H

#include "plugin/microvm/boot.h"
#include "plugin/microvm/layout.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define KERNEL_MIB (1ULL << 20)
#define KERNEL_LOW (64 * KERNEL_MIB)
#define KERNEL_HIGH (16 * KERNEL_MIB)

/* A 64-bit code part of 4 KiB behind one sector of setup. */
struct kernel_bzimage {
    uint8_t before[offsetof(struct boot_params, hdr)];
    struct setup_header header;
    uint8_t padding[1024 - offsetof(struct boot_params, hdr) - sizeof(struct setup_header)];
    uint8_t code[4096];
} __attribute__((packed));

struct kernel_note {
    Elf64_Nhdr header;
    char name[4];
    uint64_t value;
} __attribute__((packed));

/* Two notes, a segment of code with zeroes behind it, and one of nothing. */
struct kernel_elf {
    Elf64_Ehdr header;
    Elf64_Phdr notes_header, code_header, empty_header;
    struct kernel_note other, entry;
    uint8_t code[4096];
};

static inline struct kernel_bzimage
kernel_bzimage(void)
{
    struct kernel_bzimage image = {
        .header = {
            .setup_sects = 1, .boot_flag = 0xaa55, .header = 0x53726448, .version = 0x020f, .xloadflags = XLF_KERNEL_64,
            .initrd_addr_max = 0x7fffffff, .cmdline_size = 100, .pref_address = 16 * KERNEL_MIB, .init_size = 2 * KERNEL_MIB,
        },
    };

    memset(image.code, 0xc3, sizeof image.code);
    return image;
}

static inline struct kernel_elf
kernel_elf(void)
{
    struct kernel_elf image = {
        .header = {
            .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_EXEC,
            .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_entry = 0x1000010, .e_phoff = offsetof(struct kernel_elf, notes_header),
            .e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3,
        },
        .notes_header = {
            .p_type = PT_NOTE, .p_offset = offsetof(struct kernel_elf, other), .p_filesz = 2 * sizeof(struct kernel_note), .p_align = 4,
        },
        .code_header = {
            .p_type = PT_LOAD, .p_offset = offsetof(struct kernel_elf, code), .p_vaddr = 0xffffffff81000000, .p_paddr = 0x1000000,
            .p_filesz = 4096, .p_memsz = KERNEL_MIB, .p_align = 0x1000,
        },
        .empty_header = { .p_type = PT_LOAD, .p_offset = UINT64_MAX, .p_paddr = UINT64_MAX },
        .other = { .header = { .n_namesz = 4, .n_descsz = 8, .n_type = 1 }, .name = "Xen", .value = 7 },
        .entry = { .header = { .n_namesz = 4, .n_descsz = 8, .n_type = 2 }, .name = "Xen", .value = 0x1000020 },
    };

    memset(image.code, 0xc3, sizeof image.code);
    return image;
}

static inline int
kernel_file(const void *bytes, size_t size)
{
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    return fd;
}

/* All zeroes, as a guest's memory is when its kernel comes. */
static inline struct guest_memory
kernel_memory(void)
{
    uint8_t *host = mmap(NULL, KERNEL_LOW + KERNEL_HIGH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_true(host != MAP_FAILED);
    return (struct guest_memory){
        .region = { { .start = 0, .size = KERNEL_LOW, .host = host },
                    { .start = LAYOUT_HOLE_END, .size = KERNEL_HIGH, .host = host + KERNEL_LOW } },
        .count = 2,
    };
}

static inline void
kernel_memory_free(struct guest_memory *memory)
{
    assert_int_equal(munmap(memory->region[0].host, KERNEL_LOW + KERNEL_HIGH), 0);
}

/* Loads the file, which is closed, with an initrd of so many bytes (0: none). */
static inline int
kernel_load(const struct guest_memory *memory, int fd, size_t initrd_size, const char *command_line, struct boot_entry *entry,
            struct boot_refusal *refusal)
{
    uint8_t *initrd = calloc(1, initrd_size + 1);
    struct boot_image image = { .kernel = fd, .initrd = -1, .command_line = command_line, .acpi = LAYOUT_ACPI };
    int result;

    assert_non_null(initrd);
    memset(initrd, 0x1d, initrd_size);
    if (initrd_size > 0)
        image.initrd = kernel_file(initrd, initrd_size);
    memset(refusal, 0, sizeof *refusal);
    result = boot_load(memory, &image, entry, refusal);
    if (image.initrd >= 0)
        close(image.initrd);
    close(fd);
    free(initrd);
    return result;
}

/* It is refused so, and the reason, which is one line, has these words. */
static inline void
kernel_refused(int fd, size_t initrd_size, const char *command_line, int error, const char *words)
{
    struct guest_memory memory = kernel_memory();
    struct boot_refusal refusal;
    struct boot_entry entry;
    int result = kernel_load(&memory, fd, initrd_size, command_line, &entry, &refusal);

    if (result != error || strstr(refusal.text, words) == NULL || strchr(refusal.text, '\n') != NULL)
        fail_msg("%d \"%s\", expected %d \"%s\"", result, refusal.text, error, words);
    kernel_memory_free(&memory);
}

#endif
