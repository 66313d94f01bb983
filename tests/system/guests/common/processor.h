/*
 * A guest's processors and their interrupts: the local APICs, the IOAPIC, and the second processor, which is woken by INIT and SIPI and
 * then runs in 64 bits like the first. A handler runs on the processor that its interrupt was routed to, with interrupts closed. Any other
 * exception is said in a line that begins with FAILED.
 */
#ifndef VMSUP_TESTS_SYSTEM_GUESTS_COMMON_PROCESSOR_H
#define VMSUP_TESTS_SYSTEM_GUESTS_COMMON_PROCESSOR_H

#include <stdint.h>

#define PROCESSORS 2

enum processor_trigger {
    PROCESSOR_EDGE,
    PROCESSOR_LEVEL,
};

/* On the first processor, once: its interrupts are open from then on. */
void processor_begin(void);

/* Its number, which is its APIC's: 0, or 1 for the second. */
unsigned processor_number(void);

/* `run` begins on the second processor, with its interrupts open; when it returns, the processor sleeps, but takes its interrupts. */
void processor_wake_second(void (*run)(void));

/* From now on the interrupt, 0 to 23, is taken by this processor. */
void processor_route(unsigned gsi, enum processor_trigger trigger, unsigned processor, void (*take)(void *context), void *context);

/* Another processor that sleeps looks again. */
void processor_call(unsigned processor);

/* Takes no interrupts from here on, or takes them again. */
void processor_close(void);
void processor_open(void);

/* With interrupts closed: sleeps until one has come and was taken. None is missed that comes after the closing. */
void processor_sleep(void);

/* While it waits for another processor. */
void processor_pause(void);

#endif
