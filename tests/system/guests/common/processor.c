#include "tests/system/guests/common/processor.h"

#include "plugin/microvm/layout.h"
#include "tests/system/guests/common/machine.h"

#include <stddef.h>

/* The local APIC's registers. */
#define APIC_ID 0x20
#define APIC_EOI 0xb0
#define APIC_SPURIOUS 0xf0
#define APIC_ON 0x1ff
#define APIC_COMMAND 0x300
#define APIC_COMMAND_HIGH 0x310
#define APIC_LINT0 0x350
#define LOCAL_MASKED 0x10000
#define COMMAND_INIT 0x4500
#define COMMAND_STARTUP 0x4600
#define COMMAND_FIXED 0x4000

/* The IOAPIC's, of which each interrupt has two from 0x10 on. */
#define IOAPIC_WINDOW 0x10
#define IOAPIC_ENTRIES 0x10
#define ENTRY_LEVEL 0x8000

/* In real mode, below 1 MiB; what microvm itself leaves in low memory is elsewhere. */
#define TRAMPOLINE 0x8000U

#define CODE_SEGMENT 0x10
#define INTERRUPT_GATE 0x8e00
#define GATES 256
#define FIRST_VECTOR 0x20
/* Those of the IOAPIC, then one by which processors call each other. */
#define INTERRUPTS 24
#define CALL_VECTOR (FIRST_VECTOR + INTERRUPTS)

struct gate {
    uint16_t low, segment, type, middle;
    uint32_t high, reserved;
};

struct __attribute__((packed)) table {
    uint16_t limit;
    uint64_t base;
};

/* Of entry.S: the entries are ENTRY_SIZE bytes apart. */
extern uint8_t processor_entries[], trampoline[], trampoline_end[], trampoline_tables[];
#define ENTRY_SIZE 16

static struct gate gates[GATES];
static struct {
    void (*take)(void *context);
    void *context;
} handlers[INTERRUPTS];
static void (*volatile second_run)(void);

static volatile uint32_t *
apic(unsigned offset)
{
    return (volatile uint32_t *)(uintptr_t)(LAYOUT_LOCAL_APIC + offset);
}

unsigned
processor_number(void)
{
    return *apic(APIC_ID) >> 24;
}

void
processor_close(void)
{
    __asm__ volatile("cli" : : : "memory");
}

void
processor_open(void)
{
    __asm__ volatile("sti" : : : "memory");
}

/* No interrupt comes between the two first instructions. */
void
processor_sleep(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

void
processor_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* --- Interrupts. */

/* From entry.S, on the processor that was interrupted. */
void processor_interrupted(uint64_t vector, uint64_t where);
void
processor_interrupted(uint64_t vector, uint64_t where)
{
    if (vector < FIRST_VECTOR)
        fail("exception %lu at %lu on processor %u", vector, where, processor_number());
    if (vector < CALL_VECTOR)
        handlers[vector - FIRST_VECTOR].take(handlers[vector - FIRST_VECTOR].context);
    *apic(APIC_EOI) = 0;
}

/* KVM has a PIC behind LINT0 of which nobody here knows; it would bring interrupts a second time, as if they were exceptions. */
static void
load_gates(void)
{
    struct table table = { .limit = sizeof gates - 1, .base = (uintptr_t)gates };

    __asm__ volatile("lidt %0" : : "m"(table));
    *apic(APIC_SPURIOUS) = APIC_ON;
    *apic(APIC_LINT0) = LOCAL_MASKED;
    processor_open();
}

void
processor_begin(void)
{
    for (unsigned i = 0; i <= CALL_VECTOR; i++) {
        uintptr_t entry = (uintptr_t)processor_entries + i * ENTRY_SIZE;

        gates[i] = (struct gate){
            .low = (uint16_t)entry,
            .segment = CODE_SEGMENT,
            .type = INTERRUPT_GATE,
            .middle = (uint16_t)(entry >> 16),
            .high = (uint32_t)(entry >> 32),
        };
    }
    load_gates();
}

static void
write_ioapic(unsigned entry, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)LAYOUT_IOAPIC = entry;
    *(volatile uint32_t *)(uintptr_t)(LAYOUT_IOAPIC + IOAPIC_WINDOW) = value;
}

void
processor_route(unsigned gsi, enum processor_trigger trigger, unsigned processor, void (*take)(void *context), void *context)
{
    handlers[gsi].context = context;
    handlers[gsi].take = take;
    write_ioapic(IOAPIC_ENTRIES + 2 * gsi + 1, processor << 24);
    write_ioapic(IOAPIC_ENTRIES + 2 * gsi, (FIRST_VECTOR + gsi) | (trigger == PROCESSOR_LEVEL ? ENTRY_LEVEL : 0));
}

static void
command(unsigned processor, uint32_t what)
{
    *apic(APIC_COMMAND_HIGH) = processor << 24;
    *apic(APIC_COMMAND) = what;
}

void
processor_call(unsigned processor)
{
    command(processor, COMMAND_FIXED | CALL_VECTOR);
}

/* --- The second processor. */

/* Its first instruction in C, with interrupts closed. */
void processor_begin_second(void);
void
processor_begin_second(void)
{
    load_gates();
    second_run();
    for (;;) {
        processor_close();
        processor_sleep();
    }
}

void
processor_wake_second(void (*run)(void))
{
    uint64_t tables;

    second_run = run;
    __asm__ volatile("mov %%cr3, %0" : "=r"(tables));
    *(uint32_t *)(void *)trampoline_tables = (uint32_t)tables;
    memcpy((void *)(uintptr_t)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
    machine_fence();
    command(1, COMMAND_INIT);
    for (int i = 0; i < 100000; i++)
        processor_pause();
    command(1, COMMAND_STARTUP | TRAMPOLINE >> 12);
}
