/*
 * libvmsup-plugin: how a program emulates the hardware of one VM that vmsup runs. The program is started by `vmsup start`,
 * connects, describes memory and devices, calls vmsup_start() and then answers each vCPU's events. See vmsup-plugin(7) for a walk
 * through a whole program, and vmsup-plugin(3) for each function.
 *
 * Functions that give an int give 0, or a descriptor where one is asked for, or a negative errno. A connection is to be used by one
 * thread at a time, and so is a vCPU; further connections come from vmsup_new_connection(). Objects belong to the VM and outlive the
 * connection that made them. Handles are freed by their own destroy function and become NULL.
 */
#ifndef VMSUP_PLUGIN_H
#define VMSUP_PLUGIN_H

#include <assert.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VMSUP_API_MAJOR 0
#define VMSUP_API_MINOR 22
#define VMSUP_API_PATCH 0

#define VMSUP_MAX_HINT_COUNT 1
#define VMSUP_MAX_HINT_DETAIL_COUNT 32
#define VMSUP_HINT_ON_WRITE 1

enum vmsup_address_space {
    VMSUP_ADDRESS_SPACE_IOPORT = 0,
    VMSUP_ADDRESS_SPACE_MMIO,
};

struct vmsup;
struct vmsup_io;
struct vmsup_memory;
struct vmsup_irq;
struct vmsup_vcpu;

/* The VM's network: a TAP, owned by the caller, and the addresses of the host's side, in network order. */
struct vmsup_net_config {
    int tap_fd;
    uint32_t host_ip;
    uint32_t netmask;
    uint8_t host_mac_address[6];
    uint8_t _padding[2];
};

enum vmsup_irq_route_kind {
    VMSUP_IRQ_ROUTE_IRQCHIP = 0,
    VMSUP_IRQ_ROUTE_MSI,
};

struct vmsup_irq_route {
    uint32_t irq_id;
    uint32_t kind; /* enum vmsup_irq_route_kind */
    union {
        struct {
            uint32_t irqchip;
            uint32_t pin;
        } irqchip;
        struct {
            uint64_t address;
            uint32_t data;
            uint8_t _reserved[4];
        } msi;
        uint8_t _reserved[16];
    };
};

/* Which registers the guest's rax … rdx must hold for a hint to send more, and what. */
struct vmsup_hint_detail {
    bool match_rax;
    bool match_rbx;
    bool match_rcx;
    bool match_rdx;
    uint8_t _reserved[4];
    uint64_t rax;
    uint64_t rbx;
    uint64_t rcx;
    uint64_t rdx;
    bool send_sregs;
    bool send_debugregs;
    uint8_t _reserved2[6];
};

struct vmsup_hint {
    uint32_t hint_version; /* 0 */
    uint32_t _reserved;
    uint32_t address_space; /* enum vmsup_address_space */
    uint16_t address_flags; /* VMSUP_HINT_ON_WRITE: writes; else reads */
    uint16_t details_count;
    uint64_t address; /* not 0 */
    union {
        struct vmsup_hint_detail *details;
        uint64_t _reserved2;
    };
};

enum vmsup_vcpu_event_kind {
    /* The first event of each vCPU: set its registers, then resume. */
    VMSUP_VCPU_EVENT_KIND_INIT = 0,
    /* An access to a reserved range. */
    VMSUP_VCPU_EVENT_KIND_IO_ACCESS,
    /* After vmsup_pause_vcpus(). */
    VMSUP_VCPU_EVENT_KIND_PAUSED,
    VMSUP_VCPU_EVENT_KIND_HYPERV_HCALL,
    VMSUP_VCPU_EVENT_KIND_HYPERV_SYNIC,
};

struct vmsup_vcpu_event {
    uint32_t kind; /* enum vmsup_vcpu_event_kind */
    uint8_t _padding[4];
    union {
        struct {
            uint32_t address_space; /* enum vmsup_address_space */
            uint8_t _padding[4];
            uint64_t address;
            /* `length` bytes of the library's, valid until resume or the next wait; a read's are to be filled before resume. */
            uint8_t *data;
            uint32_t length;
            uint8_t is_write;
            /* The guest has gone on already: the next call is wait. */
            uint8_t no_resume;
            uint8_t _reserved[2];
        } io_access;
        void *user;
        struct {
            uint64_t input;
            uint64_t *result;
            uint64_t params[2];
        } hyperv_call;
        struct {
            uint32_t msr;
            uint32_t _reserved;
            uint64_t control;
            uint64_t evt_page;
            uint64_t msg_page;
        } hyperv_synic;
        uint8_t _reserved[64];
    };
};

#ifdef __cplusplus
#define VMSUP_ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), "the layout of " #type)
#else
#define VMSUP_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), "the layout of " #type)
#endif
VMSUP_ASSERT_SIZE(struct vmsup_net_config, 20);
VMSUP_ASSERT_SIZE(struct vmsup_irq_route, 24);
VMSUP_ASSERT_SIZE(struct vmsup_hint_detail, 48);
VMSUP_ASSERT_SIZE(struct vmsup_hint, 32);
VMSUP_ASSERT_SIZE(struct vmsup_vcpu_event, 72);
#undef VMSUP_ASSERT_SIZE

/*
 * Connections. vmsup_connect() takes the descriptor whose number is in the environment: VMSUP_SOCKET, else CROSVM_SOCKET.
 * -ENOTCONN: neither is set; -EINVAL: not a number.
 */
int vmsup_connect(struct vmsup **out);
int vmsup_new_connection(struct vmsup *self, struct vmsup **out);
int vmsup_destroy_connection(struct vmsup **self);

/* A descriptor of the caller's that is readable once the VM is ending. */
int vmsup_get_shutdown_eventfd(struct vmsup *self);

/* What KVM has. *out_count is always the full count; -E2BIG where `count` entries do not hold it. */
int vmsup_check_extension(struct vmsup *self, uint32_t extension, bool *has_extension);
int vmsup_enable_capability(struct vmsup *self, uint32_t capability, uint32_t flags, uint64_t args[4]);
int vmsup_get_supported_cpuid(struct vmsup *self, uint32_t count, struct kvm_cpuid_entry2 *entries, uint32_t *out_count);
int vmsup_get_emulated_cpuid(struct vmsup *self, uint32_t count, struct kvm_cpuid_entry2 *entries, uint32_t *out_count);
int vmsup_get_msr_index_list(struct vmsup *self, uint32_t count, uint32_t *indices, uint32_t *out_count);

/*
 * A descriptor that was granted to the plugin under this name: VMSUP_FDS in the environment has NAME=NUMBER,… It stays the library's.
 * -ENOENT: no such name; -EINVAL: the variable is malformed.
 */
int vmsup_granted_fd(const char *name);

/* -ENODATA: the VM has no network. */
int vmsup_net_get_config(struct vmsup *self, struct vmsup_net_config *config);

/* Which accesses are reported. Length 0 releases the range that begins at `start`. `space` is enum vmsup_address_space. */
int vmsup_reserve_range(struct vmsup *self, uint32_t space, uint64_t start, uint64_t length);
int vmsup_reserve_async_write_range(struct vmsup *self, uint32_t space, uint64_t start, uint64_t length);

/* The same, and the guest's writes may be told later, with no_resume set; at the latest with the next event, or soon. Reads are told. */
int vmsup_coalesce_range(struct vmsup *self, uint32_t space, uint64_t start, uint64_t length);

int vmsup_set_irq(struct vmsup *self, uint32_t irq_id, bool active);
int vmsup_set_irq_routing(struct vmsup *self, uint32_t route_count, const struct vmsup_irq_route *routes);

/* `hints_count` is 1, or 0 to clear the hint. */
int vmsup_set_hypercall_hint(struct vmsup *self, uint32_t hints_count, const struct vmsup_hint *hints);

/* The state of the devices in the kernel. */
int vmsup_get_pic_state(struct vmsup *self, bool primary, struct kvm_pic_state *state);
int vmsup_set_pic_state(struct vmsup *self, bool primary, const struct kvm_pic_state *state);
int vmsup_get_ioapic_state(struct vmsup *self, struct kvm_ioapic_state *state);
int vmsup_set_ioapic_state(struct vmsup *self, const struct kvm_ioapic_state *state);
int vmsup_get_pit_state(struct vmsup *self, struct kvm_pit_state2 *state);
int vmsup_set_pit_state(struct vmsup *self, const struct kvm_pit_state2 *state);
int vmsup_get_clock(struct vmsup *self, struct kvm_clock_data *clock_data);
int vmsup_set_clock(struct vmsup *self, const struct kvm_clock_data *clock_data);
int vmsup_set_identity_map_addr(struct vmsup *self, uint32_t address);

/* Each vCPU named in the mask reports one PAUSED event that carries `user`. */
int vmsup_pause_vcpus(struct vmsup *self, uint64_t cpu_mask, void *user);

/* Once. Each vCPU then reports INIT, and none enters the guest before all were resumed from it. */
int vmsup_start(struct vmsup *self);

/* A write of `length` bytes (0: any length) whose value is at `datamatch` (NULL: any value) counts on an eventfd, without an event. */
int vmsup_create_io_event(struct vmsup *self, uint32_t space, uint64_t address, uint32_t length, const uint8_t *datamatch,
                          struct vmsup_io **out);
int vmsup_destroy_io_event(struct vmsup *self, struct vmsup_io **io);
int vmsup_io_event_fd(struct vmsup_io *io);

/* Part of a memfd, sealed against shrinking, as guest memory from address `start` on. All in bytes, page aligned. */
int vmsup_create_memory(struct vmsup *self, int memfd, uint64_t offset, uint64_t length, uint64_t start, bool read_only,
                        bool dirty_log, struct vmsup_memory **out);
int vmsup_destroy_memory(struct vmsup *self, struct vmsup_memory **memory);
/* One bit a page, in as many bytes as that takes; the bits are cleared by reading. */
int vmsup_memory_get_dirty_log(struct vmsup *self, struct vmsup_memory *memory, uint8_t *log);

/* An eventfd that raises the interrupt, and one that becomes readable when the guest has acknowledged it. */
int vmsup_create_irq_event(struct vmsup *self, uint32_t irq_id, struct vmsup_irq **out);
int vmsup_destroy_irq_event(struct vmsup *self, struct vmsup_irq **irq);
int vmsup_irq_event_get_fd(struct vmsup_irq *irq);
int vmsup_irq_event_get_resample_fd(struct vmsup_irq *irq);

/* The same pointer each time, good as long as any connection. -ENOENT: past the last. */
int vmsup_get_vcpu(struct vmsup *self, uint32_t cpu_id, struct vmsup_vcpu **out);

/* Blocks for the next event, or fails once the VM is ending. Between an event and its resume the functions below may be called. */
int vmsup_vcpu_wait(struct vmsup_vcpu *self, struct vmsup_vcpu_event *event);
int vmsup_vcpu_resume(struct vmsup_vcpu *self);

/* What is set here goes along with the resume. */
int vmsup_vcpu_get_regs(struct vmsup_vcpu *self, struct kvm_regs *regs);
int vmsup_vcpu_set_regs(struct vmsup_vcpu *self, const struct kvm_regs *regs);
int vmsup_vcpu_get_sregs(struct vmsup_vcpu *self, struct kvm_sregs *sregs);
int vmsup_vcpu_set_sregs(struct vmsup_vcpu *self, const struct kvm_sregs *sregs);
int vmsup_vcpu_get_debugregs(struct vmsup_vcpu *self, struct kvm_debugregs *debugregs);
int vmsup_vcpu_set_debugregs(struct vmsup_vcpu *self, const struct kvm_debugregs *debugregs);

int vmsup_vcpu_get_fpu(struct vmsup_vcpu *self, struct kvm_fpu *fpu);
int vmsup_vcpu_set_fpu(struct vmsup_vcpu *self, const struct kvm_fpu *fpu);
int vmsup_vcpu_get_xcrs(struct vmsup_vcpu *self, struct kvm_xcrs *xcrs);
int vmsup_vcpu_set_xcrs(struct vmsup_vcpu *self, const struct kvm_xcrs *xcrs);
int vmsup_vcpu_get_lapic_state(struct vmsup_vcpu *self, struct kvm_lapic_state *state);
int vmsup_vcpu_set_lapic_state(struct vmsup_vcpu *self, const struct kvm_lapic_state *state);
int vmsup_vcpu_get_mp_state(struct vmsup_vcpu *self, struct kvm_mp_state *state);
int vmsup_vcpu_set_mp_state(struct vmsup_vcpu *self, const struct kvm_mp_state *state);
int vmsup_vcpu_get_vcpu_events(struct vmsup_vcpu *self, struct kvm_vcpu_events *events);
int vmsup_vcpu_set_vcpu_events(struct vmsup_vcpu *self, const struct kvm_vcpu_events *events);

/* *out_count is how many were read: fewer than `msr_count` where one is unknown. Setting stops at such a one, too. */
int vmsup_vcpu_get_msrs(struct vmsup_vcpu *self, uint32_t msr_count, struct kvm_msr_entry *msr_entries, uint32_t *out_count);
int vmsup_vcpu_set_msrs(struct vmsup_vcpu *self, uint32_t msr_count, const struct kvm_msr_entry *msr_entries);

int vmsup_vcpu_set_cpuid(struct vmsup_vcpu *self, uint32_t count, const struct kvm_cpuid_entry2 *entries);
int vmsup_get_hyperv_cpuid(struct vmsup_vcpu *self, uint32_t count, struct kvm_cpuid_entry2 *entries, uint32_t *out_count);

/* KVM_CAP_HYPERV_SYNIC or KVM_CAP_HYPERV_SYNIC2, with flags and args all zero. */
int vmsup_vcpu_enable_capability(struct vmsup_vcpu *self, uint32_t capability, uint32_t flags, uint64_t args[4]);

#ifdef __cplusplus
}
#endif

#endif
