/*
 * A kernel file, whatever is in it: it is refused with a reason of one line, or loaded, and then its entry and all that it is told are
 * within the guest's memory.
 */
#include "plugin/microvm/boot.h"
#include "plugin/microvm/layout.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOW (40ULL << 20)
#define HIGH (2ULL << 20)

static void
require(int truth)
{
    if (!truth)
        abort();
}

static struct guest_memory
new_memory(void)
{
    static uint8_t *host;

    if (host == NULL)
        host = mmap(NULL, LOW + HIGH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(host != MAP_FAILED && madvise(host, LOW + HIGH, MADV_DONTNEED) == 0);
    return (struct guest_memory){
        .region = { { .start = 0, .size = LOW, .host = host }, { .start = LAYOUT_HOLE_END, .size = HIGH, .host = host + LOW } },
        .count = 2,
    };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct guest_memory memory = new_memory();
    const int fd = memfd_create("kernel", MFD_CLOEXEC);
    const struct boot_image image = { .kernel = fd, .initrd = size % 2 == 0 ? fd : -1, .command_line = "console=ttyS0", .acpi = LAYOUT_ACPI };
    struct boot_refusal refusal = { "" };
    struct kvm_sregs sregs = { 0 };
    struct boot_entry entry;
    struct kvm_regs regs;

    require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    if (boot_load(&memory, &image, &entry, &refusal) < 0) {
        require(refusal.text[0] != '\0' && strchr(refusal.text, '\n') == NULL);
    } else {
        boot_set_registers(&entry, &regs, &sregs);
        require(memory_at(&memory, regs.rip, 1) != NULL && regs.rip >= LAYOUT_HIGH_MEMORY);
        require(memory_at(&memory, entry.parameters, LAYOUT_PAGE) != NULL && memory_at(&memory, sregs.gdt.base, 32) != NULL);
    }
    close(fd);
    return 0;
}
