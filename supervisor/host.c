#include "supervisor/host.h"

#include "common/fd.h"
#include "supervisor/exit_codes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

int
host_open_kvm(struct failure *failure)
{
    int version, fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return failure_set(failure, EXIT_KVM_FAILED, -errno, "/dev/kvm: %s: expected a host with KVM", strerror(errno));
    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version < 0) {
        failure_set(failure, EXIT_KVM_FAILED, -errno, "/dev/kvm is not KVM (%s): expected a host with KVM", strerror(errno));
        fd_close(&fd);
        return -EPROTO;
    }
    if (version != KVM_API_VERSION) {
        fd_close(&fd);
        return failure_set(failure, EXIT_KVM_FAILED, -EPROTO, "/dev/kvm speaks version %d: expected %d", version, KVM_API_VERSION);
    }
    return fd;
}
