/*
 * The guest's memory as its devices see it: at most two regions (below and above the hole under 4 GiB), mapped for as long as the
 * VM lives. Whoever fills the struct owns the mappings. Everything in here may change at any moment, by any vCPU: what is checked
 * must be copied first. Devices reach guest memory through these functions alone, so that tests can put another memory in their
 * place. Any thread may call them.
 */
#ifndef VMSUP_PLUGIN_MICROVM_MEMORY_H
#define VMSUP_PLUGIN_MICROVM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_REGIONS_MAX 2
#define MEMORY_PAGE 4096ULL

struct guest_region {
    uint64_t start; /* the guest's physical address */
    uint64_t size;
    uint8_t *host;
};

struct guest_memory {
    struct guest_region region[GUEST_REGIONS_MAX];
    size_t count;
};

/* Where `size` bytes from `address` on are mapped. NULL unless they are wholly inside one region; no bytes at all are nowhere. */
void *memory_at(const struct guest_memory *memory, uint64_t address, uint64_t size);

/* Copy from and to the guest, once. -EFAULT: not wholly inside one region, and then nothing was copied. */
int memory_read(const struct guest_memory *memory, uint64_t address, void *to, size_t size);
int memory_write(const struct guest_memory *memory, uint64_t address, const void *from, size_t size);

/*
 * One 16-bit word by one access, as the indices of queues need it: what the guest wrote before it is seen after the load, and what
 * was written before the store is seen by the guest first. -EFAULT also where the address is odd.
 */
int memory_load_u16(const struct guest_memory *memory, uint64_t address, uint16_t *value);
int memory_store_u16(const struct guest_memory *memory, uint64_t address, uint16_t value);

/*
 * Gives those whole pages of MEMORY_PAGE that lie in `size` bytes from `at` on, which memory_at() gave, back to the host: the guest then
 * finds zeroes there, in pages that it takes anew. 0, or a negative errno; memory of huge pages is not to be given back in parts.
 */
int memory_discard(void *at, uint64_t size);

#endif
