#include "plugin/microvm/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

void *
memory_at(const struct guest_memory *memory, uint64_t address, uint64_t size)
{
    if (size == 0)
        return NULL;
    for (size_t i = 0; i < memory->count; i++) {
        const struct guest_region *region = &memory->region[i];

        /* Offsets within a region cannot wrap, however large address and size. */
        if (address < region->start || address - region->start >= region->size)
            continue;
        return size <= region->size - (address - region->start) ? region->host + (address - region->start) : NULL;
    }
    return NULL;
}

int
memory_read(const struct guest_memory *memory, uint64_t address, void *to, size_t size)
{
    const void *from = memory_at(memory, address, size);

    if (from == NULL)
        return -EFAULT;
    memcpy(to, from, size);
    return 0;
}

int
memory_write(const struct guest_memory *memory, uint64_t address, const void *from, size_t size)
{
    void *to = memory_at(memory, address, size);

    if (to == NULL)
        return -EFAULT;
    memcpy(to, from, size);
    return 0;
}

int
memory_load_u16(const struct guest_memory *memory, uint64_t address, uint16_t *value)
{
    const uint16_t *word = address % sizeof *word == 0 ? memory_at(memory, address, sizeof *word) : NULL;

    if (word == NULL)
        return -EFAULT;
    *value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    return 0;
}

int
memory_store_u16(const struct guest_memory *memory, uint64_t address, uint16_t value)
{
    uint16_t *word = address % sizeof *word == 0 ? memory_at(memory, address, sizeof *word) : NULL;

    if (word == NULL)
        return -EFAULT;
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    return 0;
}

/* By the mapping, not by its descriptor, which need not be kept for this. */
int
memory_discard(void *at, uint64_t size)
{
    const uint64_t before = -(uintptr_t)at % MEMORY_PAGE;

    if (size < before + MEMORY_PAGE)
        return 0;
    return madvise((uint8_t *)at + before, (size - before) / MEMORY_PAGE * MEMORY_PAGE, MADV_REMOVE) < 0 ? -errno : 0;
}
