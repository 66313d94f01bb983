/*
 * The VM process: it holds one VM of KVM's and serves one plugin. The supervisor starts it in a jail with descriptor 0
 * on /dev/null, 1 and 2 on the log pipe, and 3 on the control socket; everything else comes over that socket. It opens
 * nothing.
 */
#include "common/fd.h"
#include "common/log.h"
#include "vmproc/control.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define CONTROL_FD 3

int
main(void)
{
    struct stat status;

    if (fstat(CONTROL_FD, &status) < 0 || !S_ISSOCK(status.st_mode)) {
        fputs("vmproc: the VM process of vmsup, which starts it; it is of no use by hand: see vmsup(8)\n", stderr);
        return EX_USAGE;
    }
#ifndef VMSUP_SANITIZED
    /* What it knows of the guest is for no core dump, and for no process of its uid to look at. The exec before made it dumpable. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0) {
        perror("vmproc: cannot be kept from being dumped");
        return EX_OSERR;
    }
#endif
    /* A supervisor that does not read must not stop the VM: what the log pipe does not take is lost. */
    if (fstat(STDERR_FILENO, &status) == 0 && S_ISFIFO(status.st_mode))
        fd_set_nonblocking(STDERR_FILENO, true);
    log_init("vmproc", LOG_STYLE_PIPE, STDERR_FILENO, LOG_LEVEL_INFO);
    return control_run(CONTROL_FD);
}
