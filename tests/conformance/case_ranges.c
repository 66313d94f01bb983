/* Which accesses are reported, how, and with what. */
#include "machine.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void
reserve_range_reports_ports_of_each_width(void)
{
    struct machine machine;

    machine_open(&machine);
    machine_start(&machine, GUEST_PORTS);
    machine_answer(&machine, 0x500, 1, 0xab);
    check_equal(machine_take(&machine, 0x501, 1), 0xab);
    machine_answer(&machine, 0x502, 2, 0xbeef);
    check_equal(machine_take(&machine, 0x504, 2), 0xbeef);
    machine_answer(&machine, 0x508, 4, 0x12345678);
    check_equal(machine_take(&machine, 0x50c, 4), 0x12345678);
    machine_finish(&machine);
}

static void
reserve_range_reports_memory_addresses(void)
{
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_reserve_range(machine.vm, CROSVM_ADDRESS_SPACE_MMIO, MMIO_ADDRESS, 0x1000), 0);
    machine_start(&machine, GUEST_MMIO);
    machine_expect(&machine, MMIO_ADDRESS, false, 1);
    check_equal(machine.event.io_access.address_space, CROSVM_ADDRESS_SPACE_MMIO);
    machine.event.io_access.data[0] = 0x21;
    machine_resume(&machine);
    check_equal(machine_take(&machine, MMIO_ADDRESS + 4, 1), 0x21);
    machine_take(&machine, MMIO_ADDRESS + 8, 2);
    machine_finish(&machine);
}

static void
reserve_range_refuses_what_is_wrong(void)
{
    const uint32_t ports = CROSVM_ADDRESS_SPACE_IOPORT, mmio = CROSVM_ADDRESS_SPACE_MMIO;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_reserve_range(machine.vm, ports, 0x510, 4), -EPERM);
    check_equal(crosvm_reserve_range(machine.vm, ports, 0x4ff, 2), -EPERM);
    check_equal(crosvm_reserve_range(machine.vm, ports, 0x51f, 1), -EPERM);
    check_equal(crosvm_reserve_async_write_range(machine.vm, ports, 0x400, 0x200), -EPERM);
    check_equal(crosvm_reserve_range(machine.vm, ports, 0x520, 1), 0);
    check_equal(crosvm_reserve_range(machine.vm, mmio, 0x500, 1), 0);
    check_equal(crosvm_reserve_range(machine.vm, mmio, UINT64_MAX, 1), -EINVAL);
    check_equal(crosvm_reserve_range(machine.vm, mmio, UINT64_MAX - 1, 1), 0);
    check_equal(crosvm_reserve_range(machine.vm, mmio, UINT64_MAX - 8, UINT64_MAX), -EINVAL);
    check_equal(crosvm_reserve_range(machine.vm, ports, 0x700, 0), -ENOENT);
    check_equal(crosvm_reserve_range(machine.vm, 2, 0x700, 1), -EINVAL);
}

static void
reserve_range_of_length_0_releases(void)
{
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_reserve_range(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x600, 1), 0);
    check_equal(crosvm_reserve_range(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x600, 0), 0);
    machine_start(&machine, GUEST_UNCLAIMED);
    /* The read gave zeroes, the write was dropped, and neither came here. */
    check_equal(machine_take(&machine, 0x500, 1), 0);
    machine_finish(&machine);
}

static void
an_access_is_reported_where_it_starts(void)
{
    struct machine machine;

    machine_open(&machine);
    machine_start(&machine, GUEST_EDGES);
    check_equal(machine_take(&machine, 0x51e, 2), 0x3344);
    machine_finish(&machine);
}

static void
strings_are_one_event(void)
{
    struct machine machine;

    machine_open(&machine);
    machine_start(&machine, GUEST_STRINGS);
    machine_expect(&machine, 0x500, false, 16);
    memcpy(machine.event.io_access.data, "sixteen letters.", 16);
    machine_resume(&machine);
    /* KVM gives what goes out byte by byte, or all at once. */
    for (size_t done = 0; done < 16;) {
        check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
        check_equal(machine.event.io_access.address, 0x501);
        check(machine.event.io_access.length <= 16 - done);
        check(memcmp(machine.event.io_access.data, &"sixteen letters."[done], machine.event.io_access.length) == 0);
        done += machine.event.io_access.length;
        machine_resume(&machine);
    }
    machine_finish(&machine);
}

static void
reserve_async_write_range_does_not_wait(void)
{
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_reserve_async_write_range(machine.vm, CROSVM_ADDRESS_SPACE_IOPORT, 0x580, 1), 0);
    machine_start(&machine, GUEST_ASYNC);
    for (unsigned i = 1; i < 9; i++) {
        machine_expect(&machine, 0x580, true, 1);
        check_equal(machine.event.io_access.no_resume, 1);
        check_equal(machine.event.io_access.data[0], i);
    }
    /* A read there gives zeroes without an event; and the order of events is kept. */
    machine_expect(&machine, 0x500, true, 1);
    check_equal(machine.event.io_access.no_resume, 0);
    check_equal(machine.event.io_access.data[0], 0);
    machine_resume(&machine);
    machine_finish(&machine);
}

/* The original has no such function. */
#ifndef CROSVM_H
static void
expect_coalesced(struct machine *machine, uint64_t address, uint8_t value)
{
    machine_expect(machine, address, true, 1);
    check_equal(machine->event.io_access.no_resume, 1);
    check_equal(machine->event.io_access.data[0], value);
}

/* More than the kernel keeps; in order, and before the read. The last comes though nothing comes after it. */
static void
coalesce_range_tells_writes_later(void)
{
    const uint32_t ports = CROSVM_ADDRESS_SPACE_IOPORT;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_coalesce_range(machine.vm, ports, 0x580, 2), 0);
    check_equal(crosvm_coalesce_range(machine.vm, ports, 0x581, 1), -EPERM);
    check_equal(crosvm_coalesce_range(machine.vm, ports, 0x600, 0), -ENOENT);
    check_equal(crosvm_coalesce_range(machine.vm, CROSVM_ADDRESS_SPACE_MMIO, 0x100000000, 0x100000000), -EINVAL);
    machine_start(&machine, GUEST_COALESCED);
    for (unsigned i = 0; i < 400; i++)
        expect_coalesced(&machine, 0x580, (uint8_t)i);
    machine_answer(&machine, 0x580, 1, 0x41);
    check_equal(machine_take(&machine, 0x500, 1), 0x41);
    expect_coalesced(&machine, 0x581, 0x41);
}
#endif

/* The library's own end of the vCPU's requests: while it leads nowhere, a request would never be answered. */
static int
find_request_pipe(void)
{
    struct stat status;

    for (int fd = 4; fd < 64; fd++)
        if (fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
            return fd;
    return -1;
}

static void
set_hypercall_hint_sends_registers(void)
{
    struct crosvm_hint_detail details[2] = {
        { .match_rbx = true, .rbx = 5, .send_debugregs = true },
        { .match_rax = true, .rax = 0, .match_rcx = true, .rcx = 0x1234, .send_sregs = true },
    };
    struct crosvm_hint hint = { .address_space = CROSVM_ADDRESS_SPACE_IOPORT, .address = 0x500, .details_count = 2, .details = details };
    struct kvm_regs regs = { .rip = IMAGE_ADDRESS + GUEST_READS, .rcx = 0x1234, .rflags = 2 };
    struct machine machine;
    struct kvm_sregs sregs;
    int pipe_end, kept, elsewhere[2];

    machine_open(&machine);
    check_equal(crosvm_set_hypercall_hint(machine.vm, 1, &hint), 0);
    check_equal(crosvm_start(machine.vm), 0);
    check_equal(crosvm_vcpu_wait(machine.vcpu, &machine.event), 0);
    check_equal(crosvm_vcpu_get_sregs(machine.vcpu, &sregs), 0);
    sregs.cs.base = sregs.cs.selector = 0;
    sregs.ds.selector = sregs.ds.base = 0;
    check_equal(crosvm_vcpu_set_sregs(machine.vcpu, &sregs), 0);
    check_equal(crosvm_vcpu_set_regs(machine.vcpu, &regs), 0);
    machine_resume(&machine);
    machine_expect(&machine, 0x500, false, 1);
    pipe_end = find_request_pipe();
    check(pipe_end >= 0);
    kept = dup(pipe_end);
    check_equal(pipe2(elsewhere, O_CLOEXEC), 0);
    check(dup2(elsewhere[1], pipe_end) >= 0);
    check_equal(crosvm_vcpu_get_regs(machine.vcpu, &regs), 0);
    check_equal(regs.rcx, 0x1234);
    check_equal(regs.rdx, 0x500);
    check_equal(crosvm_vcpu_get_sregs(machine.vcpu, &sregs), 0);
    check_equal(sregs.cs.selector, 0);
    check(dup2(kept, pipe_end) >= 0);
    check_equal(crosvm_set_hypercall_hint(machine.vm, 0, NULL), 0);
    machine_resume(&machine);
    machine_expect(&machine, 0x500, false, 1);
}

static void
set_hypercall_hint_refuses_what_is_wrong(void)
{
    struct crosvm_hint_detail details[33] = { 0 };
    const struct crosvm_hint good = { .address_space = CROSVM_ADDRESS_SPACE_IOPORT, .address = 0x500 };
    struct crosvm_hint hint = good;
    struct machine machine;

    machine_open(&machine);
    check_equal(crosvm_set_hypercall_hint(machine.vm, 1, &hint), 0);
    check_equal(crosvm_set_hypercall_hint(machine.vm, 2, &hint), -EINVAL);
    hint.address = 0;
    check_equal(crosvm_set_hypercall_hint(machine.vm, 1, &hint), -EINVAL);
    hint = good;
    hint.hint_version = 1;
    check_equal(crosvm_set_hypercall_hint(machine.vm, 1, &hint), -EINVAL);
    hint = good;
    hint._reserved = 1;
    check_equal(crosvm_set_hypercall_hint(machine.vm, 1, &hint), -EINVAL);
    hint = good;
    hint.address_flags = 2;
    check_equal(crosvm_set_hypercall_hint(machine.vm, 1, &hint), -EINVAL);
    hint = good;
    hint.details_count = 33;
    hint.details = details;
    check_equal(crosvm_set_hypercall_hint(machine.vm, 1, &hint), -EINVAL);
}

const struct conformance_case cases_ranges[] = {
    { "reserve_range_reports_ports_of_each_width", reserve_range_reports_ports_of_each_width },
    { "reserve_range_reports_memory_addresses", reserve_range_reports_memory_addresses },
    { "reserve_range_refuses_what_is_wrong", reserve_range_refuses_what_is_wrong },
    { "reserve_range_of_length_0_releases", reserve_range_of_length_0_releases },
    { "an_access_is_reported_where_it_starts", an_access_is_reported_where_it_starts },
    { "strings_are_one_event", strings_are_one_event },
    { "reserve_async_write_range_does_not_wait", reserve_async_write_range_does_not_wait },
#ifndef CROSVM_H
    { "coalesce_range_tells_writes_later", coalesce_range_tells_writes_later },
#endif
    { "set_hypercall_hint_sends_registers", set_hypercall_hint_sends_registers },
    { "set_hypercall_hint_refuses_what_is_wrong", set_hypercall_hint_refuses_what_is_wrong },
    { 0 },
};
