#include "plugin/microvm/boot.h"
#include "plugin/microvm/boot_bzimage.h"
#include "plugin/microvm/boot_elf.h"
#include "plugin/microvm/boot_linux.h"
#include "plugin/microvm/boot_pvh.h"
#include "plugin/microvm/layout.h"

#include <errno.h>
#include <string.h>

/* There are no more than these, and the last wants nothing of the file. */
static int
load_kernel(const struct guest_memory *memory, int fd, struct boot_kernel *kernel, struct boot_refusal *refusal)
{
    struct boot_file file;
    int result = boot_file_open("the kernel", fd, &file, refusal);

    if (result < 0)
        return result;
    if (boot_elf_is(&file))
        return boot_elf_load(memory, &file, kernel, refusal);
    if (boot_bzimage_is(&file))
        return boot_bzimage_load(memory, &file, kernel, refusal);
    return boot_refuse(refusal, -ENOEXEC, "the kernel is neither a bzImage nor an ELF file");
}

/* As high as the kernel and the memory below the hole allow, and above all that the kernel uses at first. */
static int
load_initrd(const struct guest_memory *memory, int fd, const struct boot_kernel *kernel, struct boot_message *message,
            struct boot_refusal *refusal)
{
    const uint64_t limit = kernel->initrd_limit < boot_low_end(memory) ? kernel->initrd_limit : boot_low_end(memory);
    struct boot_file file;
    uint64_t address;
    int result;

    if (fd < 0)
        return 0;
    result = boot_file_open("the initrd", fd, &file, refusal);
    if (result < 0 || file.size == 0)
        return result;
    address = file.size > limit ? 0 : (limit - file.size) & ~(LAYOUT_PAGE - 1);
    if (address < kernel->end)
        return boot_refuse(refusal, -EFBIG, "the initrd takes %ju KiB: between the kernel's end at %#jx and %#jx is no room for it",
                           (uintmax_t)(file.size / 1024), (uintmax_t)kernel->end, (uintmax_t)limit);
    message->initrd = address;
    message->initrd_size = file.size;
    return boot_file_read(&file, memory_at(memory, address, file.size), file.size, 0, refusal);
}

static int
load_command_line(const struct guest_memory *memory, const char *text, const struct boot_kernel *kernel, struct boot_message *message,
                  struct boot_refusal *refusal)
{
    const size_t size = strlen(text), room = LAYOUT_LOW_MEMORY_END - LAYOUT_COMMAND_LINE - 1;
    const uint64_t most = kernel->command_line_max < room ? kernel->command_line_max : room;

    if (size > most)
        return boot_refuse(refusal, -E2BIG, "the command line has %zu characters, the kernel takes %ju", size, (uintmax_t)most);
    message->command_line = LAYOUT_COMMAND_LINE;
    message->command_line_size = size;
    if (memory_write(memory, LAYOUT_COMMAND_LINE, text, size + 1) < 0)
        return boot_refuse(refusal, -EFBIG, "the guest's memory has no room for the command line");
    return 0;
}

static void
add_range(struct boot_message *message, uint64_t start, uint64_t size, uint32_t type)
{
    message->range[message->range_count++] = (struct boot_memory_range){ .start = start, .size = size, .type = type };
}

static void
describe_memory(const struct guest_memory *memory, struct boot_message *message)
{
    add_range(message, 0, LAYOUT_LOW_MEMORY_END, BOOT_MEMORY_RAM);
    add_range(message, LAYOUT_ACPI, LAYOUT_ACPI_SIZE, BOOT_MEMORY_RESERVED);
    add_range(message, LAYOUT_HIGH_MEMORY, boot_low_end(memory) - LAYOUT_HIGH_MEMORY, BOOT_MEMORY_RAM);
    for (size_t i = 1; i < memory->count; i++)
        add_range(message, memory->region[i].start, memory->region[i].size, BOOT_MEMORY_RAM);
}

int
boot_load(const struct guest_memory *memory, const struct boot_image *image, struct boot_entry *entry, struct boot_refusal *refusal)
{
    struct boot_message message = { .acpi = image->acpi };
    struct boot_kernel kernel;
    int result;

    if ((result = load_kernel(memory, image->kernel, &kernel, refusal)) < 0 ||
        (result = load_initrd(memory, image->initrd, &kernel, &message, refusal)) < 0 ||
        (result = load_command_line(memory, image->command_line, &kernel, &message, refusal)) < 0)
        return result;
    describe_memory(memory, &message);
    *entry = (struct boot_entry){ .protocol = kernel.protocol, .instruction = kernel.entry };
    result = kernel.protocol == BOOT_PVH ? boot_pvh_write(memory, &message, &entry->parameters)
                                         : boot_linux_write(memory, &kernel, &message, &entry->parameters);
    return result < 0 ? boot_refuse(refusal, result, "the guest's memory has no room for what the kernel is told") : 0;
}

void
boot_set_registers(const struct boot_entry *entry, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
    if (entry->protocol == BOOT_PVH)
        boot_pvh_set_registers(entry->instruction, entry->parameters, regs, sregs);
    else
        boot_linux_set_registers(entry->instruction, entry->parameters, regs, sregs);
}
