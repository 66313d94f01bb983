/*
 * One attempt to get out of a room. The probe is a static program that runs in place of the plugin or of vmproc, in the very jail that
 * they have. It is told on descriptor 3 which attempt to make, and given, by the same message, descriptors that an attacker would like to
 * have; it answers on descriptor 1 with one line: "done" where the attempt had its way, "errno N" where the kernel refused. Where a
 * filter stops it, it says nothing more.
 */
#ifndef VMSUP_TESTS_ESCAPE_PROBE_H
#define VMSUP_TESTS_ESCAPE_PROBE_H

#include <errno.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

/* Where the probe hears what to do, and where it puts the descriptors that come along, in this order. */
#define PROBE_FD_COMMAND 3
#define PROBE_FD_HOST_PIDFD 10 /* a process of the host's */
#define PROBE_FD_HOST_MOUNT_NAMESPACE 11
#define PROBE_FD_TERMINAL 12 /* the terminal of somebody else's session */
#define PROBE_FD_TAP 13      /* attached to a link */
#define PROBE_FD_KVM 14      /* /dev/kvm */
#define PROBE_FD_GRANT 15    /* a file of root's that everybody may read, granted for reading alone */
#define PROBE_FDS 6

#define PROBE_ABSTRACT_SOCKET "vmsup-escape-test"

struct probe_command {
    char attempt[40];
    char file[128];  /* a file of the host's */
    pid_t process;   /* a process of the host's, as the host numbers it */
    int32_t key;     /* a key of the session that the jail was started from */
};

/* 0 where the attempt had its way, a negative errno where it was refused. */
typedef int probe_function(const struct probe_command *command);

/* Of an attempt at a descriptor, as a call gives it: it is not needed. */
static inline int
probe_close(long fd)
{
    if (fd < 0)
        return -errno;
    close((int)fd);
    return 0;
}

/* What a filter does, beside the name of a call, which it then is killed for. */
#define PROBE_LET_THROUGH "-" /* to the layer behind it, which refuses */
#define PROBE_FOREIGN "death" /* a call of another architecture is killed unnamed */

struct probe_attempt {
    const char *name;
    probe_function *function;
    /* What the layers behind the filter answer, in the plugin's jail and in vmproc's; 0 where the filter alone stands before it. */
    int refusals[2];
    /* What the filters do: one of the above, the name of the call that it is killed for, or the number of an errno. */
    const char *stops[2];
};

/* By topic, each table ended by an entry without a name. */
extern const struct probe_attempt probe_files[];
extern const struct probe_attempt probe_processes[];
extern const struct probe_attempt probe_kernel[];

#endif
