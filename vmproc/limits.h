/*
 * Everything that a plugin can make the VM process keep or do, with its limit. A plugin is hostile, or taken over by
 * its guest; what it asks for beyond a limit is answered with an errno, never served. The limits of the wire itself are
 * in proto/wire.h.
 */
#ifndef VMSUP_VMPROC_LIMITS_H
#define VMSUP_VMPROC_LIMITS_H

#include "proto/wire.h"

/* vCPUs of one VM: as many as one GetVcpus answer can carry the pipes of. */
#define LIMIT_VCPUS WIRE_VCPUS_MAX

/* Main connections at once, the first one counted. -EMFILE */
#define LIMIT_CONNECTIONS 64

/* Objects of each kind; KVM has limits of its own behind these. -ENOSPC */
#define LIMIT_IO_EVENTS 512
#define LIMIT_IRQ_EVENTS 256
#define LIMIT_MEMORY_SLOTS 500

/* Reserved ranges of both address spaces together. -ENOSPC */
#define LIMIT_RANGES 1024

/* Routes in the table, and the first GSI that no route or irq event may have (KVM_MAX_IRQ_ROUTES). -EINVAL */
#define LIMIT_ROUTES 4096
#define LIMIT_GSI 4096

/* Entries of one CPUID, MSR list and MSR request: those of KVM (KVM_MAX_CPUID_ENTRIES, MAX_IO_MSRS - 1). -E2BIG */
#define LIMIT_CPUID_ENTRIES 256
#define LIMIT_MSR_INDICES 2048
#define LIMIT_MSRS 255

/* Details of a call hint; a fact of the interface. -EINVAL */
#define LIMIT_HINT_DETAILS 32

/*
 * Memory for one unpacked request: a main request is 4 KiB, a vCPU's 256 KiB. Too little: the request cannot be
 * decoded.
 */
#define LIMIT_REQUEST_ARENA (1024 * 1024)
#define LIMIT_REPLY_ARENA (1024 * 1024)
#define LIMIT_VCPU_ARENA (4 * 1024 * 1024)

/* set_irq by one VM: so many a second, so many at once. Beyond it a connection is not read until its turn comes. */
#define LIMIT_SET_IRQ_RATE 50000
#define LIMIT_SET_IRQ_BURST 5000

/*
 * Lines of the log about what the plugin or the guest did wrong: so many a second, so many at once. Others are counted.
 */
#define LIMIT_LOG_RATE 5
#define LIMIT_LOG_BURST 40

/* How long a vCPU may poll in the kernel for a wake-up before it sleeps, in nanoseconds. */
#define LIMIT_HALT_POLL_NS 50000

/*
 * How long a guest may keep its processor from taking interrupts, in TSC cycles, before KVM tells
 * (KVM_CAP_X86_NOTIFY_VMEXIT).
 */
#define LIMIT_NOTIFY_WINDOW 0x100000

/*
 * What each locked access across cache lines costs the vCPU that makes it, in milliseconds: it stops the whole host's
 * bus.
 */
#define LIMIT_BUS_LOCK_DELAY_MS 1

/* How often a vCPU that is to end is kicked again, in milliseconds: a signal may come just before it blocks. */
#define LIMIT_KICK_INTERVAL_MS 2

/*
 * How often the ring of coalesced writes is looked at where no vCPU comes out of the guest, in milliseconds: so soon after one was found
 * there, and half as often each time that none is, down to this.
 */
#define LIMIT_COALESCED_MS_MIN 5
#define LIMIT_COALESCED_MS_MAX 80

/* The stack of a vCPU's thread. */
#define LIMIT_VCPU_STACK (256 * 1024)

/* The text of an ending. */
#define LIMIT_ENDED_TEXT 200

#endif
