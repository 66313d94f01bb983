#include "plugin/microvm/boot.h"
#include "plugin/microvm/layout.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define VERSION_WITH_XLOADFLAGS 0x020c
#define LOADER_UNDEFINED 0xff
#define ENTRY_64 0x200 /* from where the kernel is loaded to its 64-bit entry */

#define E820_RAM 1
#define E820_RESERVED 2

#define GDT_CODE 2 /* __BOOT_CS is 0x10, __BOOT_DS 0x18 */
#define GDT_DATA 3
#define GDT_ENTRIES 4

#define PAGE_PRESENT_WRITABLE 0x3
#define PAGE_LARGE 0x80
#define LARGE_PAGE_SIZE 0x200000ULL
#define TABLE_ENTRIES 512
#define MAPPED_GIB 4

#define CR0_PE 0x1
#define CR0_ET 0x10
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define EFER_LME 0x100
#define EFER_LMA 0x400

/* All of what was asked for, or -ENOEXEC where the file ends before. */
static int
read_at(int fd, void *to, size_t size, off_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t result = pread(fd, (uint8_t *)to + done, size - done, offset + (off_t)done);

        if (result < 0 && errno != EINTR)
            return -errno;
        if (result == 0)
            return -ENOEXEC;
        if (result > 0)
            done += (size_t)result;
    }
    return 0;
}

static int
file_size(int fd, uint64_t *size)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    *size = (uint64_t)status.st_size;
    return 0;
}

/* Where the memory ends that is below the hole. */
static uint64_t
low_end(const struct guest_memory *memory)
{
    return memory->region[0].start + memory->region[0].size;
}

static int
read_header(int fd, struct setup_header *header, const char **what)
{
    int result = read_at(fd, header, sizeof *header, offsetof(struct boot_params, hdr));

    *what = "the kernel is no bzImage";
    if (result < 0)
        return result;
    if (header->boot_flag != 0xaa55 || header->header != HEADER_MAGIC)
        return -ENOEXEC;
    *what = "the kernel is older than the 64-bit boot protocol 2.12";
    if (header->version < VERSION_WITH_XLOADFLAGS)
        return -ENOEXEC;
    *what = "the kernel has no 64-bit entry";
    if ((header->xloadflags & XLF_KERNEL_64) == 0)
        return -ENOEXEC;
    return 0;
}

/* "Loading the rest of the kernel": what follows the sectors of real mode; init_size is what it uses before it looks at the map. */
static int
load_kernel(const struct guest_memory *memory, const struct boot_image *image, const struct setup_header *header, uint64_t *address,
            const char **what)
{
    const uint64_t skipped = ((header->setup_sects == 0 ? 4ULL : header->setup_sects) + 1) * SECTOR;
    uint64_t size = 0, used;
    void *to;
    int result = file_size(image->kernel, &size);

    *what = "the kernel";
    if (result < 0)
        return result;
    *what = "the kernel ends before its code begins";
    if (size <= skipped)
        return -ENOEXEC;
    size -= skipped;
    used = size > header->init_size ? size : header->init_size;
    *address = header->pref_address;
    *what = "the kernel does not fit into memory";
    if (*address < LAYOUT_HIGH_MEMORY || *address >= low_end(memory) || memory_at(memory, *address, used) == NULL)
        return -EFBIG;
    to = memory_at(memory, *address, size);
    *what = "the kernel";
    return read_at(image->kernel, to, size, (off_t)skipped);
}

/* As high as the kernel and the memory below the hole allow, and above all that the kernel uses at first. */
static int
load_initrd(const struct guest_memory *memory, const struct boot_image *image, uint64_t kernel, struct setup_header *header,
            const char **what)
{
    uint64_t limit = (uint64_t)header->initrd_addr_max + 1, size = 0, address;
    int result;

    if (image->initrd < 0)
        return 0;
    *what = "the initrd";
    result = file_size(image->initrd, &size);
    if (result < 0)
        return result;
    if (limit > low_end(memory))
        limit = low_end(memory);
    *what = "kernel and initrd do not fit into memory";
    if (size > limit)
        return -EFBIG;
    address = (limit - size) & ~(LAYOUT_PAGE - 1);
    if (address < kernel + header->init_size)
        return -EFBIG;
    header->ramdisk_image = (uint32_t)address;
    header->ramdisk_size = (uint32_t)size;
    *what = "the initrd";
    return size == 0 ? 0 : read_at(image->initrd, memory_at(memory, address, size), size, 0);
}

static int
load_command_line(const struct guest_memory *memory, const char *text, struct setup_header *header, const char **what)
{
    const size_t size = strlen(text);

    *what = "the command line is longer than the kernel takes";
    if (size > header->cmdline_size)
        return -E2BIG;
    header->cmd_line_ptr = LAYOUT_COMMAND_LINE;
    *what = "there is too little memory for a command line";
    return memory_write(memory, LAYOUT_COMMAND_LINE, text, size + 1);
}

static void
add_e820(struct boot_params *params, uint64_t start, uint64_t size, uint32_t type)
{
    params->e820_table[params->e820_entries++] = (struct boot_e820_entry){ .addr = start, .size = size, .type = type };
}

static void
describe_memory(const struct guest_memory *memory, struct boot_params *params)
{
    add_e820(params, 0, LAYOUT_LOW_MEMORY_END, E820_RAM);
    add_e820(params, LAYOUT_ACPI, LAYOUT_ACPI_SIZE, E820_RESERVED);
    add_e820(params, LAYOUT_HIGH_MEMORY, low_end(memory) - LAYOUT_HIGH_MEMORY, E820_RAM);
    for (size_t i = 1; i < memory->count; i++)
        add_e820(params, memory->region[i].start, memory->region[i].size, E820_RAM);
}

/* The first 4 GiB at their own addresses, in pages of 2 MiB: a table of tables, one of those, and one for each GiB. */
static int
write_page_tables(const struct guest_memory *memory)
{
    uint64_t *tables = memory_at(memory, LAYOUT_PAGE_TABLES, (2 + MAPPED_GIB) * LAYOUT_PAGE);

    if (tables == NULL)
        return -EFAULT;
    memset(tables, 0, (2 + MAPPED_GIB) * LAYOUT_PAGE);
    tables[0] = (LAYOUT_PAGE_TABLES + LAYOUT_PAGE) | PAGE_PRESENT_WRITABLE;
    for (uint64_t i = 0; i < MAPPED_GIB; i++)
        tables[TABLE_ENTRIES + i] = (LAYOUT_PAGE_TABLES + (2 + i) * LAYOUT_PAGE) | PAGE_PRESENT_WRITABLE;
    for (uint64_t i = 0; i < MAPPED_GIB * TABLE_ENTRIES; i++)
        tables[2 * TABLE_ENTRIES + i] = i * LARGE_PAGE_SIZE | PAGE_PRESENT_WRITABLE | PAGE_LARGE;
    return 0;
}

static int
write_gdt(const struct guest_memory *memory)
{
    /* Flat; code is of 64 bits. */
    static const uint64_t gdt[GDT_ENTRIES] = { [GDT_CODE] = 0x00af9b000000ffff, [GDT_DATA] = 0x00cf93000000ffff };

    return memory_write(memory, LAYOUT_GDT, gdt, sizeof gdt);
}

int
boot_load(const struct guest_memory *memory, const struct boot_image *image, struct boot_entry *entry, const char **what)
{
    struct boot_params params = { 0 };
    uint64_t kernel;
    int result;

    if ((result = read_header(image->kernel, &params.hdr, what)) < 0 ||
        (result = load_kernel(memory, image, &params.hdr, &kernel, what)) < 0 ||
        (result = load_initrd(memory, image, kernel, &params.hdr, what)) < 0 ||
        (result = load_command_line(memory, image->command_line, &params.hdr, what)) < 0)
        return result;
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.acpi_rsdp_addr = image->acpi;
    describe_memory(memory, &params);
    *what = "there is too little memory to boot";
    if ((result = write_page_tables(memory)) < 0 || (result = write_gdt(memory)) < 0 ||
        (result = memory_write(memory, LAYOUT_BOOT_PARAMS, &params, sizeof params)) < 0)
        return result;
    *entry = (struct boot_entry){ .instruction = kernel + ENTRY_64, .parameters = LAYOUT_BOOT_PARAMS };
    return 0;
}

/* "64-bit Boot Protocol": paging on, flat segments, interrupts off, rsi points to the parameters. */
void
boot_set_registers(const struct boot_entry *entry, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
    const struct kvm_segment code = { .limit = 0xffffffff, .selector = GDT_CODE * 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
    const struct kvm_segment data = { .limit = 0xffffffff, .selector = GDT_DATA * 8, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };

    *regs = (struct kvm_regs){ .rip = entry->instruction, .rsi = entry->parameters, .rflags = 2 };
    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->gdt.base = LAYOUT_GDT;
    sregs->gdt.limit = GDT_ENTRIES * 8 - 1;
    sregs->cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs->cr3 = LAYOUT_PAGE_TABLES;
    sregs->cr4 = CR4_PAE;
    sregs->efer = EFER_LME | EFER_LMA;
}
