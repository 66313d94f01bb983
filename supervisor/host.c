#include "supervisor/host.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sysexits.h>

int
host_open_kvm(struct failure *failure)
{
    int version, fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return failure_set(failure, errno == EACCES || errno == EPERM ? EX_NOPERM : EX_UNAVAILABLE, -errno,
                           "/dev/kvm: %s: expected a host with KVM", strerror(errno));
    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION) {
        fd_close(&fd);
        return failure_set(failure, EX_UNAVAILABLE, -EPROTO, "/dev/kvm speaks version %d: expected %d", version, KVM_API_VERSION);
    }
    return fd;
}
