/*
 * What the tests of the jail put into it. By its first argument it tells what it sees (a line each, a word and its value), tells how its
 * attacks fare (a line each, a word and an errno's name, or "done"), sleeps, crashes or exits.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DESCRIPTORS 4096

/* The lines of `path` that begin with one of `words`, as they are. */
static void
copy_lines(const char *path, const char *const *words)
{
    char line[512];
    FILE *file = fopen(path, "re");

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        for (size_t i = 0; words[i] != NULL; i++)
            if (strncmp(line, words[i], strlen(words[i])) == 0)
                fputs(line, stdout);
    if (file != NULL)
        fclose(file);
}

static void
tell_folder(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    struct stat status;

    if (folder == NULL || stat(path, &status) < 0) {
        printf("folder %s %s\n", path, strerrorname_np(errno));
        return;
    }
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            printf("entry %s %s\n", path, entry->d_name);
    closedir(folder);
}

static void
tell_limits(void)
{
    static const int resources[] = { RLIMIT_CORE, RLIMIT_NOFILE, RLIMIT_NPROC };
    struct rlimit limit;

    for (size_t i = 0; i < sizeof resources / sizeof resources[0]; i++)
        if (getrlimit((__rlimit_resource_t)resources[i], &limit) == 0)
            printf("limit %d %llu %llu\n", resources[i], (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
}

static void
tell_network(void)
{
    struct ifreq request = { .ifr_name = "lo" };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    for (unsigned index = 1; index < 64 && fd >= 0; index++) {
        struct ifreq each = { .ifr_ifindex = (int)index };

        if (ioctl(fd, SIOCGIFNAME, &each) == 0)
            printf("link %s\n", each.ifr_name);
    }
    if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0)
        printf("lo %s\n", (request.ifr_flags & IFF_UP) != 0 ? "up" : "down");
    if (fd >= 0)
        close(fd);
}

/* Whether this program could be had again, by way of /proc, from a mount that may be written. */
static void
tell_program_mount(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct statvfs system;

    if (fd < 0 || fstatvfs(fd, &system) < 0) {
        printf("program-mount none\n");
        return;
    }
    printf("program-mount%s%s%s\n", (system.f_flag & ST_RDONLY) != 0 ? " read-only" : "", (system.f_flag & ST_NOSUID) != 0 ? " nosuid" : "",
           (system.f_flag & ST_NODEV) != 0 ? " nodev" : "");
    close(fd);
}

static void
tell(void)
{
    static const char *const status_lines[] = { "Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp:", "NSpid:", "SigBlk:", "SigIgn:", NULL };
    static const char *const score_lines[] = { "", NULL };
    static const char *const cgroup_lines[] = { "0::", NULL };
    char cwd[512], program[512] = "";
    struct utsname system;
    int signal_number = 0;
    mode_t mask = umask(0);

    for (int fd = 0; fd < DESCRIPTORS; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("descriptor %d\n", fd);
    copy_lines("/proc/self/status", status_lines);
    printf("score ");
    copy_lines("/proc/self/oom_score_adj", score_lines);
    uname(&system);
    prctl(PR_GET_PDEATHSIG, &signal_number);
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        strcpy(program, "none");
    printf("host %s\npid %d\nparent %d\nsession %d\numask %o\ndeath-signal %d\nsecurebits %d\nprogram %s\n", system.nodename, getpid(),
           getppid(), getsid(0), mask, signal_number, prctl(PR_GET_SECUREBITS), program);
    printf("cgroup ");
    copy_lines("/proc/self/cgroup", cgroup_lines);
    printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
    printf("cwd %s\n", getcwd(cwd, sizeof cwd) != NULL ? cwd : "none");
    tell_limits();
    tell_network();
    tell_folder("/");
    tell_folder("/dev");
    copy_lines("/proc/self/mounts", score_lines);
    tell_program_mount();
}

static void
outcome(const char *name, long result)
{
    printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "done");
}

static void
attack_ids(void)
{
    gid_t group = 5000;
    int fd;

    outcome("setuid", setresuid(1, 1, 1));
    outcome("setgid", setresgid(1, 1, 1));
    outcome("setgroups", setgroups(1, &group));
    outcome("securebits", prctl(PR_SET_SECUREBITS, 0));
    outcome("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0, 0, 0));
    outcome("user-namespace", unshare(CLONE_NEWUSER));
    outcome("user-namespace-clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
    outcome("mount-namespace", unshare(CLONE_NEWNS));
    outcome("host-name", sethostname("free", 4));
    outcome("kill", kill(2, SIGKILL));
    outcome("limit", setrlimit(RLIMIT_CORE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }));
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    outcome("score", fd < 0 ? -1 : write(fd, "0", 1));
    if (fd >= 0)
        close(fd);
}

static void
attack_files(const char *path)
{
    outcome("chroot", chroot("/"));
    outcome("mount", mount("none", "/", "tmpfs", 0, NULL));
    outcome("unmount", umount2("/dev/null", MNT_DETACH));
    outcome("remount", mount(NULL, "/", NULL, MS_REMOUNT, NULL));
    outcome("device", mknod("/disk", S_IFBLK | 0600, makedev(8, 0)));
    outcome("host-file", open("/etc/passwd", O_RDONLY));
    outcome("parent-folder", open("/../../../etc/passwd", O_RDONLY));
    outcome("host-process", open("/proc/2/status", O_RDONLY));
    outcome("proc-system", open("/proc/version", O_RDONLY));
    outcome("write-root", open("/file", O_WRONLY | O_CREAT, 0600));
    if (path != NULL)
        outcome("write-mount", open(path, O_WRONLY | O_CREAT, 0600));
}

/* Calls that the filter of the test knows of. */
static void
meet_filter(void)
{
    struct msghdr message = { 0 };

    outcome("getppid", syscall(SYS_getppid));
    outcome("sendmsg", syscall(SYS_sendmsg, 1, &message, 0, 0, 0, 0));
    fflush(stdout);
    syscall(SYS_getsid, 0);
    outcome("getsid", 0);
}

int
main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "";

    if (strcmp(role, "tell") == 0)
        tell();
    else if (strcmp(role, "attack-ids") == 0)
        attack_ids();
    else if (strcmp(role, "attack-files") == 0)
        attack_files(argc > 2 ? argv[2] : NULL);
    else if (strcmp(role, "meet-filter") == 0)
        meet_filter();
    else if (strcmp(role, "user-namespace") == 0)
        outcome("user-namespace", unshare(CLONE_NEWUSER));
    else if (strcmp(role, "crash") == 0)
        __builtin_trap();
    else if (strcmp(role, "exit") == 0)
        return 3;
    else if (strcmp(role, "sleep") == 0 || strcmp(role, "sleep-unbound") == 0) {
        if (strcmp(role, "sleep-unbound") == 0)
            prctl(PR_SET_PDEATHSIG, 0);
        puts("sleeping");
        fflush(stdout);
        for (;;)
            pause();
    } else
        return 2;
    return 0;
}
