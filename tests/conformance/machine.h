/*
 * A small machine for the conformance cases: one VM with 64 KiB of memory, the image of all guests at 0x1000, ports 0x500 to 0x51f. Whatever
 * should not be ends the case: check() says where, on descriptor 2, and exits 1. A case that hangs ends after CASE_SECONDS.
 *
 * The cases are written in the interface's original names; the build makes the same program with ours out of them.
 */
#ifndef VMSUP_TESTS_CONFORMANCE_MACHINE_H
#define VMSUP_TESTS_CONFORMANCE_MACHINE_H

#include "api.h"
#include "guests.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SIZE 0x10000
#define IMAGE_ADDRESS 0x1000
#define PORT_FIRST 0x500
#define PORT_COUNT 0x20
#define PORT_END 0x51f
#define MMIO_ADDRESS 0xa0000
#define CASE_SECONDS 10

struct machine {
    struct crosvm *vm;
    struct crosvm_vcpu *vcpu;
    struct crosvm_memory *slot;
    int memory_fd;
    uint8_t *memory;
    struct crosvm_vcpu_event event; /* the last */
};

typedef void case_function(void);

struct conformance_case {
    const char *name;
    case_function *function;
};

/* By topic, each table ended by an entry without a name. */
extern const struct conformance_case cases_connection[], cases_objects[], cases_ranges[], cases_interrupts[], cases_devices[],
    cases_vcpu[], cases_hyperv[], cases_facts[], cases_life[];

#define check(condition)                                                                                                           \
    do {                                                                                                                           \
        if (!(condition)) {                                                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                                          \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

#define check_equal(actual, expected)                                                                                              \
    do {                                                                                                                           \
        const long long actual_ = (long long)(actual), expected_ = (long long)(expected);                                          \
        if (actual_ != expected_) {                                                                                                \
            fprintf(stderr, "%s:%d: %s is %lld (%#llx), %lld (%#llx) was expected\n", __FILE__, __LINE__, #actual, actual_,        \
                    (unsigned long long)actual_, expected_, (unsigned long long)expected_);                                        \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

/* Not on this host: exit code 77. */
void skip(const char *why) __attribute__((noreturn));

/* Connected, with memory and ports; not started. */
void machine_open(struct machine *machine);

/* The same, and started; vCPU 0 is at INIT, not resumed. */
void machine_open_at_init(struct machine *machine);

/* A sealed memfd of `size` bytes. */
int make_memfd(size_t size);

/* Starts it and resumes vCPU 0 from INIT at one of the guests. */
void machine_start(struct machine *machine, unsigned guest);

/* From INIT, which the caller has waited for. */
void machine_enter(struct machine *machine, struct crosvm_vcpu *vcpu, unsigned guest);

/* The same for a guest that wants protected mode, flat. */
void machine_enter_protected(struct machine *machine, struct crosvm_vcpu *vcpu, unsigned guest);

/* The next event is an access of this kind, else the case fails. */
void machine_expect(struct machine *machine, uint64_t address, bool is_write, uint32_t length);
void machine_resume(struct machine *machine);

/* Answers a read, whose length is that of the access. */
void machine_answer(struct machine *machine, uint64_t address, uint32_t length, uint64_t value);

/* Takes a write and gives its value. */
uint64_t machine_take(struct machine *machine, uint64_t address, uint32_t length);

/* The guest has come to its end. */
void machine_finish(struct machine *machine);

/* Whether an eventfd or a socket becomes readable within so many milliseconds. */
bool becomes_readable(int fd, int milliseconds);
uint64_t read_event(int fd);
void write_event(int fd);

#endif
