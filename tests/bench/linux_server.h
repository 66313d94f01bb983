/*
 * The host's end of the network that a measured Linux guest talks to: a process of its own that does what the first byte of each
 * connection asks for (linux_work.h), until it is killed with its parent. The address may not exist yet when it starts.
 */
#ifndef VMSUP_TESTS_BENCH_LINUX_SERVER_H
#define VMSUP_TESTS_BENCH_LINUX_SERVER_H

#include <sys/types.h>

/* Gives the process, which is the caller's to kill and wait for. */
pid_t linux_server_start(void);

#endif
