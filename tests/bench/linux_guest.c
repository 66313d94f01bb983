/*
 * The first process of the Linux that `make bench` boots under both monitors: loads the modules that lie in /modules, measures disk and
 * network from the inside, by the guest's own clock, and prints "bench: NAME<tab>NUMBER" lines on the console. Then it says that it is
 * idle, waits for a line and turns the machine off. It is alone in its initramfs, so that nothing else is measured.
 */
#include "linux_work.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DISK "/dev/vda"
#define DEVICE_SECONDS 20
#define BLOCK_MAX (128 << 10)
/* So long is each kind of work done. */
#define WORK_SECONDS 2.0

static double
now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void
report(const char *name, double number)
{
    printf("bench: %s\t%.0f\n", name, number);
    fflush(stdout);
}

/* --- What a first process has to do. */

static void
load_module(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
        warn("%s", path);
    if (fd >= 0)
        close(fd);
}

/* Their names begin with a number: what others need comes first. */
static void
load_modules(void)
{
    struct dirent **list;
    int count = scandir("/modules", &list, NULL, alphasort);

    for (int i = 0; i < count; i++) {
        char path[512];

        snprintf(path, sizeof path, "/modules/%s", list[i]->d_name);
        if (list[i]->d_name[0] != '.')
            load_module(path);
        free(list[i]);
    }
    if (count >= 0)
        free(list);
}

/* Nothing is mounted before a first process does it, its console included. */
static void
set_up(void)
{
    mkdir("/dev", 0755);
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    if (mount("dev", "/dev", "devtmpfs", 0, "") < 0 && errno != EBUSY)
        warn("/dev");
    mount("proc", "/proc", "proc", 0, "");
    mount("sys", "/sys", "sysfs", 0, "");
    if (freopen("/dev/console", "r", stdin) == NULL || freopen("/dev/console", "w", stdout) == NULL ||
        freopen("/dev/console", "w", stderr) == NULL)
        abort();
}

static void
wait_for(const char *path)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    double until = now() + DEVICE_SECONDS;

    while (access(path, F_OK) < 0) {
        if (now() > until)
            errx(1, "%s did not come", path);
        nanosleep(&moment, NULL);
    }
}

/* --- The disk. */

static void
measure_disk(int fd, off_t disk_size, size_t size, bool writes, const char *name)
{
    void *block;
    uint64_t done = 0;
    double began = now(), end = began;

    if (posix_memalign(&block, 4096, size) != 0)
        errx(1, "memory");
    memset(block, 0x5a, size);
    srandom(1);
    while (end - began < WORK_SECONDS) {
        off_t where = random() % (disk_size / (off_t)size) * (off_t)size;
        ssize_t result = writes ? pwrite(fd, block, size, where) : pread(fd, block, size, where);

        if (result != (ssize_t)size)
            err(1, "%s", name);
        done++;
        end = now();
    }
    report(name, (double)done * (double)size / 1024 / (end - began));
    free(block);
}

static void
measure_disks(void)
{
    static const struct {
        const char *name;
        size_t size;
        bool writes;
    } works[] = {
        { "disk 4k read, KiB/s", 4096, false },
        { "disk 4k write, KiB/s", 4096, true },
        { "disk 128k read, KiB/s", BLOCK_MAX, false },
        { "disk 128k write, KiB/s", BLOCK_MAX, true },
    };
    off_t size;
    int fd;

    wait_for(DISK);
    fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
    size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < BLOCK_MAX)
        err(1, DISK);
    for (size_t i = 0; i < sizeof works / sizeof works[0]; i++)
        measure_disk(fd, size, works[i].size, works[i].writes, works[i].name);
    close(fd);
}

/* --- The network. */

static void
set_address(int control, unsigned long request, const char *address, struct ifreq *interface)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&interface->ifr_addr;

    *in = (struct sockaddr_in){ .sin_family = AF_INET };
    inet_pton(AF_INET, address, &in->sin_addr);
    if (ioctl(control, request, interface) < 0)
        err(1, "%s", address);
}

static void
bring_up(void)
{
    struct ifreq interface = { .ifr_name = "eth0" };
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (control < 0)
        err(1, "socket");
    wait_for("/sys/class/net/eth0");
    set_address(control, SIOCSIFADDR, LINUX_GUEST_ADDRESS, &interface);
    set_address(control, SIOCSIFNETMASK, LINUX_NETMASK, &interface);
    interface.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(control, SIOCSIFFLAGS, &interface) < 0)
        err(1, "eth0");
    close(control);
}

/* Connects and says what the host is to do. The link may need a moment. */
static int
ask_host(char work)
{
    struct sockaddr_in host = { .sin_family = AF_INET, .sin_port = htons(LINUX_PORT) };
    const struct timespec moment = { .tv_nsec = 10000000 };
    const int on = 1;

    inet_pton(AF_INET, LINUX_HOST_ADDRESS, &host.sin_addr);
    for (double until = now() + DEVICE_SECONDS; now() < until; nanosleep(&moment, NULL)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0 && connect(fd, (struct sockaddr *)&host, sizeof host) == 0 && write(fd, &work, 1) == 1) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            return fd;
        }
        if (fd >= 0)
            close(fd);
    }
    err(1, "connecting to the host");
}

/* As much as goes through in the time; what was sent counts once the host has it. */
static void
measure_stream(char work, const char *name)
{
    static char block[BLOCK_MAX];
    int fd = ask_host(work);
    double began = now();
    uint64_t bytes = 0;
    ssize_t moved = 1;

    while (moved > 0 && now() - began < WORK_SECONDS) {
        moved = work == LINUX_SINK ? write(fd, block, sizeof block) : read(fd, block, sizeof block);
        bytes += moved > 0 ? (uint64_t)moved : 0;
    }
    if (moved < 0)
        err(1, "%s", name);
    if (work == LINUX_SINK) {
        shutdown(fd, SHUT_WR);
        if (read(fd, block, 1) != 1)
            err(1, "%s: the host's answer", name);
    }
    report(name, (double)bytes / 1024 / (now() - began));
    close(fd);
}

static void
measure_echo(void)
{
    int fd = ask_host(LINUX_ECHO);
    double began = now();
    unsigned rounds = 0;
    char byte = 0;

    for (; now() - began < WORK_SECONDS; rounds++)
        if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
            err(1, "echo");
    report("network round trip, us", (now() - began) * 1e6 / rounds);
    close(fd);
}

int
main(void)
{
    char line[16];

    set_up();
    puts("bench: userspace");
    fflush(stdout);
    load_modules();
    measure_disks();
    bring_up();
    measure_echo();
    measure_stream(LINUX_SINK, "network guest to host, KiB/s");
    measure_stream(LINUX_SOURCE, "network host to guest, KiB/s");
    puts("bench: idle");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        warnx("nobody waits");
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
