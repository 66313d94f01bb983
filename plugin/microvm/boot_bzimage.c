#include "plugin/microvm/boot_bzimage.h"
#include "plugin/microvm/layout.h"

#include <errno.h>

#define SECTOR 512
#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define VERSION_WITH_XLOADFLAGS 0x020c
#define ENTRY_64 0x200 /* from where the kernel is loaded to its 64-bit entry */
#define SETUP_SECTORS_DEFAULT 4

bool
boot_bzimage_is(const struct boot_file *file)
{
    struct setup_header header;
    struct boot_refusal ignored;

    return boot_file_read(file, &header, sizeof header, offsetof(struct boot_params, hdr), &ignored) == 0 &&
           header.boot_flag == BOOT_FLAG && header.header == HEADER_MAGIC;
}

static int
check_header(const struct boot_file *file, const struct setup_header *header, struct boot_refusal *refusal)
{
    if (header->version < VERSION_WITH_XLOADFLAGS)
        return boot_refuse(refusal, -ENOEXEC, "%s has boot protocol %d.%d: 2.12 is the first with a 64-bit entry", file->name,
                           header->version >> 8, header->version & 0xff);
    if ((header->xloadflags & XLF_KERNEL_64) == 0)
        return boot_refuse(refusal, -ENOEXEC, "%s has no 64-bit entry", file->name);
    return 0;
}

/* "Loading the rest of the kernel": what follows the sectors of real mode; init_size is what it uses before it looks at the map. */
static int
load_code(const struct guest_memory *memory, const struct boot_file *file, struct boot_kernel *kernel, struct boot_refusal *refusal)
{
    const struct setup_header *header = &kernel->header;
    const uint64_t sectors = header->setup_sects == 0 ? SETUP_SECTORS_DEFAULT : header->setup_sects;
    const uint64_t skipped = (sectors + 1) * SECTOR, address = header->pref_address;
    uint64_t size, used;

    if (file->size <= skipped + ENTRY_64)
        return boot_refuse(refusal, -ENOEXEC, "%s is cut short: it ends before its code", file->name);
    size = file->size - skipped;
    used = size > header->init_size ? size : header->init_size;
    if (address < LAYOUT_HIGH_MEMORY || address >= boot_low_end(memory) || memory_at(memory, address, used) == NULL)
        return boot_refuse(refusal, -EFBIG, "%s takes %ju KiB from address %#jx on: the guest's memory has no room for it", file->name,
                           (uintmax_t)(used / 1024), (uintmax_t)address);
    kernel->entry = address + ENTRY_64;
    kernel->end = address + used;
    return boot_file_read(file, memory_at(memory, address, size), size, skipped, refusal);
}

int
boot_bzimage_load(const struct guest_memory *memory, const struct boot_file *file, struct boot_kernel *kernel,
                  struct boot_refusal *refusal)
{
    struct setup_header *header = &kernel->header;
    int result;

    *kernel = (struct boot_kernel){ .protocol = BOOT_LINUX };
    if ((result = boot_file_read(file, header, sizeof *header, offsetof(struct boot_params, hdr), refusal)) < 0 ||
        (result = check_header(file, header, refusal)) < 0)
        return result;
    kernel->initrd_limit = (uint64_t)header->initrd_addr_max + 1;
    kernel->command_line_max = header->cmdline_size;
    return load_code(memory, file, kernel, refusal);
}
