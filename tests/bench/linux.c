/*
 * The bench of Linux guests: the same kernel, initramfs, disk and kind of TAP under vmsup with microvm and under qemu's microvm machine, in
 * turns. What a person waits for, what the guest measures of disk and network, and what the monitor's processes use of memory besides the
 * guest's own. A table on standard output and the same as JSON; every number is a median.
 * usage: linux VMSUP KERNEL INITRD DISK OUT.json, as root, where KVM runs a stock kernel; QEMU=/path names another qemu-system-x86_64
 */
#include "child.h"
#include "linux_server.h"
#include "linux_work.h"
#include "rounds.h"

#include <err.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TURNS 3
#define MEMORY "256M"
#define MAC "02:11:22:33:44:56"
#define QEMU_TAP "vmsupbench0"
/*
 * As few messages as have the first line of all among them: each byte is an exit. Without edd=off the kernel's 16-bit code, which only a
 * BIOS runs, says on the same port that it asks the BIOS for disks, long before the kernel is unpacked: the first byte is to be the same
 * one under both.
 */
#define COMMAND_LINE "console=ttyS0 edd=off loglevel=6 panic=-1 reboot=t"
#define SAID "bench: "
#define FIRST_BYTE "start to first serial byte, us"
#define FIRST_LINE "start to first kernel line, us"
#define USERSPACE "start to userspace, us"
#define OVERHEAD "memory besides the guest's, KiB"

struct monitor {
    const char *name;
    char **argv;
    bool is_vmsup;
    json_t *turn[TURNS];
};

/* The mappings that are the guest's memory. */
static bool
is_guest_memory(const char *mapping)
{
    return strstr(mapping, "/memfd:guest") != NULL || strstr(mapping, "/memfd:memory-backend") != NULL;
}

/* Proportional set size in KiB of all that is not the guest's memory. A mapping's first line has no colon behind its first word. */
static long
overhead_of(pid_t pid)
{
    char path[PATH_MAX], line[PATH_MAX];
    bool counts = false;
    long sum = 0, size;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    file = fopen(path, "re");
    if (file == NULL)
        err(1, "%s", path);
    while (fgets(line, sizeof line, file) != NULL) {
        size_t word = strcspn(line, " \n");

        if (word > 0 && line[word - 1] != ':')
            counts = !is_guest_memory(line);
        else if (counts && sscanf(line, "Pss: %ld", &size) == 1)
            sum += size;
    }
    fclose(file);
    return sum;
}

static json_t *
measure_overhead(const struct monitor *monitor, pid_t pid)
{
    struct vm_processes processes;
    long sum = 0;

    if (!monitor->is_vmsup)
        return json_integer(overhead_of(pid));
    processes = child_find_vm(pid);
    for (int i = 0; i < CHILD_VM_PROCESSES; i++)
        sum += overhead_of(processes.pid[i]);
    return json_integer(sum);
}

static void
set_time(json_t *results, const char *name, uint64_t began)
{
    if (json_object_get(results, name) == NULL)
        json_object_set_new(results, name, json_integer((json_int_t)((bench_now() - began) / 1000)));
}

/* One line of the guest's console: what it measured, or where it is. true: it waits to be turned off. */
static bool
take_line(char *line, json_t *results, uint64_t began)
{
    char *said = strstr(line, SAID), *tab;

    if (strstr(line, "] Linux version ") != NULL)
        set_time(results, FIRST_LINE, began);
    if (said == NULL)
        return false;
    said += strlen(SAID);
    tab = strchr(said, '\t');
    if (strncmp(said, "userspace", 9) == 0) {
        set_time(results, USERSPACE, began);
    } else if (tab != NULL) {
        *tab = '\0';
        json_object_set_new(results, said, json_integer(strtoll(tab + 1, NULL, 10)));
    }
    return strncmp(said, "idle", 4) == 0;
}

static json_t *
run_guest(const struct monitor *monitor)
{
    uint64_t began = bench_now();
    struct child child = child_run(monitor->argv, CHILD_ANY_CPU);
    json_t *results = json_object();
    char line[1024];
    int first = fgetc(child.out);

    if (first == EOF)
        errx(1, "%s: nothing came from the guest", monitor->name);
    set_time(results, FIRST_BYTE, began);
    ungetc(first, child.out);
    while (fgets(line, sizeof line, child.out) != NULL) {
        if (!take_line(line, results, began))
            continue;
        json_object_set_new(results, OVERHEAD, measure_overhead(monitor, child.pid));
        fputs("off\n", child.in);
        fflush(child.in);
    }
    if (json_object_get(results, OVERHEAD) == NULL)
        errx(1, "%s: the guest did not come to its end; the last line was: %s", monitor->name, line);
    child_end(&child);
    return results;
}

static int
compare_numbers(const void *a, const void *b)
{
    const long long first = *(const long long *)a, second = *(const long long *)b;

    return (first > second) - (first < second);
}

static long long
median_of(const struct monitor *monitor, const char *name)
{
    long long number[TURNS];

    for (int i = 0; i < TURNS; i++)
        number[i] = json_integer_value(json_object_get(monitor->turn[i], name));
    qsort(number, TURNS, sizeof number[0], compare_numbers);
    return number[TURNS / 2];
}

static json_t *
compare(const struct monitor *vmsup, const struct monitor *qemu)
{
    json_t *report = json_object(), *value;
    const char *name;

    printf("%-36s %12s %12s %8s\n", "Linux (medians)", vmsup->name, qemu->name, "times");
    json_object_foreach (vmsup->turn[0], name, value) {
        const long long ours = median_of(vmsup, name), theirs = median_of(qemu, name);

        printf("%-36s %12lld %12lld %8.2f\n", name, ours, theirs, theirs > 0 ? (double)ours / (double)theirs : 0.0);
        json_object_set_new(report, name, json_pack("{sI sI}", vmsup->name, (json_int_t)ours, qemu->name, (json_int_t)theirs));
    }
    return report;
}

static void
run_command(const char *command)
{
    if (system(command) != 0)
        errx(1, "failed: %s", command);
}

/* vmsup makes a TAP for each start; for qemu there is one that has the same address, while vmsup's is gone. */
static void
plug_qemu_tap(bool plug)
{
    if (!plug) {
        run_command("ip link delete " QEMU_TAP);
        return;
    }
    run_command("ip tuntap add dev " QEMU_TAP " mode tap vnet_hdr && ip address add " LINUX_HOST_ADDRESS "/30 dev " QEMU_TAP
                " && ip link set " QEMU_TAP " up");
}

static char *
joined(const char *before, const char *text)
{
    char *whole;

    if (asprintf(&whole, "%s%s", before, text) < 0)
        err(1, "memory");
    return whole;
}

static json_t *
measure(char *vmsup_program, char *kernel, char *initrd, char *disk)
{
    char *qemu_program = getenv("QEMU");
    struct monitor vmsup = {
        .name = "vmsup",
        .is_vmsup = true,
        .argv = (char *[]){ vmsup_program, "start", "-f", "--log-level", "warning", "--kernel", kernel, "--initrd", initrd, "--disk", disk,
                            "--memory", MEMORY, "--cmdline", COMMAND_LINE, "--host-ip", LINUX_HOST_ADDRESS, "--netmask", LINUX_NETMASK,
                            "--mac", MAC, "bench", NULL },
    };
    struct monitor qemu = {
        .name = "qemu",
        .argv = (char *[]){ qemu_program != NULL ? qemu_program : "/usr/bin/qemu-system-x86_64",
                            "-M", "microvm,accel=kvm,memory-backend=ram,pit=off,pic=off", "-cpu", "host", "-m", MEMORY,
                            "-object", joined("memory-backend-memfd,id=ram,share=on,size=", MEMORY),
                            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
                            "-kernel", kernel, "-initrd", initrd, "-append", COMMAND_LINE,
                            "-global", "virtio-mmio.force-legacy=false",
                            "-drive", joined("if=none,id=disk,format=raw,file=", disk), "-device", "virtio-blk-device,drive=disk",
                            "-netdev", joined("tap,id=net,script=no,downscript=no,ifname=", QEMU_TAP),
                            "-device", joined("virtio-net-device,netdev=net,mac=", MAC), NULL },
    };

    for (int turn = 0; turn < TURNS; turn++) {
        vmsup.turn[turn] = run_guest(&vmsup);
        plug_qemu_tap(true);
        qemu.turn[turn] = run_guest(&qemu);
        plug_qemu_tap(false);
    }
    return compare(&vmsup, &qemu);
}

int
main(int argc, char **argv)
{
    json_t *report;
    pid_t server;

    if (argc != 6)
        errx(64, "usage: linux VMSUP KERNEL INITRD DISK OUT.json");
    server = linux_server_start();
    report = measure(argv[1], argv[2], argv[3], argv[4]);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    if (json_dump_file(report, argv[5], JSON_INDENT(2)) < 0)
        errx(1, "%s could not be written", argv[5]);
    json_decref(report);
    return 0;
}
