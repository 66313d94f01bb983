/*
 * The first serial port: a 16550A between the guest and two descriptors, with a thread that moves the bytes. No byte is lost in either
 * direction: a guest that does not read leaves input where it comes from, and one that writes faster than the descriptor takes it
 * finds the transmitter busy, and waits in the write when it does not look. The descriptors are borrowed; from a negative input nothing
 * comes. The interrupt is level-triggered: its eventfd raises it until the guest's end of interrupt, which the other eventfd tells.
 */
#ifndef VMSUP_PLUGIN_MICROVM_SERIAL_H
#define VMSUP_PLUGIN_MICROVM_SERIAL_H

#include "plugin/microvm/bus.h"

#include <pthread.h>
#include <stdbool.h>

#define SERIAL_RING_SIZE 4096

struct serial_ring {
    uint8_t bytes[SERIAL_RING_SIZE];
    size_t first, count;
};

struct serial {
    pthread_mutex_t lock;
    pthread_cond_t drained; /* output went out */
    int input, output;
    int trigger, resample;
    int wake; /* own: the thread is to look again */
    bool input_ended, output_failed;
    struct serial_ring received, sent;
    uint8_t interrupt_enable, line_control, modem_control, scratch;
    uint8_t divisor[2];
    bool fifo, empty_pending, raised;
};

/* 0 or a negative errno. */
int serial_init(struct serial *serial, int input, int output, int trigger, int resample);

/* Starts the thread, which runs until the process ends. 0 or a negative errno. */
int serial_start(struct serial *serial);

/* Waits until all output went out, at most so long. */
void serial_flush(struct serial *serial, unsigned milliseconds);

/* For a bus; `device` is the struct serial. */
extern const struct device_operations serial_operations;

#endif
