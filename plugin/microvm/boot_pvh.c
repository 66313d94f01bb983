#include "plugin/microvm/boot_pvh.h"
#include "plugin/microvm/layout.h"

#include <errno.h>

#define GDT_CODE 1
#define GDT_DATA 2
#define GDT_TASK 3
#define GDT_ENTRIES 4

#define CR0_PE 0x1
#define CR0_ET 0x10 /* always set where it is not writable, which it is nowhere now */

#define TASK_LIMIT 0x67

/* In one piece, from where the structure is. */
struct start_page {
    struct boot_pvh_start_info info;
    struct boot_pvh_module initrd;
    struct boot_pvh_range range[BOOT_MEMORY_RANGES];
};
_Static_assert(sizeof(struct start_page) <= LAYOUT_PAGE, "what a kernel is told fits where Linux's parameters would be");

static int
write_gdt(const struct guest_memory *memory)
{
    /* Flat, of 32 bits, and a task at 0, which is never switched to. */
    static const uint64_t gdt[GDT_ENTRIES] = {
        [GDT_CODE] = 0x00cf9b000000ffff, [GDT_DATA] = 0x00cf93000000ffff, [GDT_TASK] = 0x00008b0000000000 | TASK_LIMIT,
    };

    return memory_write(memory, LAYOUT_GDT, gdt, sizeof gdt);
}

int
boot_pvh_write(const struct guest_memory *memory, const struct boot_message *message, uint64_t *start_info)
{
    struct start_page page = {
        .info = {
            .magic = BOOT_PVH_MAGIC, .version = BOOT_PVH_VERSION, .command_line = message->command_line, .rsdp = message->acpi,
            .memory_map = LAYOUT_BOOT_PARAMS + offsetof(struct start_page, range),
            .memory_map_entries = (uint32_t)message->range_count,
        },
        .initrd = { .start = message->initrd, .size = message->initrd_size },
    };
    int result;

    if (message->initrd_size > 0) {
        page.info.module_count = 1;
        page.info.modules = LAYOUT_BOOT_PARAMS + offsetof(struct start_page, initrd);
    }
    for (size_t i = 0; i < message->range_count; i++)
        page.range[i] = (struct boot_pvh_range){
            .start = message->range[i].start, .size = message->range[i].size, .type = message->range[i].type,
        };
    result = write_gdt(memory);
    if (result < 0)
        return result;
    *start_info = LAYOUT_BOOT_PARAMS;
    return memory_write(memory, LAYOUT_BOOT_PARAMS, &page, sizeof page);
}

/* "x86/HVM direct boot ABI": protected mode, no paging, interrupts off, ebx points to the structure. */
void
boot_pvh_set_registers(uint64_t entry, uint64_t start_info, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
    const struct kvm_segment code = { .limit = 0xffffffff, .selector = GDT_CODE * 8, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1 };
    const struct kvm_segment data = { .limit = 0xffffffff, .selector = GDT_DATA * 8, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
    const struct kvm_segment task = { .limit = TASK_LIMIT, .selector = GDT_TASK * 8, .type = 11, .present = 1 };

    *regs = (struct kvm_regs){ .rip = entry, .rbx = start_info, .rflags = 2 };
    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = task;
    sregs->gdt.base = LAYOUT_GDT;
    sregs->gdt.limit = GDT_ENTRIES * 8 - 1;
    sregs->cr0 = CR0_PE | CR0_ET;
    sregs->cr3 = sregs->cr4 = sregs->efer = 0;
}
