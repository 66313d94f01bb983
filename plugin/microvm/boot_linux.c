#include "plugin/microvm/boot_linux.h"
#include "plugin/microvm/layout.h"

#include <errno.h>
#include <string.h>

#define LOADER_UNDEFINED 0xff

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

_Static_assert(BOOT_MEMORY_RANGES <= E820_MAX_ENTRIES_ZEROPAGE, "the map of memory fits into the parameters");

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

/* All of these addresses are below 4 GiB. */
static void
fill_parameters(const struct boot_kernel *kernel, const struct boot_message *message, struct boot_params *params)
{
    params->hdr = kernel->header;
    params->hdr.type_of_loader = LOADER_UNDEFINED;
    params->hdr.cmd_line_ptr = (uint32_t)message->command_line;
    params->hdr.ramdisk_image = (uint32_t)message->initrd;
    params->hdr.ramdisk_size = (uint32_t)message->initrd_size;
    params->acpi_rsdp_addr = message->acpi;
    params->e820_entries = (uint8_t)message->range_count;
    for (size_t i = 0; i < message->range_count; i++)
        params->e820_table[i] = (struct boot_e820_entry){
            .addr = message->range[i].start, .size = message->range[i].size, .type = message->range[i].type,
        };
}

int
boot_linux_write(const struct guest_memory *memory, const struct boot_kernel *kernel, const struct boot_message *message,
                 uint64_t *parameters)
{
    struct boot_params params = { 0 };
    int result;

    fill_parameters(kernel, message, &params);
    if ((result = write_page_tables(memory)) < 0 || (result = write_gdt(memory)) < 0)
        return result;
    *parameters = LAYOUT_BOOT_PARAMS;
    return memory_write(memory, LAYOUT_BOOT_PARAMS, &params, sizeof params);
}

/* "64-bit Boot Protocol": paging on, flat segments, interrupts off, rsi points to the parameters. */
void
boot_linux_set_registers(uint64_t entry, uint64_t parameters, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
    const struct kvm_segment code = { .limit = 0xffffffff, .selector = GDT_CODE * 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
    const struct kvm_segment data = { .limit = 0xffffffff, .selector = GDT_DATA * 8, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };

    *regs = (struct kvm_regs){ .rip = entry, .rsi = parameters, .rflags = 2 };
    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->gdt.base = LAYOUT_GDT;
    sregs->gdt.limit = GDT_ENTRIES * 8 - 1;
    sregs->cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs->cr3 = LAYOUT_PAGE_TABLES;
    sregs->cr4 = CR4_PAE;
    sregs->efer = EFER_LME | EFER_LMA;
}
