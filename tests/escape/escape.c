/*
 * Each of the probe's attempts, three times: outside any jail, as root, where it must succeed (else it proves nothing, and is skipped aloud);
 * in the plugin's and in vmproc's jail with the filter off, where the layer behind the filter must refuse it; and with the filter on, where it
 * must be refused or stopped. The jails are made by the supervisor's own code. TAP on standard output.
 * usage: escape PROBE POLICY-FOLDER, as root
 */
#include "common/fd.h"
#include "probe.h"
#include "proto/message.h"
#include "supervisor/children.h"
#include "supervisor/notify.h"
#include "supervisor/policies.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

enum { OUTSIDE, PLUGIN, VMPROC };
static const char *const places[] = { "outside", "plugin", "vmproc" };

/* What only the filter stands before: the kernel itself has no other word on it. Of each, why that is bearable. */
static const struct {
    const char *attempt, *why;
} filter_only[] = {
    { "capset", "" }, /* replaced below: nothing is exempt by an empty reason */
};

struct scene {
    const char *probe;
    struct policies policies;
    struct options options;
    struct layout layout;
    struct plugin_file plugin;
    struct plugin_mounts mounts;
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
    if (scene->given[0] < 0 || scene->given[1] < 0 || scene->given[2] < 0)
        err(1, "a bystander");
    scene->command.process = scene->bystander;
    /* In the session keyring that every child would inherit. */
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
        warn("keyctl");
    scene->command.key = (int32_t)syscall(SYS_add_key, "user", PROBE_ABSTRACT_SOCKET, "secret", 6, KEY_SPEC_SESSION_KEYRING);
}

/* An abstract socket is in the network namespace, not in the file system. */
static void
listen_abstract(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path + 1, PROBE_ABSTRACT_SOCKET, sizeof PROBE_ABSTRACT_SOCKET - 1);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, (socklen_t)(sizeof(sa_family_t) + sizeof PROBE_ABSTRACT_SOCKET)) < 0 ||
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

static void
give_command(struct scene *scene, int socket, const char *attempt)
{
    strlcpy(scene->command.attempt, attempt, sizeof scene->command.attempt);
    if (message_send(socket, &scene->command, sizeof scene->command, scene->given, PROBE_FDS, 0) < 0)
        errx(1, "the probe does not hear");
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
        .vmproc_program = filtered ? policies_program(&scene->policies, POLICIES_VMPROC) : NULL,
        .plugin_program = filtered ? policies_program(&scene->policies, POLICIES_PLUGIN) : NULL,
        .key = scene->policies.key,
        .vmproc_uid = UID,
        .plugin_uid = UID + 1,
        .cgroup = -1,
    };

    if (children_start(&plan, &children, &failure) < 0)
        errx(1, "%s", failure.text);
    /* The plugin's socket leads to vmproc's end, which is held here. */
    give_command(scene, place == PLUGIN ? children.plugin_socket : children.control, attempt);
    read_answer(place == PLUGIN ? children.plugin_output : children.vmproc_log,
                place == PLUGIN ? children.plugin.listener : children.vmproc.listener, places[place], answer);
    children_abandon(&children);
}

static const char *
reason_for_filter_alone(const char *attempt)
{
    for (size_t i = 0; i < sizeof filter_only / sizeof filter_only[0]; i++)
        if (strcmp(filter_only[i].attempt, attempt) == 0 && filter_only[i].why[0] != '\0')
            return filter_only[i].why;
    return NULL;
}

static void
try_everywhere(struct scene *scene, const char *attempt)
{
    char outside[ANSWER_MAX], answer[ANSWER_MAX], what[2 * ANSWER_MAX];
    const bool possible = (try_outside(scene, attempt, outside), strcmp(outside, "done") == 0);

    if (possible)
        report(scene, true, attempt, "outside", "done");
    else
        printf("ok %u - escape/outside/%s # SKIP this host itself refuses it (%s): that proves nothing of a jail\n", ++scene->number,
               attempt, outside);
    for (int place = PLUGIN; place <= VMPROC; place++) {
        const char *exempt = reason_for_filter_alone(attempt);

        try_inside(scene, place, false, attempt, answer);
        snprintf(what, sizeof what, "with the filter off: %s%s%s", answer, exempt != NULL ? ", only the filter forbids it: " : "",
                 exempt != NULL ? exempt : "");
        report(scene, exempt != NULL || strncmp(answer, "errno", 5) == 0, attempt, places[place], what);
#ifndef VMSUP_SANITIZED
        try_inside(scene, place, true, attempt, answer);
        snprintf(what, sizeof what, "with the filter on: %s", answer);
        report(scene, strncmp(answer, "errno", 5) == 0 || strstr(answer, "SIGSYS") != NULL || strcmp(answer, "death") == 0, attempt,
               places[place], what);
#endif
    }
}

static void
set_scene(struct scene *scene, char **argv)
{
    struct failure failure;

    scene->probe = argv[1];
    strlcpy(scene->layout.vmproc, argv[1], sizeof scene->layout.vmproc);
    if (plugin_file_open(argv[1], &scene->plugin, &failure) < 0 ||
        plugin_file_mounts(&scene->plugin, &scene->options, &scene->mounts, &failure) < 0 ||
        policies_load(&scene->policies, argv[2], NULL, &failure) < 0)
        errx(1, "%s", failure.text);
    strlcpy(scene->command.file, "/etc/passwd", sizeof scene->command.file);
    make_bystander(scene);
    listen_abstract();
}

int
main(int argc, char **argv)
{
    static struct scene scene;
    char command[PATH_MAX], attempt[64];
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
    while (fgets(attempt, sizeof attempt, list) != NULL) {
        attempt[strcspn(attempt, "\n")] = '\0';
        try_everywhere(&scene, attempt);
    }
    pclose(list);
    kill(scene.bystander, SIGKILL);
    printf("1..%u\n", scene.number);
    return scene.failed > 0;
}
