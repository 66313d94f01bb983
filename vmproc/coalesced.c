#include "vmproc/coalesced.h"

#include "vmproc/kvm.h"
#include "vmproc/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>

/* KVM's, whatever the host's pages are: x86 has no others. */
#define RING_PAGE 4096
#define RING_ENTRIES ((RING_PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

void
coalesced_init(struct coalesced *coalesced)
{
    pthread_mutex_init(&coalesced->lock, NULL);
    coalesced->interval = LIMIT_COALESCED_MS_MIN;
}

void
coalesced_destroy(struct coalesced *coalesced)
{
    pthread_mutex_destroy(&coalesced->lock);
}

void
coalesced_look(struct vm *vm)
{
    int page = kvm_check_extension(vm->fd, KVM_CAP_COALESCED_MMIO);

    if (page <= 0 || ((size_t)page + 1) * RING_PAGE > vm->run_size)
        return;
    vm->coalesced.page = (uint32_t)page;
    vm->coalesced.has_ports = kvm_check_extension(vm->fd, KVM_CAP_COALESCED_PIO) > 0;
}

static bool
is_for_kernel(const struct vm *vm, uint32_t space)
{
    return vm->coalesced.page != 0 && (space == ADDRESS_SPACE__MMIO || vm->coalesced.has_ports);
}

static struct kvm_coalesced_mmio_zone
zone_of(uint32_t space, uint64_t start, uint64_t length)
{
    return (struct kvm_coalesced_mmio_zone){ .addr = start, .size = (uint32_t)length, .pio = space == ADDRESS_SPACE__IOPORT };
}

int
coalesced_add(struct vm *vm, uint32_t space, uint64_t start, uint64_t length)
{
    const struct kvm_coalesced_mmio_zone zone = zone_of(space, start, length);
    int result;

    if (length > UINT32_MAX)
        return -EINVAL;
    if (!is_for_kernel(vm, space))
        return 0;
    result = kvm_register_coalesced(vm->fd, &zone);
    /* The server has to look at the ring from now on. */
    if (result == 0 && atomic_fetch_add(&vm->coalesced.ranges, 1) == 0)
        vm_notify(vm);
    return result;
}

void
coalesced_remove(struct vm *vm, uint32_t space, uint64_t start, uint64_t length)
{
    const struct kvm_coalesced_mmio_zone zone = zone_of(space, start, length);

    if (is_for_kernel(vm, space) && kvm_unregister_coalesced(vm->fd, &zone) == 0)
        atomic_fetch_sub(&vm->coalesced.ranges, 1);
}

/* --- The ring: KVM stores `last` once an entry is there, and looks at `first` before it puts another. */

static struct kvm_coalesced_mmio_ring *
ring_of(const struct vcpu *vcpu)
{
    return (struct kvm_coalesced_mmio_ring *)((uint8_t *)vcpu->run + (size_t)vcpu->vm->coalesced.page * RING_PAGE);
}

static uint32_t
first_of(const struct kvm_coalesced_mmio_ring *ring)
{
    return __atomic_load_n(&ring->first, __ATOMIC_RELAXED) % RING_ENTRIES;
}

/* One behind the last. */
static uint32_t
end_of(const struct kvm_coalesced_mmio_ring *ring)
{
    return __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) % RING_ENTRIES;
}

static struct kvm_coalesced_mmio
take_entry(struct kvm_coalesced_mmio_ring *ring)
{
    const uint32_t first = first_of(ring);
    const struct kvm_coalesced_mmio entry = ring->coalesced_mmio[first];

    __atomic_store_n(&ring->first, (uint32_t)((first + 1) % RING_ENTRIES), __ATOMIC_RELEASE);
    return entry;
}

/* What was written before its range was released is nobody's any more. */
static bool
is_reserved(struct vm *vm, uint32_t space, uint64_t address)
{
    const struct range *range;
    bool reserved;

    pthread_rwlock_rdlock(&vm->access_lock);
    range = ranges_find(&vm->ranges, space, address);
    reserved = range != NULL && range->kind == RANGE_COALESCED;
    pthread_rwlock_unlock(&vm->access_lock);
    return reserved;
}

static int
tell(struct vcpu *vcpu, struct kvm_coalesced_mmio *entry)
{
    const VcpuResponse__Wait__Io io = {
        .space = entry->pio != 0 ? ADDRESS_SPACE__IOPORT : ADDRESS_SPACE__MMIO,
        .address = entry->phys_addr,
        .is_write = true,
        .no_resume = true,
        .data = { .data = entry->data, .len = entry->len <= sizeof entry->data ? entry->len : sizeof entry->data },
    };

    return is_reserved(vcpu->vm, io.space, io.address) ? vcpu_send_access(vcpu, &io) : 0;
}

int
coalesced_take(struct vcpu *vcpu)
{
    struct coalesced *coalesced = &vcpu->vm->coalesced;
    struct kvm_coalesced_mmio_ring *ring;
    uint32_t end;
    int result = 0;

    if (atomic_load_explicit(&coalesced->ranges, memory_order_relaxed) == 0)
        return 0;
    ring = ring_of(vcpu);
    /* Held by another who takes, until the plugin has it all: what this vCPU has to say may be about that. */
    pthread_mutex_lock(&coalesced->lock);
    /* What others write from now on comes later: they may never end. */
    end = end_of(ring);
    while (result == 0 && first_of(ring) != end) {
        struct kvm_coalesced_mmio entry = take_entry(ring);

        result = tell(vcpu, &entry);
    }
    pthread_mutex_unlock(&coalesced->lock);
    return result;
}

static bool
something_is_left(const struct vm *vm)
{
    const struct vcpu *vcpu = vm->vcpu[0];

    return vcpu->run != NULL && first_of(ring_of(vcpu)) != end_of(ring_of(vcpu));
}

/* A device that is used is looked at often, one that is not, seldom: an idle VM costs next to nothing. */
int64_t
coalesced_attend(struct vm *vm)
{
    struct coalesced *coalesced = &vm->coalesced;

    if (atomic_load(&coalesced->ranges) == 0)
        return -1;
    if (something_is_left(vm)) {
        vcpu_bring_out(vm->vcpu[coalesced->next++ % vm->vcpu_count]);
        coalesced->interval = LIMIT_COALESCED_MS_MIN;
    } else if (coalesced->interval < LIMIT_COALESCED_MS_MAX) {
        coalesced->interval *= 2;
    }
    return coalesced->interval;
}
