#include "plugin/microvm/machine.h"

#include "common/log.h"
#include "plugin/microvm/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MSR_MISC_ENABLE 0x1a0
#define MISC_ENABLE_FAST_STRINGS 0x1
#define MSR_MTRR_DEFAULT_TYPE 0x2ff
#define MTRR_ENABLED 0x800
#define MTRR_WRITE_BACK 0x6
/* Which inputs of a PC's first and second interrupt controller can be made level-triggered. */
#define PIC_LEVELS 0xf8
#define SECOND_PIC_LEVELS 0xde

struct vcpu_start {
    struct machine *machine;
    uint32_t number;
};

static int
register_memory(struct machine *machine, int fd)
{
    struct vmsup_memory *slot;
    uint64_t offset = 0;

    for (size_t i = 0; i < machine->memory.count; i++) {
        const struct guest_region *region = &machine->memory.region[i];
        int result = vmsup_create_memory(machine->vm, fd, offset, region->size, region->start, false, false, &slot);

        if (result < 0)
            return result;
        offset += region->size;
    }
    return 0;
}

static int
create_memory(struct machine *machine, const struct options *options, const char **what)
{
    int fd, result = ram_create(options->memory, options->huge_pages, &machine->memory, &fd, what);

    if (result < 0)
        return result;
    *what = "--memory: vmsup lets the VM have less than that (its --memory-max, or what the host has free)";
    result = register_memory(machine, fd);
    close(fd);
    return result;
}

/* Whoever has the descriptor may only read from it: the mapping was there before the seal. */
static int
create_pages(uint64_t length, uint32_t **pages, int *fd)
{
    void *host = MAP_FAILED;

    *fd = memfd_create("registers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0)
        return -errno;
    if (ftruncate(*fd, (off_t)length) == 0)
        host = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (host == MAP_FAILED || fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0) {
        int result = -errno;

        if (host != MAP_FAILED)
            munmap(host, length);
        close(*fd);
        return result;
    }
    *pages = host;
    return 0;
}

int
machine_add_pages(struct machine *machine, uint64_t start, uint64_t length, uint32_t **pages)
{
    struct vmsup_memory *slot;
    int fd, result = create_pages(length, pages, &fd);

    if (result < 0)
        return result;
    result = vmsup_create_memory(machine->vm, fd, 0, length, start, true, false, &slot);
    close(fd);
    if (result < 0)
        munmap(*pages, length);
    return result;
}

static int
look_at_processor(struct machine *machine)
{
    struct vmsup_vcpu *vcpu;
    int result;

    while ((result = vmsup_get_vcpu(machine->vm, machine->vcpu_count, &vcpu)) == 0)
        machine->vcpu_count++;
    if (result != -ENOENT)
        return result;
    result = vmsup_check_extension(machine->vm, KVM_CAP_TSC_DEADLINE_TIMER, &machine->deadline_timer);
    if (result < 0)
        return result;
    return vmsup_get_supported_cpuid(machine->vm, CPUID_ENTRIES_MAX, machine->cpuid.entry, &machine->cpuid.count);
}

int
machine_create(struct machine *machine, const struct options *options, const char **what)
{
    int result;

    *machine = (struct machine){ .options = options, .shutdown = -1 };
    *what = "the connection to the VM";
    if ((result = vmsup_connect(&machine->vm)) < 0 || (result = machine->shutdown = vmsup_get_shutdown_eventfd(machine->vm)) < 0)
        return result;
    if ((result = create_memory(machine, options, what)) < 0)
        return result;
    *what = "the processor";
    return look_at_processor(machine);
}

static int
add_range(struct machine *machine, enum bus_space space, uint64_t start, uint64_t length, const struct device_operations *operations,
          void *device)
{
    int result = bus_add(&machine->bus, space, start, length, operations, device);

    return result < 0 ? result : vmsup_reserve_range(machine->vm, (uint32_t)space, start, length);
}

int
machine_add_ports(struct machine *machine, uint16_t start, uint16_t length, const struct device_operations *operations, void *device)
{
    return add_range(machine, BUS_SPACE_PORTS, start, length, operations, device);
}

int
machine_add_memory_range(void *machine, uint64_t start, uint64_t length, const struct device_operations *operations, void *device)
{
    return add_range(machine, BUS_SPACE_MEMORY, start, length, operations, device);
}

int
machine_add_doorbell(void *context, uint64_t address, uint32_t value, int *fd)
{
    struct machine *machine = context;
    uint8_t bytes[sizeof value];
    struct vmsup_io *io;
    int result;

    memcpy(bytes, &value, sizeof value);
    result = vmsup_create_io_event(machine->vm, VMSUP_ADDRESS_SPACE_MMIO, address, sizeof value, bytes, &io);
    if (result == 0)
        *fd = vmsup_io_event_fd(io);
    return result;
}

int
machine_add_interrupt(struct machine *machine, uint32_t gsi, int *trigger, int *resample)
{
    struct vmsup_irq *irq;
    int result = vmsup_create_irq_event(machine->vm, gsi, &irq);

    if (result < 0)
        return result;
    *trigger = vmsup_irq_event_get_fd(irq);
    *resample = vmsup_irq_event_get_resample_fd(irq);
    return 0;
}

static int
set_processor(const struct machine *machine, uint32_t number, struct vmsup_vcpu *vcpu)
{
    struct cpuid_list list = machine->cpuid;
    int result = cpuid_fit(&list, number, machine->vcpu_count, machine->deadline_timer);

    if (result < 0)
        return result;
    cpuid_mask_apply(machine->options->cpu_mask, machine->options->cpu_mask_count, &list);
    return vmsup_vcpu_set_cpuid(vcpu, list.count, list.entry);
}

/*
 * What firmware would have left: memory is write-back where nothing else is said of it, without which Linux does without PAT, too; and
 * strings are moved fast, which Linux on Intel's processors asks before it believes CPUID. A KVM that knows one of them not goes on without.
 */
static int
set_model_registers(struct vmsup_vcpu *vcpu)
{
    struct kvm_msr_entry entries[] = {
        { .index = MSR_MTRR_DEFAULT_TYPE, .data = MTRR_ENABLED | MTRR_WRITE_BACK },
        { .index = MSR_MISC_ENABLE },
    };
    uint32_t count;
    int result = vmsup_vcpu_get_msrs(vcpu, 1, &entries[1], &count);

    if (result < 0)
        return result;
    entries[1].data |= MISC_ENABLE_FAST_STRINGS;
    return vmsup_vcpu_set_msrs(vcpu, count == 1 ? 2 : 1, entries);
}

/*
 * The first event. What a vCPU's processor is; and where the first begins: KVM has the others wait, in the state they are made in, for it
 * to wake them by INIT and SIPI.
 */
static int
prepare_vcpu(const struct machine *machine, uint32_t number, struct vmsup_vcpu *vcpu)
{
    struct vmsup_vcpu_event event;
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    int result = vmsup_vcpu_wait(vcpu, &event);

    if (result == 0)
        result = set_processor(machine, number, vcpu);
    if (result == 0)
        result = set_model_registers(vcpu);
    if (result == 0 && number == 0 && (result = vmsup_vcpu_get_sregs(vcpu, &sregs)) == 0) {
        boot_set_registers(&machine->entry, &regs, &sregs);
        if ((result = vmsup_vcpu_set_sregs(vcpu, &sregs)) == 0)
            result = vmsup_vcpu_set_regs(vcpu, &regs);
    }
    return result < 0 ? result : vmsup_vcpu_resume(vcpu);
}

static void
answer(const struct bus *bus, const struct vmsup_vcpu_event *event)
{
    const enum bus_space space = (enum bus_space)event->io_access.address_space;

    if (event->io_access.is_write)
        bus_write(bus, space, event->io_access.address, event->io_access.data, event->io_access.length);
    else
        bus_read(bus, space, event->io_access.address, event->io_access.data, event->io_access.length);
}

/* Until a wait fails: then the VM is ending, which the main thread sees for itself. */
static void *
run_vcpu(void *context)
{
    const struct vcpu_start start = *(struct vcpu_start *)context;
    struct vmsup_vcpu_event event;
    struct vmsup_vcpu *vcpu;
    char name[16];
    int result;

    free(context);
    snprintf(name, sizeof name, "vcpu%u", start.number);
    pthread_setname_np(pthread_self(), name);
    result = vmsup_get_vcpu(start.machine->vm, start.number, &vcpu);
    if (result == 0)
        result = prepare_vcpu(start.machine, start.number, vcpu);
    if (result < 0) {
        log_error("vCPU %u: %s", start.number, strerror(-result));
        exit(EXIT_FAILURE);
    }
    while (vmsup_vcpu_wait(vcpu, &event) == 0) {
        if (event.kind == VMSUP_VCPU_EVENT_KIND_IO_ACCESS)
            answer(&start.machine->bus, &event);
        if (vmsup_vcpu_resume(vcpu) < 0)
            break;
    }
    return NULL;
}

static int
start_thread(struct machine *machine, uint32_t number)
{
    struct vcpu_start *start = malloc(sizeof *start);
    pthread_t thread;
    int result;

    if (start == NULL)
        return -ENOMEM;
    *start = (struct vcpu_start){ .machine = machine, .number = number };
    result = pthread_create(&thread, NULL, run_vcpu, start);
    if (result != 0) {
        free(start);
        return -result;
    }
    pthread_detach(thread);
    return 0;
}

/*
 * Interrupts below 16 reach a PC's two interrupt controllers beside the IOAPIC, and these begin with nothing masked. The guest is told of
 * neither: where its first processor leaves LINT0 as it found it, an interrupt would come twice, once as an exception.
 */
static int
mask_legacy_controllers(struct machine *machine)
{
    const struct kvm_pic_state first = { .imr = UINT8_MAX, .elcr_mask = PIC_LEVELS };
    const struct kvm_pic_state second = { .imr = UINT8_MAX, .elcr_mask = SECOND_PIC_LEVELS };
    int result = vmsup_set_pic_state(machine->vm, true, &first);

    return result < 0 ? result : vmsup_set_pic_state(machine->vm, false, &second);
}

int
machine_start(struct machine *machine, const struct boot_entry *entry, const char **what)
{
    int result;

    machine->entry = *entry;
    /* Last: with its first controller KVM takes long over each piece of memory. */
    *what = "the interrupt controllers";
    result = mask_legacy_controllers(machine);
    if (result < 0)
        return result;
    *what = "the VM";
    result = vmsup_start(machine->vm);
    *what = "a vCPU's thread";
    for (uint32_t i = 0; result == 0 && i < machine->vcpu_count; i++)
        result = start_thread(machine, i);
    return result;
}
