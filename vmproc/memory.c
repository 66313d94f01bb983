/*
 * Guest memory: a memfd of the plugin's, mapped here and given to KVM as a slot. This process never touches what is in
 * it.
 */
#include "vmproc/kvm.h"
#include "vmproc/request.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096u

/* Room for the answer's other bytes around a bitmap. */
#define BITMAP_MAX (WIRE_RESPONSE_MAX - 64)

/* Whether the descriptor is a memfd that cannot shrink, how long it is, and how large its pages may be. */
static int
check_memfd(int fd, uint64_t *size, uint64_t *page)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);

    /* Only memfds have seals. */
    if (seals < 0)
        return -EINVAL;
    if ((seals & F_SEAL_SHRINK) == 0)
        return -EPERM;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_size < 0 || status.st_blksize < PAGE)
        return -EINVAL;
    *size = (uint64_t)status.st_size;
    *page = (uint64_t)status.st_blksize;
    return 0;
}

static int
check_region(const MainRequest__Create__Memory *memory, uint64_t memfd_size)
{
    uint64_t offset_end, start_end;

    if (__builtin_add_overflow(memory->offset, memory->length, &offset_end) ||
        __builtin_add_overflow(memory->start, memory->length, &start_end))
        return -EOVERFLOW;
    if (memory->length == 0 || memory->length % PAGE != 0 || memory->offset % PAGE != 0 || memory->start % PAGE != 0)
        return -EINVAL;
    return offset_end > memfd_size ? -EINVAL : 0;
}

static int
find_slot(const struct vm *vm)
{
    for (int slot = 0; slot < LIMIT_MEMORY_SLOTS; slot++)
        if (!vm->slot_used[slot])
            return slot;
    return -ENOSPC;
}

/*
 * Guest memory has no place in a core dump. A memfd of huge pages is mapped in whole ones, whatever length is asked
 * for: that would be more than is counted, and more than munmap(2) takes back. The kernel then refuses to mark a part.
 */
static int
map_memory(int fd, const MainRequest__Create__Memory *memory, uint64_t page, void **mapping)
{
    const int protection = memory->read_only ? PROT_READ : PROT_READ | PROT_WRITE;

    *mapping = mmap(NULL, memory->length, protection, MAP_SHARED | MAP_NORESERVE, fd, (off_t)memory->offset);
    if (*mapping == MAP_FAILED)
        return -errno;
    if (madvise(*mapping, memory->length, MADV_DONTDUMP) < 0) {
        int error = errno;

        munmap(*mapping, error == EINVAL ? (memory->length + page - 1) / page * page : memory->length);
        return -error;
    }
    return 0;
}

/* Maps it and makes it the guest's. */
static int
add_slot(struct vm *vm, int fd, const MainRequest__Create__Memory *memory, uint64_t page, uint32_t slot, void **mapping)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .flags = (memory->read_only ? KVM_MEM_READONLY : 0) | (memory->dirty_log ? KVM_MEM_LOG_DIRTY_PAGES : 0),
        .guest_phys_addr = memory->start,
        .memory_size = memory->length,
    };
    int result = map_memory(fd, memory, page, mapping);

    if (result < 0)
        return result;
    region.userspace_addr = (uintptr_t)*mapping;
    result = kvm_set_memory(vm->fd, &region);
    if (result < 0)
        munmap(*mapping, memory->length);
    return result;
}

int
memory_create(struct vm *vm, const struct main_request *request, struct object *object, struct reply *reply)
{
    const MainRequest__Create__Memory *memory = request->message->create->memory;
    uint64_t size = 0, page = PAGE, total;
    int result, slot;

    (void)reply;
    if (request->fds->count != 1)
        return -EBADF;
    result = check_memfd(request->fds->fd[0], &size, &page);
    if (result < 0)
        return result;
    result = check_region(memory, size);
    if (result < 0)
        return result;
    if (__builtin_add_overflow(vm->memory_used, memory->length, &total) || total > vm->memory_limit)
        return -ENOMEM;
    slot = find_slot(vm);
    if (slot < 0)
        return slot;
    result = add_slot(vm, request->fds->fd[0], memory, page, (uint32_t)slot, &object->memory.mapping);
    if (result < 0)
        return result;
    vm->slot_used[slot] = true;
    vm->memory_used = total;
    object->memory.slot = (uint32_t)slot;
    object->memory.length = memory->length;
    object->memory.dirty_log = memory->dirty_log;
    return 0;
}

void
memory_destroy(struct vm *vm, struct object *object)
{
    const struct kvm_userspace_memory_region region = { .slot = object->memory.slot };

    kvm_set_memory(vm->fd, &region);
    munmap(object->memory.mapping, object->memory.length);
    vm->slot_used[object->memory.slot] = false;
    vm->memory_used -= object->memory.length;
}

int
memory_get_dirty_log(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    struct object *object = objects_find(&vm->objects, request->message->dirty_log->id);
    uint64_t pages, bytes, rounded;
    void *bitmap;
    int result;

    if (object == NULL || object->kind != OBJECT_MEMORY || !object->memory.dirty_log)
        return -ENOENT;
    pages = object->memory.length / PAGE;
    bytes = (pages + 7) / 8;
    /* KVM writes whole words. */
    rounded = (bytes + 7) / 8 * 8;
    /* Reading clears the log: an answer that could not be sent would lose it. */
    if (bytes > BITMAP_MAX)
        return -E2BIG;
    bitmap = reply_allocate(reply, rounded);
    if (bitmap == NULL)
        return -ENOMEM;
    memset(bitmap, 0, rounded);
    result = kvm_get_dirty_log(vm->fd, object->memory.slot, bitmap);
    if (result < 0)
        return result;
    reply->body.dirty_log.bitmap.data = bitmap;
    reply->body.dirty_log.bitmap.len = bytes;
    return 0;
}
