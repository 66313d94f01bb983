/* Booting: which files are kernels, what they find where, in which state they begin; and what each other file is refused for. */
#include "plugin/microvm/boot_elf.h"
#include "plugin/microvm/boot_pvh.h"
#include "tests/unit/microvm_kernels.h"

#define INITRD_SIZE 5000

static const void *
at(const struct guest_memory *memory, uint64_t address, uint64_t size)
{
    const void *bytes = memory_at(memory, address, size);

    assert_non_null(bytes);
    return bytes;
}

static void
assert_filled(const void *bytes, uint8_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(((const uint8_t *)bytes)[i], value);
}

/* What every kernel of Linux's protocol is told. */
static const struct boot_params *
check_parameters(const struct guest_memory *memory, const struct boot_entry *entry)
{
    const struct boot_params *params = at(memory, entry->parameters, sizeof *params);
    static const struct boot_e820_entry map[] = {
        { 0, LAYOUT_LOW_MEMORY_END, 1 }, { LAYOUT_ACPI, LAYOUT_ACPI_SIZE, 2 },
        { KERNEL_MIB, KERNEL_LOW - KERNEL_MIB, 1 }, { LAYOUT_HOLE_END, KERNEL_HIGH, 1 },
    };

    assert_int_equal(entry->protocol, BOOT_LINUX);
    assert_int_equal(params->hdr.boot_flag, 0xaa55);
    assert_int_equal(params->hdr.header, 0x53726448);
    assert_int_equal(params->hdr.type_of_loader, 0xff);
    assert_int_equal(params->acpi_rsdp_addr, LAYOUT_ACPI);
    assert_string_equal(at(memory, params->hdr.cmd_line_ptr, 9), "root=vda");
    assert_int_equal(params->e820_entries, 4);
    assert_memory_equal(params->e820_table, map, sizeof map);
    return params;
}

/* Every address of the first 4 GiB leads to itself. */
static void
check_page_tables(const struct guest_memory *memory, uint64_t root)
{
    const uint64_t *top = at(memory, root, 4096), *middle = at(memory, top[0] & ~0xfffULL, 4096);

    assert_int_equal(top[0] & 3, 3);
    for (uint64_t i = 0; i < 4; i++) {
        const uint64_t *pages = at(memory, middle[i] & ~0xfffULL, 4096);

        assert_int_equal(middle[i] & 3, 3);
        for (uint64_t j = 0; j < 512; j++)
            assert_int_equal(pages[j], (i << 30 | j << 21) | 0x83);
    }
    assert_int_equal(top[1], 0);
    assert_int_equal(middle[4], 0);
}

static void
test_bzimage(void **state)
{
    const struct kernel_bzimage image = kernel_bzimage();
    struct guest_memory memory = kernel_memory();
    const struct boot_params *params;
    struct boot_refusal refusal;
    struct boot_entry entry;

    (void)state;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), INITRD_SIZE, "root=vda", &entry, &refusal), 0);
    assert_int_equal(entry.instruction, 16 * KERNEL_MIB + 0x200);
    assert_filled(at(&memory, 16 * KERNEL_MIB, 4096), 0xc3, 4096);
    assert_filled(at(&memory, 16 * KERNEL_MIB + 4096, 4096), 0, 4096);
    params = check_parameters(&memory, &entry);
    assert_int_equal(params->hdr.cmdline_size, 100);
    assert_int_equal(params->hdr.ramdisk_size, INITRD_SIZE);
    assert_int_equal(params->hdr.ramdisk_image, KERNEL_LOW - 8192);
    assert_filled(at(&memory, KERNEL_LOW - 8192, INITRD_SIZE), 0x1d, INITRD_SIZE);
    kernel_memory_free(&memory);
}

/* The initrd is where the kernel says that it can be, and there is none where there is none. */
static void
test_initrd(void **state)
{
    struct kernel_bzimage image = kernel_bzimage();
    struct guest_memory memory = kernel_memory();
    const struct boot_params *params;
    struct boot_refusal refusal;
    struct boot_entry entry;

    (void)state;
    image.header.initrd_addr_max = 32 * KERNEL_MIB - 1;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), INITRD_SIZE, "root=vda", &entry, &refusal), 0);
    params = check_parameters(&memory, &entry);
    assert_int_equal(params->hdr.ramdisk_image, 32 * KERNEL_MIB - 8192);
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, "root=vda", &entry, &refusal), 0);
    params = check_parameters(&memory, &entry);
    assert_int_equal(params->hdr.ramdisk_image, 0);
    assert_int_equal(params->hdr.ramdisk_size, 0);
    kernel_memory_free(&memory);
    /* Between the kernel's end, at 18M, and 18M and 4 KiB fits one page. */
    image.header.initrd_addr_max = 18 * KERNEL_MIB + 4096 - 1;
    kernel_refused(kernel_file(&image, sizeof image), 4097, "", -EFBIG, "the initrd takes 4 KiB");
    image.header.initrd_addr_max = 4095;
    kernel_refused(kernel_file(&image, sizeof image), 5000, "", -EFBIG, "the initrd takes 4 KiB");
}

static void
test_registers(void **state)
{
    const struct kernel_bzimage image = kernel_bzimage();
    struct guest_memory memory = kernel_memory();
    struct kvm_sregs sregs = { .cr8 = 3 };
    struct boot_refusal refusal;
    struct boot_entry entry;
    struct kvm_regs regs;
    const uint64_t *gdt;

    (void)state;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, "", &entry, &refusal), 0);
    boot_set_registers(&entry, &regs, &sregs);
    assert_int_equal(regs.rip, entry.instruction);
    assert_int_equal(regs.rsi, entry.parameters);
    assert_int_equal(regs.rflags, 2);
    assert_int_equal(sregs.efer, 0x500);
    assert_int_equal(sregs.cr0, 0x80000011);
    assert_int_equal(sregs.cr4, 0x20);
    assert_int_equal(sregs.cr8, 3);
    assert_int_equal(sregs.cs.selector, 0x10);
    assert_int_equal(sregs.cs.l, 1);
    assert_int_equal(sregs.ds.selector, 0x18);
    check_page_tables(&memory, sregs.cr3);
    gdt = at(&memory, sregs.gdt.base, sregs.gdt.limit + 1ULL);
    assert_int_equal(gdt[2], 0x00af9b000000ffff);
    assert_int_equal(gdt[3], 0x00cf93000000ffff);
    kernel_memory_free(&memory);
}

static void
test_bzimage_refused(void **state)
{
    struct kernel_bzimage image = kernel_bzimage();

    (void)state;
    for (size_t size = 0; size <= offsetof(struct kernel_bzimage, code) + 0x200; size++)
        kernel_refused(kernel_file(&image, size), 0, "", -ENOEXEC,
                       size < offsetof(struct kernel_bzimage, padding) ? "neither a bzImage nor" : "it ends before its code");
    image.header.version = 0x020b;
    kernel_refused(kernel_file(&image, sizeof image), 0, "", -ENOEXEC, "boot protocol 2.11");
    image = kernel_bzimage();
    image.header.xloadflags = 0;
    kernel_refused(kernel_file(&image, sizeof image), 0, "", -ENOEXEC, "no 64-bit entry");
    image = kernel_bzimage();
    image.header.boot_flag = 0;
    kernel_refused(kernel_file(&image, sizeof image), 0, "", -ENOEXEC, "neither a bzImage nor");
    image = kernel_bzimage();
    image.header.init_size = 49 * KERNEL_MIB;
    kernel_refused(kernel_file(&image, sizeof image), 0, "", -EFBIG, "takes 50176 KiB from address 0x1000000 on");
    for (size_t i = 0; i < 5; i++) {
        static const uint64_t places[] = { 0, KERNEL_MIB - 1, KERNEL_LOW, LAYOUT_HOLE_END, UINT64_MAX };

        image = kernel_bzimage();
        image.header.pref_address = places[i];
        kernel_refused(kernel_file(&image, sizeof image), 0, "", -EFBIG, "no room for it");
    }
    /* Four sectors where it says nothing. */
    image = kernel_bzimage();
    image.header.setup_sects = 0;
    kernel_refused(kernel_file(&image, 5 * 512 + 0x200), 0, "", -ENOEXEC, "it ends before its code");
}

static void
test_command_line(void **state)
{
    struct kernel_bzimage image = kernel_bzimage();
    struct guest_memory memory = kernel_memory();
    char line[LAYOUT_LOW_MEMORY_END - LAYOUT_COMMAND_LINE + 1] = "";
    struct boot_refusal refusal;
    struct boot_entry entry;

    (void)state;
    memset(line, 'x', 100);
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, line, &entry, &refusal), 0);
    assert_string_equal(at(&memory, LAYOUT_COMMAND_LINE, 101), line);
    line[100] = 'x';
    kernel_refused(kernel_file(&image, sizeof image), 0, line, -E2BIG, "has 101 characters, the kernel takes 100");
    /* Whatever the kernel takes, there is an end of its place. */
    image.header.cmdline_size = UINT32_MAX;
    memset(line, 'x', sizeof line - 1);
    kernel_refused(kernel_file(&image, sizeof image), 0, line, -E2BIG, "the kernel takes 520191");
    line[sizeof line - 2] = '\0';
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, line, &entry, &refusal), 0);
    kernel_memory_free(&memory);
}

static void
test_no_kernel(void **state)
{
    int pipes[2];

    (void)state;
    kernel_refused(kernel_file("", 0), 0, "", -ENOEXEC, "neither a bzImage nor an ELF file");
    kernel_refused(kernel_file("#!/bin/sh\n", 10), 0, "", -ENOEXEC, "neither a bzImage nor an ELF file");
    assert_int_equal(pipe(pipes), 0);
    kernel_refused(pipes[0], 0, "", -EINVAL, "not a regular file");
    close(pipes[1]);
    kernel_refused(-1, 0, "", -EBADF, "the kernel: Bad file descriptor");
}

static void
test_elf(void **state)
{
    struct kernel_elf image = kernel_elf();
    struct guest_memory memory = kernel_memory();
    const struct boot_params *params;
    struct boot_refusal refusal;
    struct boot_entry entry;

    (void)state;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), INITRD_SIZE, "root=vda", &entry, &refusal), 0);
    assert_int_equal(entry.instruction, 0x1000010);
    assert_filled(at(&memory, 0x1000000, 4096), 0xc3, 4096);
    assert_filled(at(&memory, 0x1001000, KERNEL_MIB - 4096), 0, KERNEL_MIB - 4096);
    params = check_parameters(&memory, &entry);
    assert_int_equal(params->hdr.ramdisk_image, KERNEL_LOW - 8192);
    assert_int_equal(params->hdr.cmdline_size, 2047);
    assert_int_equal(params->hdr.loadflags & LOADED_HIGH, LOADED_HIGH);
    kernel_memory_free(&memory);
    image.code_header.p_memsz = KERNEL_LOW - 0x1000000 - 4096;
    kernel_refused(kernel_file(&image, sizeof image), 4097, "", -EFBIG, "the initrd takes 4 KiB");
}

static void
test_pvh(void **state)
{
    struct kernel_elf image = kernel_elf();
    struct guest_memory memory = kernel_memory();
    const struct boot_pvh_start_info *info;
    const struct boot_pvh_module *initrd;
    struct kvm_sregs sregs = { .efer = 0x500, .cr3 = 1, .cr4 = 0x20 };
    struct boot_refusal refusal;
    struct boot_entry entry;
    struct kvm_regs regs;
    static const struct boot_pvh_range map[] = {
        { 0, LAYOUT_LOW_MEMORY_END, 1, 0 }, { LAYOUT_ACPI, LAYOUT_ACPI_SIZE, 2, 0 },
        { KERNEL_MIB, KERNEL_LOW - KERNEL_MIB, 1, 0 }, { LAYOUT_HOLE_END, KERNEL_HIGH, 1, 0 },
    };

    (void)state;
    image.entry.header.n_type = 18;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), INITRD_SIZE, "root=vda", &entry, &refusal), 0);
    assert_int_equal(entry.protocol, BOOT_PVH);
    assert_int_equal(entry.instruction, 0x1000020);
    info = at(&memory, entry.parameters, sizeof *info);
    assert_int_equal(info->magic, 0x336ec578);
    assert_int_equal(info->version, 1);
    assert_int_equal(info->module_count, 1);
    assert_int_equal(info->rsdp, LAYOUT_ACPI);
    assert_string_equal(at(&memory, info->command_line, 9), "root=vda");
    initrd = at(&memory, info->modules, sizeof *initrd);
    assert_int_equal(initrd->start, KERNEL_LOW - 8192);
    assert_int_equal(initrd->size, INITRD_SIZE);
    assert_filled(at(&memory, initrd->start, INITRD_SIZE), 0x1d, INITRD_SIZE);
    assert_int_equal(info->memory_map_entries, 4);
    assert_memory_equal(at(&memory, info->memory_map, sizeof map), map, sizeof map);
    boot_set_registers(&entry, &regs, &sregs);
    assert_int_equal(regs.rip, entry.instruction);
    assert_int_equal(regs.rbx, entry.parameters);
    assert_int_equal(sregs.cr0, 0x11);
    assert_int_equal(sregs.cr3 | sregs.cr4 | sregs.efer, 0);
    assert_int_equal(sregs.cs.db, 1);
    assert_int_equal(sregs.cs.l, 0);
    assert_int_equal(sregs.tr.limit, 0x67);
    assert_int_equal(sregs.tr.type, 11);
    assert_int_equal(((const uint64_t *)at(&memory, sregs.gdt.base, 32))[sregs.tr.selector / 8], 0x8b0000000067);
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, "", &entry, &refusal), 0);
    assert_int_equal(info->module_count, 0);
    assert_int_equal(info->modules, 0);
    kernel_memory_free(&memory);
}

/* The entry's value may have 4 bytes, notes may be aligned to 8, and others of the same number are not Xen's. */
static void
test_notes(void **state)
{
    struct guest_memory memory = kernel_memory();
    struct kernel_elf image = kernel_elf();
    struct boot_refusal refusal;
    struct boot_entry entry;

    (void)state;
    image.other = (struct kernel_note){ .header = { 4, 8, 18 }, .name = "GNU", .value = 1 };
    image.entry = (struct kernel_note){ .header = { 4, 4, 18 }, .name = "Xen", .value = 0xffffffff01000030 };
    image.notes_header.p_filesz = 2 * sizeof(struct kernel_note) - 4;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, "", &entry, &refusal), 0);
    assert_int_equal(entry.protocol, BOOT_PVH);
    assert_int_equal(entry.instruction, 0x1000030);
    /* A value of one byte ends at 20 where notes are aligned to 4, and at 24, where the next begins, where they are to 8. */
    image.other.header.n_descsz = 1;
    image.notes_header.p_align = 8;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, "", &entry, &refusal), 0);
    assert_int_equal(entry.protocol, BOOT_PVH);
    /* What does not even make a header is no note. */
    image.notes_header.p_filesz = sizeof(struct kernel_note) + 11;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, "", &entry, &refusal), 0);
    assert_int_equal(entry.protocol, BOOT_LINUX);
    image.notes_header.p_filesz = 0;
    assert_int_equal(kernel_load(&memory, kernel_file(&image, sizeof image), 0, "", &entry, &refusal), 0);
    kernel_memory_free(&memory);
}

static void
refused_elf(const struct kernel_elf *image, int error, const char *words)
{
    kernel_refused(kernel_file(image, sizeof *image), 0, "", error, words);
}

#define REFUSED_ELF(change, error, words) \
    do { \
        struct kernel_elf image = kernel_elf(); \
        change; \
        refused_elf(&image, error, words); \
    } while (0)

static void
test_elf_header_refused(void **state)
{
    const struct kernel_elf whole = kernel_elf();

    (void)state;
    for (size_t size = SELFMAG; size < sizeof whole; size++)
        kernel_refused(kernel_file(&whole, size), 0, "", -ENOEXEC, "is cut short");
    REFUSED_ELF(image.header.e_ident[EI_CLASS] = ELFCLASS32, -ENOEXEC, "none of x86-64");
    REFUSED_ELF(image.header.e_ident[EI_DATA] = ELFDATA2MSB, -ENOEXEC, "none of x86-64");
    REFUSED_ELF(image.header.e_machine = EM_AARCH64, -ENOEXEC, "none of x86-64");
    REFUSED_ELF(image.header.e_type = ET_REL, -ENOEXEC, "none that can be executed");
    REFUSED_ELF(image.header.e_type = ET_CORE, -ENOEXEC, "none that can be executed");
    REFUSED_ELF(image.header.e_phentsize = 32, -ENOEXEC, "program headers of 32 bytes, expected 56");
    REFUSED_ELF(image.header.e_phnum = 0, -ENOEXEC, "has 0 program headers");
    REFUSED_ELF(image.header.e_phnum = PN_XNUM, -ENOEXEC, "has 65535 program headers");
    REFUSED_ELF(image.header.e_phnum = BOOT_ELF_HEADERS_MAX + 1, -ENOEXEC, "has 65 program headers, expected 1 to 64");
    REFUSED_ELF(image.header.e_phoff = UINT64_MAX, -ENOEXEC, "is cut short");
    REFUSED_ELF(image.header.e_phoff = UINT64_MAX - 3 * sizeof(Elf64_Phdr), -ENOEXEC, "is cut short");
    REFUSED_ELF(image.header.e_entry = 0xfffff, -ENOEXEC, "entry at 0xfffff");
    REFUSED_ELF(image.header.e_entry = 0x1000000 + KERNEL_MIB, -ENOEXEC, "entry at 0x1100000");
    REFUSED_ELF(image.header.e_entry = 0xffffffff81000000, -ENOEXEC, "entry at 0xffffffff81000000");
    /* No segment at all: there is no place for an entry. */
    REFUSED_ELF(image.code_header.p_type = PT_NULL, -ENOEXEC, "entry at");
}

static void
test_elf_segments_refused(void **state)
{
    (void)state;
    REFUSED_ELF(image.code_header.p_filesz = KERNEL_MIB + 1, -ENOEXEC, "larger in the file than in memory");
    REFUSED_ELF(image.code_header.p_memsz = 0, -ENOEXEC, "larger in the file than in memory");
    REFUSED_ELF(image.code_header.p_filesz = 4097, -ENOEXEC, "is cut short");
    REFUSED_ELF(image.code_header.p_offset = UINT64_MAX, -ENOEXEC, "is cut short");
    REFUSED_ELF(image.code_header.p_offset = INT64_MAX, -ENOEXEC, "is cut short");
    REFUSED_ELF(image.code_header.p_offset = UINT64_MAX - 4095, -ENOEXEC, "is cut short");
    REFUSED_ELF(image.code_header.p_paddr = 0, -EFBIG, "from address 0 on");
    REFUSED_ELF(image.code_header.p_paddr = KERNEL_MIB - 1, -EFBIG, "no room for it");
    REFUSED_ELF(image.code_header.p_paddr = KERNEL_LOW, -EFBIG, "no room for it");
    REFUSED_ELF(image.code_header.p_paddr = KERNEL_LOW - KERNEL_MIB + 1, -EFBIG, "no room for it");
    REFUSED_ELF(image.code_header.p_paddr = LAYOUT_HOLE_END, -EFBIG, "no room for it");
    REFUSED_ELF(image.code_header.p_paddr = UINT64_MAX - 4095, -EFBIG, "no room for it");
    REFUSED_ELF(image.code_header.p_memsz = KERNEL_LOW, -EFBIG, "takes 65536 KiB from address 0x1000000 on");
    REFUSED_ELF(image.code_header.p_memsz = UINT64_MAX, -EFBIG, "no room for it");
    REFUSED_ELF(image.code_header.p_memsz = UINT64_MAX - 0x1000000 + 1, -EFBIG, "no room for it");
}

static void
test_elf_notes_refused(void **state)
{
    (void)state;
    REFUSED_ELF((image.entry.header.n_type = 18, image.entry.value = 1ULL << 32), -ENOEXEC, "PVH entry at 0x100000000");
    REFUSED_ELF((image.entry.header.n_type = 18, image.entry.value = 0x1000), -ENOEXEC, "entry at 0x1000,");
    REFUSED_ELF((image.entry.header.n_type = 18, image.entry.header.n_descsz = 7), -ENOEXEC, "PVH note of 7 bytes");
    REFUSED_ELF((image.entry.header.n_type = 18, image.entry.header.n_descsz = 0), -ENOEXEC, "PVH note of 0 bytes");
    REFUSED_ELF(image.entry.header.n_descsz = 9, -ENOEXEC, "a note that does not end");
    REFUSED_ELF(image.entry.header.n_descsz = UINT32_MAX, -ENOEXEC, "a note that does not end");
    REFUSED_ELF(image.entry.header.n_namesz = UINT32_MAX, -ENOEXEC, "a note that does not end");
    REFUSED_ELF((image.other.header.n_namesz = UINT32_MAX, image.other.header.n_descsz = UINT32_MAX), -ENOEXEC, "a note that does not");
    REFUSED_ELF(image.notes_header.p_filesz = BOOT_ELF_NOTES_MAX + 1, -ENOEXEC, "65537 bytes of notes");
    REFUSED_ELF(image.notes_header.p_filesz = UINT64_MAX, -ENOEXEC, "bytes of notes");
    REFUSED_ELF(image.notes_header.p_offset = sizeof image, -ENOEXEC, "is cut short");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bzimage),
        cmocka_unit_test(test_initrd),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_bzimage_refused),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_no_kernel),
        cmocka_unit_test(test_elf),
        cmocka_unit_test(test_pvh),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_elf_header_refused),
        cmocka_unit_test(test_elf_segments_refused),
        cmocka_unit_test(test_elf_notes_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
