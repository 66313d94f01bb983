/*
 * What a start costs: from the launch of a program to its main (or its plugin's), to the guest's first exit, and until all of it is gone;
 * and what memory a VM has to itself while it does nothing. Whatever fails ends the bench with a line that says what.
 */
#ifndef VMSUP_TESTS_BENCH_START_H
#define VMSUP_TESTS_BENCH_START_H

#include <jansson.h>

/*
 * Both programs are in the folder of the bench's. Into `report`: "floor start" and "start", each with "main", "first exit" and "all gone",
 * each with "median" and "p99" in microseconds; "memory", with "private dirty" and "proportional" of each process in KiB.
 */
void start_measure(const char *folder, json_t *report);

/* What start_measure() put there, as a table on standard output. */
void start_print(const json_t *report);

#endif
