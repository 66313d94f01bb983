/*
 * One attempt to get out of a room. The probe is a static program that is started in place of the plugin or of vmproc, with the
 * very jail that they have, and tries the one attempt that its argument names. It answers on descriptor 1 with one line: "done"
 * where the attempt had its way, "errno N" where the kernel refused, "absent: why" where this kernel lacks what the attempt is about.
 * Where a filter stops it, it says nothing more.
 */
#ifndef VMSUP_TESTS_ESCAPE_PROBE_H
#define VMSUP_TESTS_ESCAPE_PROBE_H

#include <stdint.h>
#include <sys/types.h>

/* What the driver has made outside for the probe to reach for; the numbers of descriptors are the same inside. */
#define PROBE_FD_HOST_PIDFD 10 /* a process of the host's */
#define PROBE_FD_HOST_MOUNT_NAMESPACE 11
#define PROBE_FD_TERMINAL 12 /* the terminal of somebody else's session */

/* Passed as arguments: argv[1] names the attempt, argv[2] the process, argv[3] a file, argv[4] the key, all of the host's. */
struct probe_target {
    pid_t process;
    const char *file;
    int32_t key;
};

#define PROBE_ABSTRACT_SOCKET "vmsup-escape-test"

/* 0 where the attempt had its way, a negative errno where it was refused. */
typedef int probe_function(const struct probe_target *target);

struct probe_attempt {
    const char *name;
    probe_function *function;
};

/* By topic, each table ended by an entry without a name. */
extern const struct probe_attempt probe_files[];
extern const struct probe_attempt probe_processes[];
extern const struct probe_attempt probe_kernel[];

#endif
