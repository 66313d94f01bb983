/*
 * What an exit costs: the bench's guest answered in every way there is, one after the other and again, since a host's speed changes. Whatever
 * fails ends the bench with a line that says what.
 */
#ifndef VMSUP_TESTS_BENCH_EXITS_H
#define VMSUP_TESTS_BENCH_EXITS_H

#include <jansson.h>

/*
 * The programs are in the folder of the bench's. Into `report`: "exits", which has for each way and each work "p50", "p99" and "mean" in
 * nanoseconds; "exchange", the same without a guest; "exits a second" by the number of vCPUs; and "idle ticks", the clock ticks of
 * processor time that a VM whose guest does nothing takes in ten seconds.
 */
void exits_measure(const char *folder, json_t *report);

/* What exits_measure() put there, as tables on standard output. */
void exits_print(const json_t *report);

#endif
