/*
 * What a guest of ours, a kernel for microvm in C, has of its machine: ports, a serial port to say what it found and to hear from, words
 * of its command line, and a way off. It runs on bare processors, without a library. Each guest defines guest_main(), which the first
 * processor runs, or the second where the command line has the word "second"; when it returns, the machine is turned off. What is not as
 * it should be is said in a line that begins with FAILED, and then the machine is turned off, too: whoever started it reads the lines.
 */
#ifndef VMSUP_TESTS_SYSTEM_GUESTS_COMMON_MACHINE_H
#define VMSUP_TESTS_SYSTEM_GUESTS_COMMON_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void guest_main(void);

uint8_t port_read(uint16_t port);
void port_write(uint16_t port, uint8_t value);

/* Everything that was written before is visible before anything that follows is read. */
void machine_fence(void);

/* %s, %u (unsigned), %lu (uint64_t) and %x (unsigned) are known; of one processor at a time. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The next byte of the serial port, by its interrupt. For the first processor, which nothing else interrupts meanwhile. */
char machine_hear(void);

/* Whether the command line has this word. */
bool machine_was_told(const char *word);

void machine_off(void) __attribute__((noreturn));

/* Says "FAILED: " and what, and turns the machine off. */
#define fail(...)               \
    do {                        \
        say("FAILED: "); \
        say(__VA_ARGS__);       \
        say("\n");              \
        machine_off();          \
    } while (0)

#define expect(condition, ...)  \
    do {                        \
        if (!(condition))       \
            fail(__VA_ARGS__);  \
    } while (0)

/* What the compiler makes of loops and assignments. */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *one, const void *other, size_t size);

#endif
