#include "supervisor/children.h"

#include "common/fd.h"
#include "proto/vcpu_channel.h"
#include "proto/wire.h"
#include "supervisor/exit_codes.h"
#include "supervisor/hold.h"
#include "supervisor/microvm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define PLUGIN_SOCKET_NUMBER 3
#define CONTROL_NUMBER 3
/* Of what is granted; all that comes before it is fixed. */
#define GRANTS_NUMBER 4
#define GRANTS_VARIABLE "VMSUP_FDS"
#define ENVIRONMENT_MAX 9
/* How long vmproc may take to be seen gone where its end was the plugin's, in milliseconds. */
#define VMPROC_LAST_MOMENT 1000

_Static_assert(GRANTS_NUMBER + GRANTS_MAX <= JAIL_FDS_MAX, "a jail takes all that may be granted");

/* The children's own ends, closed here once they run. */
struct inner_ends {
    int control, plugin_socket, vmproc_log, plugin_log, plugin_input, plugin_output, null;
};

/* A limit never is on the size of files: memfds, which guest memory is, would be cut by it. */
static const struct jail_limit vmproc_limits[] = {
    { RLIMIT_CORE, 1 }, { RLIMIT_NOFILE, CHILDREN_VMPROC_NOFILE }, { RLIMIT_NPROC, CHILDREN_VMPROC_NPROC },
    { RLIMIT_MEMLOCK, 0 }, { RLIMIT_MSGQUEUE, 0 }, { RLIMIT_NICE, 0 }, { RLIMIT_RTPRIO, 0 },
};
static const struct jail_limit plugin_limits[] = {
    { RLIMIT_CORE, 1 }, { RLIMIT_NOFILE, CHILDREN_PLUGIN_NOFILE }, { RLIMIT_NPROC, CHILDREN_PLUGIN_NPROC },
    { RLIMIT_MEMLOCK, CHILDREN_PLUGIN_MEMLOCK }, { RLIMIT_MSGQUEUE, 0 }, { RLIMIT_NICE, 0 }, { RLIMIT_RTPRIO, 0 },
};

static int
make_pair(int *ours, int *theirs)
{
    int sockets[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    *ours = sockets[0];
    *theirs = sockets[1];
    return 0;
}

static int
make_pipe(int *reader, int *writer)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *reader = ends[0];
    *writer = ends[1];
    return 0;
}

/* A datagram must fit whole: the buffer's usual size would refuse the largest ones. */
static int
raise_buffer(int socket)
{
    const int size = CHILDREN_SOCKET_BUFFER;

    if (setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == 0)
        return 0;
    return setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) < 0 ? -errno : 0;
}

static int
make_ends(struct children *children, struct inner_ends *inner)
{
    int result = make_pair(&children->control, &inner->control);

    if (result == 0)
        result = make_pair(&children->plugin_socket, &inner->plugin_socket);
    if (result == 0)
        result = raise_buffer(children->plugin_socket);
    if (result == 0)
        result = raise_buffer(inner->plugin_socket);
    if (result == 0)
        result = keeper_make(&children->keeper);
    if (result == 0)
        result = make_pipe(&children->vmproc_log, &inner->vmproc_log);
    if (result == 0)
        result = make_pipe(&children->plugin_log, &inner->plugin_log);
    if (result == 0)
        result = make_pipe(&inner->plugin_input, &children->plugin_input);
    if (result == 0)
        result = make_pipe(&children->plugin_output, &inner->plugin_output);
    if (result == 0 && (inner->null = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
        result = -errno;
    return result;
}

static void
close_inner(struct inner_ends *inner)
{
    fd_close(&inner->control);
    fd_close(&inner->plugin_socket);
    fd_close(&inner->vmproc_log);
    fd_close(&inner->plugin_log);
    fd_close(&inner->plugin_input);
    fd_close(&inner->plugin_output);
    fd_close(&inner->null);
}

static int
jail_failure(int result, const struct jail_error *error, struct failure *failure)
{
    return result < 0 ? failure_set(failure, EXIT_JAIL_FAILED, result, "%s", error->text) : 0;
}

#ifdef VMSUP_SANITIZED
/* The sanitizers' libraries must be seen, and their /proc. */
static int
show_libraries(const char *path, int executable, struct elf_files *files, struct jail_mount *mounts, size_t *count, struct failure *failure)
{
    char why[ELF_ERROR_MAX];
    int result = elf_find_files(executable, path, files, why);

    if (result < 0)
        return failure_set(failure, EX_CONFIG, result, "%s", why);
    for (size_t i = 0; i < files->count; i++)
        mounts[(*count)++] = (struct jail_mount){ .source = files->file[i].source, .target = files->file[i].path };
    return 0;
}
#endif

static int
begin_vmproc(const struct children_plan *plan, struct children *children, const struct inner_ends *inner, struct failure *failure)
{
    const struct jail_fd fds[] = {
        { inner->null, STDIN_FILENO },
        { inner->vmproc_log, STDOUT_FILENO },
        { inner->vmproc_log, STDERR_FILENO },
        { inner->control, CONTROL_NUMBER },
    };
    char *argv[] = { (char[]){ "vmproc" }, NULL };
    char *environment[] = { (char[]){ "ASAN_OPTIONS=detect_leaks=0" }, NULL };
    int executable = open(plan->layout->vmproc, O_RDONLY | O_CLOEXEC), result = 0;
    struct jail jail = {
        .name = "vmproc",
        .root = plan->root,
        .limits = vmproc_limits,
        .limit_count = sizeof vmproc_limits / sizeof vmproc_limits[0],
        .oom_score_adjust = CHILDREN_OOM_SCORE,
        .cgroup = plan->cgroup,
        .pid_namespace = -1,
        .fds = fds,
        .fd_count = sizeof fds / sizeof fds[0],
        .executable = executable,
        .argv = argv,
        .environment = environment + 1,
    };
    struct jail_error error;

    if (executable < 0)
        return failure_set(failure, EX_CONFIG, -errno, "%s cannot be opened: %s", plan->layout->vmproc, strerror(errno));
#ifdef VMSUP_SANITIZED
    struct jail_mount mounts[ELF_FILES_MAX];
    struct elf_files files;

    result = show_libraries(plan->layout->vmproc, executable, &files, mounts, &jail.mount_count, failure);
    jail.mounts = mounts;
    jail.proc = true;
    jail.environment = environment;
#endif
    if (result == 0)
        result = jail_failure(jail_begin(&jail, &children->vmproc_start, &children->vmproc, &error), &error, failure);
#ifdef VMSUP_SANITIZED
    elf_files_free(&files);
#endif
    fd_close(&executable);
    return result;
}

/* Nothing of the supervisor's environment but what a terminal program may want to know. */
static int
make_environment(const struct children_plan *plan, char *environment[ENVIRONMENT_MAX])
{
    static const char *const passed[] = { "PATH", "LANG", "TERM" };
    const struct grants *grants = plan->grants;
    size_t count = 0;
    int result = 0;

    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++) {
        const char *value = getenv(passed[i]);

        if (value != NULL && asprintf(&environment[count++], "%s=%s", passed[i], value) < 0)
            result = -ENOMEM;
    }
    if (asprintf(&environment[count++], "%s=%d", WIRE_SOCKET_VARIABLE, PLUGIN_SOCKET_NUMBER) < 0 ||
        asprintf(&environment[count++], "%s=%d", WIRE_SOCKET_VARIABLE_ORIGINAL, PLUGIN_SOCKET_NUMBER) < 0)
        result = -ENOMEM;
    if (!plan->options->exit_pipes &&
        asprintf(&environment[count++], "%s=%s", VCPU_CHANNEL_VARIABLE, VCPU_CHANNEL_VERSION_TEXT) < 0)
        result = -ENOMEM;
    if (grants->count > 0 && (environment[count++] = grants_describe(grants, GRANTS_VARIABLE, GRANTS_NUMBER)) == NULL)
        result = -ENOMEM;
#ifdef VMSUP_SANITIZED
    if (asprintf(&environment[count++], "ASAN_OPTIONS=detect_leaks=0") < 0)
        result = -ENOMEM;
#endif
    environment[count] = NULL;
    return result;
}

/* `own` is made for it, and is the caller's to free: microvm's arguments; none where all are the admin's. */
static char **
make_arguments(const struct children_plan *plan, char ***own)
{
    const struct options *options = plan->options;
    const char *const *given = options->arguments;
    size_t count = options->argument_count;
    char **argv;

    if (options->plugin == NULL) {
        *own = microvm_arguments(options);
        if (*own == NULL)
            return NULL;
        given = (const char *const *)*own;
        for (count = 0; given[count] != NULL;)
            count++;
    }
    argv = calloc(count + 2, sizeof *argv);
    if (argv == NULL)
        return NULL;
    argv[0] = plan->plugin->path;
    /* execveat(2) does not write through them. */
    for (size_t i = 0; i < count; i++)
        argv[i + 1] = (char *)(uintptr_t)given[i];
    return argv;
}

/* The fixed ones, and those that are granted. */
static size_t
list_descriptors(const struct inner_ends *inner, const struct grants *grants, struct jail_fd fds[JAIL_FDS_MAX])
{
    const struct jail_fd fixed[GRANTS_NUMBER] = {
        { inner->plugin_input, STDIN_FILENO },
        { inner->plugin_output, STDOUT_FILENO },
        { inner->plugin_log, STDERR_FILENO },
        { inner->plugin_socket, PLUGIN_SOCKET_NUMBER },
    };

    memcpy(fds, fixed, sizeof fixed);
    for (size_t i = 0; i < grants->count; i++)
        fds[GRANTS_NUMBER + i] = (struct jail_fd){ grants->grant[i].fd, GRANTS_NUMBER + (int)i };
    return GRANTS_NUMBER + grants->count;
}

/*
 * microvm is one file that opens none: its room has nothing else in it, and nothing can be put there. Above all no /proc, by which a
 * descriptor's file can be opened anew. (The sanitizers look about in theirs.)
 */
static void
empty_room(struct jail *jail)
{
    jail->root_bytes = 0;
#ifndef VMSUP_SANITIZED
    jail->devices = false;
    jail->proc = false;
#endif
}

static int
begin_plugin(const struct children_plan *plan, struct children *children, const struct inner_ends *inner, struct failure *failure)
{
    const struct options *options = plan->options;
    char *environment[ENVIRONMENT_MAX] = { NULL };
    char **own = NULL, **argv = make_arguments(plan, &own);
    struct jail_fd fds[JAIL_FDS_MAX];
    struct jail jail = {
        .name = "plugin",
        .unconfined = options->disable_sandbox,
        .user_namespace = true,
        .root = options->plugin_root != NULL ? options->plugin_root : plan->root,
        .root_bytes = CHILDREN_PLUGIN_ROOT_BYTES,
        .mounts = plan->mounts->mount,
        .mount_count = plan->mounts->count,
        .devices = true,
        .proc = true,
        .gid_map = options->gid_maps,
        .gid_map_count = options->gid_map_count,
        .limits = plugin_limits,
        .limit_count = sizeof plugin_limits / sizeof plugin_limits[0],
        .oom_score_adjust = CHILDREN_OOM_SCORE,
        .cgroup = plan->cgroup,
        /* vmproc's death then is the plugin's, whatever the plugin does to prevent it. */
        .pid_namespace = children->vmproc.pidfd,
        .fds = fds,
        .fd_count = list_descriptors(inner, plan->grants, fds),
        .executable = plan->plugin->fd,
        .argv = argv,
        .environment = environment,
    };
    struct jail_error error;
    int result = argv == NULL ? -ENOMEM : make_environment(plan, environment);

    if (options->plugin == NULL)
        empty_room(&jail);
    if (result < 0)
        failure_set(failure, EX_OSERR, result, "out of memory");
    else
        result = jail_failure(jail_begin(&jail, &children->plugin_start, &children->plugin, &error), &error, failure);
    for (size_t i = 0; i < ENVIRONMENT_MAX; i++)
        free(environment[i]);
    free(argv);
    microvm_free(own);
    return result;
}

/* The kernel kills the plugin where vmproc is gone. Then that is what happened. */
static int
blame(const struct children *children, int result, const struct jail_error *error, struct failure *failure)
{
    struct pollfd end = { .fd = children->vmproc.pidfd, .events = POLLIN };
    siginfo_t info = { 0 };

    if (result != -ECHILD || poll(&end, 1, VMPROC_LAST_MOMENT) != 1 ||
        waitid(P_PIDFD, (id_t)children->vmproc.pidfd, &info, WEXITED | WNOWAIT) < 0)
        return jail_failure(result, error, failure);
    return failure_set(failure, EXIT_JAIL_FAILED, result, "vmproc %s %d before the plugin was its program",
                       info.si_code == CLD_EXITED ? "ended with code" : "died of signal", info.si_status);
}

/* vmproc may have become its program, and ended, before the plugin has got that far. */
static int
attend_both(struct children *children, struct failure *failure)
{
    struct jail_start *vmproc = &children->vmproc_start, *plugin = &children->plugin_start;
    struct jail_error error;
    int result = jail_attend((struct jail_start *[]){ vmproc, plugin }, 2, &error);

    if (result == 0) {
        hold_at("vmproc");
        result = jail_attend((struct jail_start *[]){ plugin }, 1, &error);
    }
    if (result < 0)
        return vmproc->died ? jail_failure(result, &error, failure) : blame(children, result, &error, failure);
    return 0;
}

/* Side by side. The plugin's pid namespace needs no more of vmproc than that its process exists. */
static int
begin_both(const struct children_plan *plan, struct children *children, struct inner_ends *inner, struct failure *failure)
{
    int result = begin_vmproc(plan, children, inner, failure);

    if (result == 0)
        result = begin_plugin(plan, children, inner, failure);
    close_inner(inner);
    return result;
}

void
children_init(struct children *children)
{
    *children = (struct children){
        .vmproc = { -1, -1, -1 }, .plugin = { -1, -1, -1 }, .vmproc_start.socket = -1, .plugin_start.socket = -1, .control = -1,
        .plugin_socket = -1, .vmproc_log = -1, .plugin_log = -1, .plugin_input = -1, .plugin_output = -1, .keeper = { -1, -1 },
    };
}

int
children_begin(const struct children_plan *plan, struct children *children, struct failure *failure)
{
    struct inner_ends inner = { -1, -1, -1, -1, -1, -1, -1 };
    int result;

    children_init(children);
    result = make_ends(children, &inner);
    if (result < 0)
        failure_set(failure, EX_OSERR, result, "cannot make the pipes and sockets of a VM: %s", strerror(-result));
    if (result == 0)
        result = begin_both(plan, children, &inner, failure);
    close_inner(&inner);
    if (result < 0)
        children_abandon(children);
    return result;
}

int
children_settle(struct jail_start *start, const struct jail_terms *terms, struct failure *failure)
{
    struct jail_error error;

    return jail_failure(jail_settle(start, terms, &error), &error, failure);
}

int
children_enter(struct children *children, struct failure *failure)
{
    int result = attend_both(children, failure);

    jail_leave(&children->vmproc_start);
    jail_leave(&children->plugin_start);
    if (result < 0)
        children_abandon(children);
    return result;
}

/* A vmproc that has died is found dead by whoever watches it. */
int
children_set_up(struct children *children, const struct options *options, uint64_t memory_limit, struct vmproc_setup *setup,
                struct failure *failure)
{
    int result;

    setup->plugin_socket = fd_take(&children->plugin_socket);
    setup->keeper = fcntl(children->keeper.entrance, F_DUPFD_CLOEXEC, 0);
    result = setup->keeper < 0 ? -errno : 0;
    if (result == 0)
        result = vmproc_link_send_hello(children->control);
    if (result == 0)
        result = vmproc_link_send_setup(children->control, options, memory_limit, setup);
    if (result < 0 && result != -EPIPE)
        return failure_set(failure, EX_OSERR, result, "vmproc cannot be set up: %s", strerror(-result));
    return 0;
}

static void
abandon_process(struct jail_process *process)
{
    if (process->pid > 0) {
        kill(process->pid, SIGKILL);
        waitpid(process->pid, NULL, 0);
    }
    process->pid = -1;
    fd_close(&process->pidfd);
    fd_close(&process->listener);
}

/* The plugin first: vmproc's end waits for it. */
void
children_abandon(struct children *children)
{
    abandon_process(&children->plugin);
    abandon_process(&children->vmproc);
    jail_leave(&children->plugin_start);
    jail_leave(&children->vmproc_start);
    fd_close(&children->control);
    fd_close(&children->plugin_socket);
    fd_close(&children->vmproc_log);
    fd_close(&children->plugin_log);
    fd_close(&children->plugin_input);
    fd_close(&children->plugin_output);
    keeper_release(&children->keeper);
}
