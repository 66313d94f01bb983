/*
 * A plugin library that a test plays, for the parts of microvm that stand on it: machine.c and devices.c. It notes what it is asked for, and
 * fails one call where the test says which. Its vCPUs report what the test has them report, then that the VM is ending.
 */
#ifndef VMSUP_TESTS_UNIT_MICROVM_FAKE_H
#define VMSUP_TESTS_UNIT_MICROVM_FAKE_H

#include "plugin/vmsup-plugin.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define FAKE_VCPUS 3
#define FAKE_NOTES_MAX 128
#define FAKE_FAILURE (-EIO)

/* What a vCPU is told, and what it reports after INIT: one access. */
struct vmsup_vcpu {
    uint32_t number;
    unsigned waits, resumes;
    struct kvm_cpuid_entry2 cpuid[256];
    uint32_t cpuid_count;
    bool has_regs, has_sregs, no_msr;
    struct kvm_msr_entry msr[4];
    uint32_t msr_count;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    uint64_t port;
    uint8_t data[8];
    bool write;
};

struct vmsup {
    int unused;
};

/* An object, a range, or a piece of memory. */
struct fake_note {
    uint64_t start, length, offset;
    uint32_t kind; /* space or GSI */
    uint64_t value;
    int fd, other;
};

struct vmsup_io {
    struct fake_note note;
};
struct vmsup_irq {
    struct fake_note note;
};
struct vmsup_memory {
    struct fake_note note;
};

static struct fake {
    pthread_mutex_t lock;
    unsigned calls, fail_at; /* 0: none */
    struct vmsup vm;
    struct vmsup_vcpu vcpu[FAKE_VCPUS];
    uint32_t vcpu_count;
    unsigned ended, started;
    struct vmsup_memory memory[FAKE_NOTES_MAX];
    struct vmsup_io io[FAKE_NOTES_MAX];
    struct vmsup_irq irq[FAKE_NOTES_MAX];
    struct fake_note range[FAKE_NOTES_MAX];
    size_t memory_count, io_count, irq_count, range_count;
    const char *granted; /* the one name that is, or NULL */
    int granted_fd, tap;
    struct kvm_pic_state pic[2];
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Gives back what the last test had the library make. */
static inline void
fake_reset(uint32_t vcpu_count)
{
    for (size_t i = 0; i < fake.io_count; i++)
        close(fake.io[i].note.fd);
    for (size_t i = 0; i < fake.irq_count; i++) {
        close(fake.irq[i].note.fd);
        close(fake.irq[i].note.other);
    }
    memset((uint8_t *)&fake + offsetof(struct fake, calls), 0, sizeof fake - offsetof(struct fake, calls));
    fake.vcpu_count = vcpu_count;
    for (uint32_t i = 0; i < vcpu_count; i++)
        fake.vcpu[i].number = i;
}

static inline bool
fake_fails(void)
{
    bool fails;

    pthread_mutex_lock(&fake.lock);
    fails = ++fake.calls == fake.fail_at;
    pthread_mutex_unlock(&fake.lock);
    return fails;
}

#define FAKE_CALL() \
    do { \
        if (fake_fails()) \
            return FAKE_FAILURE; \
    } while (0)

/* How many vCPUs were told of the end. */
static inline unsigned
fake_ended(void)
{
    unsigned ended;

    pthread_mutex_lock(&fake.lock);
    ended = fake.ended;
    pthread_mutex_unlock(&fake.lock);
    return ended;
}

int
vmsup_connect(struct vmsup **out)
{
    FAKE_CALL();
    *out = &fake.vm;
    return 0;
}

int
vmsup_get_shutdown_eventfd(struct vmsup *self)
{
    assert_ptr_equal(self, &fake.vm);
    FAKE_CALL();
    return 1000;
}

int
vmsup_check_extension(struct vmsup *self, uint32_t extension, bool *has_extension)
{
    (void)self;
    FAKE_CALL();
    *has_extension = extension == KVM_CAP_TSC_DEADLINE_TIMER;
    return 0;
}

int
vmsup_get_supported_cpuid(struct vmsup *self, uint32_t count, struct kvm_cpuid_entry2 *entries, uint32_t *out_count)
{
    (void)self;
    FAKE_CALL();
    assert_true(count >= 3);
    entries[0] = (struct kvm_cpuid_entry2){ .function = 0, .eax = 0xb, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69 };
    entries[1] = (struct kvm_cpuid_entry2){ .function = 1, .edx = 0x0f8bfbff };
    entries[2] = (struct kvm_cpuid_entry2){ .function = 7, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ebx = 0xff };
    *out_count = 3;
    return 0;
}

int
vmsup_granted_fd(const char *name)
{
    FAKE_CALL();
    return fake.granted != NULL && strcmp(name, fake.granted) == 0 ? fake.granted_fd : -ENOENT;
}

int
vmsup_net_get_config(struct vmsup *self, struct vmsup_net_config *config)
{
    (void)self;
    FAKE_CALL();
    *config = (struct vmsup_net_config){ .tap_fd = fake.tap, .host_mac_address = { 2, 0x11, 0x22, 0x33, 0x44, 0x55 } };
    return 0;
}

int
vmsup_reserve_range(struct vmsup *self, uint32_t space, uint64_t start, uint64_t length)
{
    (void)self;
    FAKE_CALL();
    assert_true(fake.range_count < FAKE_NOTES_MAX);
    fake.range[fake.range_count++] = (struct fake_note){ .kind = space, .start = start, .length = length };
    return 0;
}

int
vmsup_create_memory(struct vmsup *self, int memfd, uint64_t offset, uint64_t length, uint64_t start, bool read_only, bool dirty_log,
                    struct vmsup_memory **out)
{
    struct vmsup_memory *memory = &fake.memory[fake.memory_count];

    (void)self;
    FAKE_CALL();
    assert_true(memfd >= 0 && !dirty_log && fake.memory_count < FAKE_NOTES_MAX);
    memory->note = (struct fake_note){ .start = start, .length = length, .offset = offset, .value = read_only };
    fake.memory_count++;
    *out = memory;
    return 0;
}

int
vmsup_create_io_event(struct vmsup *self, uint32_t space, uint64_t address, uint32_t length, const uint8_t *datamatch, struct vmsup_io **out)
{
    struct vmsup_io *io = &fake.io[fake.io_count];

    (void)self;
    FAKE_CALL();
    assert_true(fake.io_count < FAKE_NOTES_MAX);
    io->note = (struct fake_note){ .kind = space, .start = address, .length = length, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    if (datamatch != NULL)
        memcpy(&io->note.value, datamatch, length);
    fake.io_count++;
    *out = io;
    return 0;
}

int
vmsup_io_event_fd(struct vmsup_io *io)
{
    return io->note.fd;
}

int
vmsup_create_irq_event(struct vmsup *self, uint32_t irq_id, struct vmsup_irq **out)
{
    struct vmsup_irq *irq = &fake.irq[fake.irq_count];

    (void)self;
    FAKE_CALL();
    assert_true(fake.irq_count < FAKE_NOTES_MAX);
    irq->note = (struct fake_note){
        .kind = irq_id, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
    };
    fake.irq_count++;
    *out = irq;
    return 0;
}

int
vmsup_irq_event_get_fd(struct vmsup_irq *irq)
{
    return irq->note.fd;
}

int
vmsup_irq_event_get_resample_fd(struct vmsup_irq *irq)
{
    return irq->note.other;
}

int
vmsup_set_pic_state(struct vmsup *self, bool primary, const struct kvm_pic_state *state)
{
    (void)self;
    FAKE_CALL();
    fake.pic[primary ? 0 : 1] = *state;
    return 0;
}

int
vmsup_start(struct vmsup *self)
{
    (void)self;
    FAKE_CALL();
    fake.started++;
    return 0;
}

int
vmsup_get_vcpu(struct vmsup *self, uint32_t cpu_id, struct vmsup_vcpu **out)
{
    (void)self;
    FAKE_CALL();
    if (cpu_id >= fake.vcpu_count)
        return -ENOENT;
    *out = &fake.vcpu[cpu_id];
    return 0;
}

int
vmsup_vcpu_wait(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event)
{
    *event = (struct vmsup_vcpu_event){ .kind = VMSUP_VCPU_EVENT_KIND_INIT };
    if (self->waits++ == 0)
        return 0;
    if (self->waits == 2 && self->port != 0) {
        event->kind = VMSUP_VCPU_EVENT_KIND_IO_ACCESS;
        event->io_access.address = self->port;
        event->io_access.address_space = VMSUP_ADDRESS_SPACE_IOPORT;
        event->io_access.data = self->data;
        event->io_access.length = 1;
        event->io_access.is_write = self->write;
        return 0;
    }
    pthread_mutex_lock(&fake.lock);
    fake.ended++;
    pthread_mutex_unlock(&fake.lock);
    return -EPIPE;
}

int
vmsup_vcpu_resume(struct vmsup_vcpu *self)
{
    self->resumes++;
    return 0;
}

int
vmsup_vcpu_set_cpuid(struct vmsup_vcpu *self, uint32_t count, const struct kvm_cpuid_entry2 *entries)
{
    memcpy(self->cpuid, entries, count * sizeof entries[0]);
    self->cpuid_count = count;
    return 0;
}

/* Each is 0x1800; a vCPU may have none. */
int
vmsup_vcpu_get_msrs(struct vmsup_vcpu *self, uint32_t msr_count, struct kvm_msr_entry *msr_entries, uint32_t *out_count)
{
    *out_count = self->no_msr ? 0 : msr_count;
    for (uint32_t i = 0; i < *out_count; i++)
        msr_entries[i].data = 0x1800;
    return 0;
}

int
vmsup_vcpu_set_msrs(struct vmsup_vcpu *self, uint32_t msr_count, const struct kvm_msr_entry *msr_entries)
{
    assert_true(msr_count <= 4);
    memcpy(self->msr, msr_entries, msr_count * sizeof msr_entries[0]);
    self->msr_count = msr_count;
    return 0;
}

int
vmsup_vcpu_get_sregs(struct vmsup_vcpu *self, struct kvm_sregs *sregs)
{
    (void)self;
    *sregs = (struct kvm_sregs){ .apic_base = 0xfee00900 };
    return 0;
}

int
vmsup_vcpu_set_sregs(struct vmsup_vcpu *self, const struct kvm_sregs *sregs)
{
    self->sregs = *sregs;
    self->has_sregs = true;
    return 0;
}

int
vmsup_vcpu_set_regs(struct vmsup_vcpu *self, const struct kvm_regs *regs)
{
    self->regs = *regs;
    self->has_regs = true;
    return 0;
}

#endif
