/*
 * Each of the probe's attempts, three times: outside any jail, as root, where it must succeed (else it proves nothing, and is skipped aloud);
 * in the plugin's and in vmproc's jail with the filter off, where the layer behind the filter must refuse it; and with the filter on, where the
 * filter must stop it by the call's name, or where it lets it through, that layer refuse it as before. The jails are made by the
 * supervisor's own code. TAP on standard output.
 * usage: escape PROBE POLICY-FOLDER, as root
 */
#include "common/fd.h"
#include "probe.h"
#include "proto/message.h"
#include "supervisor/children.h"
#include "supervisor/notify.h"
#include "supervisor/policies.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MAX 256
#define PATIENCE 10000
#define UID 1900000000u
#define LOOSE_FD 40

/* AddressSanitizer makes calls of its own, which no policy of ours allows. */
#ifdef VMSUP_SANITIZED
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum { OUTSIDE, PLUGIN, VMPROC };
static const char *const places[] = { "outside", "plugin", "vmproc" };

/* An attempt as the probe lists it: see struct probe_attempt. */
struct attempt {
    char name[sizeof ((struct probe_command *)0)->attempt];
    int refusals[2];
    char stops[2][40];
};

struct scene {
    const char *probe;
    struct policies policies;
    struct options options;
    struct layout layout;
    struct plugin_file plugin;
    struct plugin_mounts mounts;
    struct grants grants;
    struct probe_command command;
    int given[PROBE_FDS];
    pid_t bystander;
    unsigned number, failed;
};

static void
report(struct scene *scene, bool good, const char *attempt, const char *place, const char *what)
{
    scene->number++;
    scene->failed += !good;
    printf("%sok %u - escape/%s/%s: %s\n", good ? "" : "not ", scene->number, place, attempt, what);
}

static void
skip(struct scene *scene, const char *attempt, const char *place, const char *why)
{
    printf("ok %u - escape/%s/%s # SKIP %s\n", ++scene->number, place, attempt, why);
}

/* A process of the host's, with a terminal and a session of its own, whose name and key an attacker would know. */
static void
make_bystander(struct scene *scene)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char path[64];

    if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0)
        err(1, "a terminal");
    scene->bystander = fork();
    if (scene->bystander < 0)
        err(1, "fork");
    if (scene->bystander == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    scene->given[0] = (int)syscall(SYS_pidfd_open, scene->bystander, 0);
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)scene->bystander);
    scene->given[1] = open(path, O_RDONLY | O_CLOEXEC);
    scene->given[2] = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        if (scene->given[i] < 0)
            err(1, "a bystander");
    scene->command.process = scene->bystander;
    /* In the session keyring that every child would inherit. */
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
        warn("keyctl");
    scene->command.key = (int32_t)syscall(SYS_add_key, "user", PROBE_ABSTRACT_SOCKET, "secret", 6, KEY_SPEC_SESSION_KEYRING);
}

/* A TAP in a network namespace that is nobody's. A host without such devices has nothing to show: the attempt outside fails, and says so. */
static void
open_devices(struct scene *scene)
{
    struct ifreq request = { .ifr_name = "vmsup-escape", .ifr_flags = IFF_TAP | IFF_NO_PI };
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), tap, kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (own < 0 || unshare(CLONE_NEWNET) < 0)
        err(1, "a network namespace");
    tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (tap >= 0 && ioctl(tap, TUNSETIFF, &request) < 0)
        err(1, "a TAP");
    if (setns(own, CLONE_NEWNET) < 0)
        err(1, "the host's network namespace");
    fd_close(&own);
    scene->given[PROBE_FD_TAP - PROBE_FD_HOST_PIDFD] = tap >= 0 ? tap : open("/dev/null", O_RDWR | O_CLOEXEC);
    scene->given[PROBE_FD_KVM - PROBE_FD_HOST_PIDFD] = kvm >= 0 ? kvm : open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* A file with the mode and owner of what may be granted: made anew, since one attempt changes it. */
static int
open_grant(void)
{
    char path[] = "/tmp/vmsup-escape-XXXXXX";
    int made = mkostemp(path, O_CLOEXEC), fd;

    if (made < 0 || fchmod(made, 0644) < 0 || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        err(1, "%s", path);
    unlink(path);
    close(made);
    return fd;
}

/* An abstract socket is in the network namespace, not in the file system. */
static void
listen_abstract(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path + 1, PROBE_ABSTRACT_SOCKET, sizeof PROBE_ABSTRACT_SOCKET - 1);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof PROBE_ABSTRACT_SOCKET)) < 0 ||
        listen(fd, 16) < 0)
        err(1, "an abstract socket");
}

static void
read_answer(int fd, int listener, const char *place, char answer[ANSWER_MAX])
{
    struct pollfd wait[] = { { .fd = fd, .events = POLLIN }, { .fd = listener, .events = POLLIN } };

    strlcpy(answer, "silence", ANSWER_MAX);
    if (poll(wait, listener >= 0 ? 2 : 1, PATIENCE) <= 0)
        return;
    if ((wait[0].revents & POLLIN) != 0) {
        ssize_t size = read(fd, answer, ANSWER_MAX - 1);

        answer[size > 0 ? size - 1 : 0] = '\0';
    } else if (listener >= 0 && (wait[1].revents & POLLIN) != 0) {
        notify_take(listener, place, "its policy", answer, ANSWER_MAX);
    } else {
        strlcpy(answer, "death", ANSWER_MAX);
    }
}

/* TIOCLINUX is a call of virtual consoles, which not every host has: there the terminal of the bystander's has to do. */
static int
open_console(void)
{
    return open("/dev/tty1", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static void
give_command(struct scene *scene, int socket, const char *attempt)
{
    int given[PROBE_FDS], console = strcmp(attempt, "tioclinux") == 0 ? open_console() : -1;
    int *grant = &given[PROBE_FD_GRANT - PROBE_FD_HOST_PIDFD];

    memcpy(given, scene->given, sizeof given);
    *grant = open_grant();
    if (console >= 0)
        given[PROBE_FD_TERMINAL - PROBE_FD_HOST_PIDFD] = console;
    strlcpy(scene->command.attempt, attempt, sizeof scene->command.attempt);
    if (message_send(socket, &scene->command, sizeof scene->command, given, PROBE_FDS, 0) < 0)
        errx(1, "the probe does not hear");
    fd_close(grant);
    fd_close(&console);
}

/* In namespaces that keep the host from harm, and with everything else that root has. */
static void
try_outside(struct scene *scene, const char *attempt, char answer[ANSWER_MAX])
{
    int command[2], output[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, command) < 0 || pipe(output) < 0)
        err(1, "pipes");
    pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid == 0) {
        if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(1);
        dup2(command[1], PROBE_FD_COMMAND);
        dup2(output[1], STDOUT_FILENO);
        for (int fd = PROBE_FD_COMMAND + 1; fd < LOOSE_FD; fd++)
            close(fd);
        /* What a careless parent leaves open. */
        dup2(STDIN_FILENO, LOOSE_FD);
        execl(scene->probe, scene->probe, (char *)NULL);
        _exit(1);
    }
    close(command[1]);
    close(output[1]);
    give_command(scene, command[0], attempt);
    read_answer(output[0], -1, "outside", answer);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(command[0]);
    close(output[0]);
}

static void
try_inside(struct scene *scene, int place, bool filtered, const char *attempt, char answer[ANSWER_MAX])
{
    struct children children;
    struct failure failure;
    const struct children_plan plan = {
        .options = &scene->options,
        .layout = &scene->layout,
        .root = "/tmp",
        .plugin = &scene->plugin,
        .mounts = &scene->mounts,
        .grants = &scene->grants,
        .cgroup = -1,
    };
    struct jail_terms vmproc = { .uid = UID, .gid = UID, .key = scene->policies.key };
    struct jail_terms plugin = { .uid = UID + 1, .gid = UID + 1, .key = scene->policies.key };

    if (filtered) {
        vmproc.program = policies_program(&scene->policies, POLICIES_VMPROC);
        plugin.program = policies_program(&scene->policies, POLICIES_PLUGIN);
    }
    if (children_begin(&plan, &children, &failure) < 0 || children_settle(&children.vmproc_start, &vmproc, &failure) < 0 ||
        children_settle(&children.plugin_start, &plugin, &failure) < 0 || children_enter(&children, &failure) < 0)
        errx(1, "%s", failure.text);
    /* The plugin's socket leads to vmproc's end, which is held here. */
    give_command(scene, place == PLUGIN ? children.plugin_socket : children.control, attempt);
    read_answer(place == PLUGIN ? children.plugin_output : children.vmproc_log,
                place == PLUGIN ? children.plugin.listener : children.vmproc.listener, places[place], answer);
    children_abandon(&children);
}

/* What is to be heard where the filter is on: all of an answer, or where it names a call, the words with that name. */
static bool
is_expected(const struct attempt *attempt, int place, const char *answer, char expected[ANSWER_MAX])
{
    const char *stops = attempt->stops[place - PLUGIN];

    if (strcmp(stops, PROBE_FOREIGN) == 0) {
        strlcpy(expected, stops, ANSWER_MAX);
    } else if (strcmp(stops, PROBE_LET_THROUGH) == 0) {
        snprintf(expected, ANSWER_MAX, "errno %d", attempt->refusals[place - PLUGIN]);
    } else if (isdigit((unsigned char)stops[0])) {
        snprintf(expected, ANSWER_MAX, "errno %s", stops);
    } else {
        snprintf(expected, ANSWER_MAX, "%s killed by SIGSYS: `%s`", places[place], stops);
        return strncmp(answer, expected, strlen(expected)) == 0;
    }
    return strcmp(answer, expected) == 0;
}

/* What only the filter stands before has its way: it is the filter that stops it. */
static void
try_without_filter(struct scene *scene, int place, const struct attempt *attempt)
{
    char answer[ANSWER_MAX], expected[32] = "done", what[2 * ANSWER_MAX];
    const int refusal = attempt->refusals[place - PLUGIN];

    try_inside(scene, place, false, attempt->name, answer);
    if (refusal != 0)
        snprintf(expected, sizeof expected, "errno %d", refusal);
    snprintf(what, sizeof what, "with the filter off: %s (of %s)", answer, expected);
    report(scene, strcmp(answer, expected) == 0, attempt->name, places[place], what);
}

static void
try_with_filter(struct scene *scene, int place, const struct attempt *attempt)
{
    char answer[ANSWER_MAX], expected[ANSWER_MAX], what[3 * ANSWER_MAX];
    bool good;

    try_inside(scene, place, true, attempt->name, answer);
    good = is_expected(attempt, place, answer, expected);
    snprintf(what, sizeof what, "with the filter on: %s (of %s)", answer, expected);
    report(scene, good, attempt->name, places[place], what);
}

/* A host that refuses it to root has nothing for the layers behind the filter to show. */
static void
try_everywhere(struct scene *scene, const struct attempt *attempt)
{
    char answer[ANSWER_MAX];
    bool possible;

    try_outside(scene, attempt->name, answer);
    possible = strcmp(answer, "done") == 0;
    if (possible)
        report(scene, true, attempt->name, places[OUTSIDE], answer);
    else
        skip(scene, attempt->name, places[OUTSIDE], answer);
    for (int place = PLUGIN; place <= VMPROC; place++) {
        if (possible)
            try_without_filter(scene, place, attempt);
        if (!SANITIZED)
            try_with_filter(scene, place, attempt);
    }
}

static void
set_scene(struct scene *scene, char **argv)
{
    struct failure failure;

    scene->probe = argv[1];
    scene->options.plugin = argv[1];
    strlcpy(scene->layout.vmproc, argv[1], sizeof scene->layout.vmproc);
    if (plugin_file_open(argv[1], &scene->plugin, &failure) < 0 ||
        plugin_file_mounts(&scene->plugin, &scene->options, &scene->mounts, &failure) < 0 ||
        policies_read(&scene->policies, argv[2], NULL, argv[1], &failure) < 0 ||
        policies_compile(&scene->policies, POLICIES_VMPROC, &failure) < 0 ||
        policies_compile(&scene->policies, POLICIES_PLUGIN, &failure) < 0)
        errx(1, "%s", failure.text);
    strlcpy(scene->command.file, "/etc/passwd", sizeof scene->command.file);
    make_bystander(scene);
    open_devices(scene);
    listen_abstract();
}

int
main(int argc, char **argv)
{
    static struct scene scene;
    char command[PATH_MAX];
    struct attempt attempt;
    FILE *list;

    if (argc != 3)
        errx(64, "usage: escape PROBE POLICY-FOLDER");
    if (geteuid() != 0) {
        printf("ok 1 - escape # SKIP needs root\n1..1\n");
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    set_scene(&scene, argv);
    snprintf(command, sizeof command, "'%s' list", argv[1]);
    list = popen(command, "re");
    if (list == NULL)
        err(1, "%s", command);
    while (fscanf(list, "%39s %d %d %39s %39s", attempt.name, &attempt.refusals[0], &attempt.refusals[1], attempt.stops[0],
                  attempt.stops[1]) == 5)
        try_everywhere(&scene, &attempt);
    pclose(list);
    kill(scene.bystander, SIGKILL);
    printf("1..%u\n", scene.number);
    return scene.failed > 0;
}
