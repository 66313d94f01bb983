/*
 * What the bench of Linux guests and its two halves agree upon: addresses, and what the guest asks of the host over TCP by the first
 * byte of a connection. Constants alone; nothing is owned and nothing can fail.
 */
#ifndef VMSUP_TESTS_BENCH_LINUX_WORK_H
#define VMSUP_TESTS_BENCH_LINUX_WORK_H

#include <stdbool.h>

#define LINUX_HOST_ADDRESS "10.119.200.1"
#define LINUX_GUEST_ADDRESS "10.119.200.2"
#define LINUX_NETMASK "255.255.255.252"
#define LINUX_PORT 5201

/* Take all until the end and answer with a byte; give for as long as it is taken; give each byte back. */
#define LINUX_SINK 's'
#define LINUX_SOURCE 'g'
#define LINUX_ECHO 'e'

#endif
