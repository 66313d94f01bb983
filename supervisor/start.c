#include "supervisor/start.h"

#include "common/fd.h"
#include "common/log.h"
#include "supervisor/admin.h"
#include "supervisor/cgroup.h"
#include "supervisor/children.h"
#include "supervisor/confine.h"
#include "supervisor/detach.h"
#include "supervisor/exit_codes.h"
#include "supervisor/grants.h"
#include "supervisor/hold.h"
#include "supervisor/host.h"
#include "supervisor/interrupt.h"
#include "supervisor/layout.h"
#include "supervisor/machine_link.h"
#include "supervisor/memory.h"
#include "supervisor/net_filter.h"
#include "supervisor/options.h"
#include "supervisor/plugin_file.h"
#include "supervisor/policies.h"
#include "supervisor/report.h"
#include "supervisor/runtime.h"
#include "supervisor/tap.h"
#include "supervisor/uids.h"
#include "supervisor/vsock.h"
#include "supervisor/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* Supervisor, vmproc, plugin, and the heading. */
#define REPORT_LINES 4
/* How long a line may wait for its reader before anything is made, and the last one, in milliseconds. Those between do not wait. */
#define LINE_PATIENCE 1000

/* All that one VM takes. Each part knows by itself whether it was taken. */
struct start {
    struct options options;
    struct layout layout;
    struct policies policies;
    struct plugin_file plugin;
    struct plugin_mounts mounts;
    struct grants grants;
    uint64_t memory_limit;
    struct vmproc_setup setup; /* what vmproc is to be given */
    struct detach detach;      /* to who waits for a start without -f */
    struct runtime runtime;
    struct cgroup cgroup;
    struct uids uids;
    struct tap tap;
    char queue_names[TAP_QUEUES_MAX][16]; /* of the grants: "net1" and so on */
    struct net_filter filter;
    struct admin *admin;
    int machine; /* the supervisor's end of its channel to microvm */
    struct children children;
    char lines[REPORT_LINES][REPORT_LINE_MAX];
    struct failure failure;
};

/* The admin's, or the one that ships. */
static int
open_plugin(struct start *start)
{
    const char *path = start->options.plugin;

    if (path == NULL) {
        path = start->layout.microvm;
        if (access(path, X_OK) < 0)
            return failure_set(&start->failure, EX_CONFIG, -errno, "%s: %s: expected microvm there, or --plugin with another plugin", path,
                               strerror(errno));
    }
    return plugin_file_open(path, &start->plugin, &start->failure);
}

/* Reads and checks the whole configuration; nothing is made yet. */
static int
read_configuration(struct start *start, int argc, char **argv)
{
    struct failure *failure = &start->failure;
    int result = options_parse(argc, argv, &start->options, failure);

    if (result < 0)
        return result;
    log_set_level(start->options.log_level);
    /* What the caller had open is neither ours nor the VM's. The options were the last that may name such a file. */
    closefrom(STDERR_FILENO + 1);
    result = options_check(&start->options, failure);
    if (result == 0)
        result = layout_find(&start->layout, failure);
    if (result == 0)
        result = open_plugin(start);
    if (result == 0)
        result = plugin_file_mounts(&start->plugin, &start->options, &start->mounts, failure);
    if (result == 0)
        result = policies_read(&start->policies, start->layout.policies, start->options.policy_dir, start->options.plugin, failure);
    if (result == 0 && geteuid() != 0)
        result = failure_set(failure, EX_NOPERM, -EPERM, "starting a VM needs root: run this as root");
    if (result == 0)
        result = grants_open(&start->options, &start->grants, failure);
    if (result == 0)
        result = memory_decide(start->options.memory_max, &start->memory_limit, failure);
    if (result == 0) {
        result = start->setup.kvm = host_open_kvm(failure);
        if (result > 0)
            result = 0;
    }
    return result;
}

/* The first goes to vmproc, for the interface's own call. */
static int
grant_queues(struct start *start)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i + 1 < start->options.net_queues; i++) {
        snprintf(start->queue_names[i], sizeof start->queue_names[i], "net%zu", i + 1);
        result = grants_add(&start->grants, start->queue_names[i], &start->tap.more[i]);
        if (result < 0)
            failure_set(&start->failure, EX_SOFTWARE, result, "the TAP's queues are more than can be granted: expected at most %d grants",
                        GRANTS_MAX);
    }
    return result;
}

static int
make_network(struct start *start)
{
    const struct options *options = &start->options;
    struct tap_settings wanted = {
        .host_ip = options->host_ip, .netmask = options->netmask, .queues = options->net_queues,
        .vnet_header = options->plugin == NULL || options->tap_vnet_header,
    };
    int result;

    if (!options->has_network)
        return 0;
    memcpy(wanted.mac, options->mac, sizeof wanted.mac);
    result = tap_create(&wanted, &start->tap, &start->failure);
    if (result == 0 && options->has_guest)
        result = net_filter_install(start->tap.name, options->guest_mac, options->guest_ip, &start->filter, &start->failure);
    if (result == 0)
        result = tap_up(&start->tap, &start->failure);
    if (result == 0)
        result = grant_queues(start);
    if (result < 0)
        start->failure.exit_code = EXIT_NETWORK_FAILED;
    else
        start->setup.tap = fd_take(&start->tap.fd);
    return result;
}

/* microvm can be talked to, and its sockets have ends on the host. Another plugin has no use for either, and no right. */
static int
make_channel(struct start *start)
{
    struct failure *failure = &start->failure;
    int theirs = -1, listener = -1, result;

    if (start->options.plugin != NULL)
        return 0;
    result = machine_link_make(&start->machine, &theirs);
    if (result < 0)
        return failure_set(failure, EX_OSERR, result, "cannot make the channel to microvm: %s", strerror(-result));
    result = grants_add(&start->grants, HOST_GRANT, &theirs);
    if (result == 0 && start->options.vsock_cid != 0) {
        result = vsock_listen(&start->runtime, &listener, failure);
        if (result < 0)
            return result;
        result = grants_add(&start->grants, VSOCK_SOCKET_NAME, &listener);
    }
    if (result < 0)
        return failure_set(failure, EX_SOFTWARE, result, "there are more than %d grants", GRANTS_MAX);
    return 0;
}

/* Between two steps: what was made is undone. */
static int
check_interrupt(struct start *start)
{
    const int number = interrupt_waiting();

    if (number == 0)
        return 0;
    return failure_set(&start->failure, EXIT_STOPPED, -EINTR, "stopped by SIG%s before it ran", sigabbrev_np(number));
}

static int
take_ids(struct start *start)
{
    const struct options *options = &start->options;
    int folder = -1, result = runtime_open_ids(&folder, &start->failure);

    if (result == 0)
        result = uids_take(folder, options->uid_first, options->uid_count, &start->uids, &start->failure);
    fd_close(&folder);
    return result;
}

static int
make_resources(struct start *start)
{
    const struct cgroup_limits limits = { .memory_max = start->options.memory_max };
    const struct options *options = &start->options;
    struct failure *failure = &start->failure;
    char group[NAME_QUALIFIED_MAX];
    int result = runtime_open(options->runtime_dir, options->name, &start->runtime, failure);

    name_qualify(options->name, options->runtime_dir, OPTIONS_RUNTIME_DIR_DEFAULT, group);
    if (result == 0)
        hold_at("runtime");
    if (result == 0)
        result = cgroup_create(group, &limits, &start->cgroup, failure);
    if (result == 0)
        result = make_network(start);
    if (result == 0)
        result = admin_listen(&start->runtime, &start->admin, failure);
    if (result == 0)
        result = make_channel(start);
    if (result == 0)
        hold_at("resources");
    return result == 0 ? check_interrupt(start) : result;
}

static int
begin_children(struct start *start)
{
    char root[sizeof start->runtime.path + NAME_LENGTH_MAX + 2];
    const struct children_plan plan = {
        .options = &start->options,
        .layout = &start->layout,
        .root = root,
        .plugin = &start->plugin,
        .mounts = &start->mounts,
        .grants = &start->grants,
        .cgroup = start->cgroup.directory,
    };
    int result;

    snprintf(root, sizeof root, "%s/%s", start->runtime.path, start->runtime.name);
    if (start->options.disable_sandbox)
        log_warn("--disable-sandbox: THE PLUGIN IS NOT JAILED, it runs as root with all of the host in reach; for debugging only");
    result = children_begin(&plan, &start->children, &start->failure);
    /* What the plugin is made of is not needed any more. */
    plugin_mounts_free(&start->mounts);
    plugin_file_close(&start->plugin);
    grants_hand_over(&start->grants);
    return result;
}

static int
settle(struct start *start, int policy, uid_t uid, struct jail_start *child)
{
    struct jail_terms terms = { .uid = uid, .gid = uid, .key = start->policies.key };
    int result = policies_compile(&start->policies, policy, &start->failure);

    terms.program = policies_program(&start->policies, policy);
    return result == 0 ? children_settle(child, &terms, &start->failure) : result;
}

/* What takes long, and what the children's namespaces and mounts, which take long too, do not depend on. */
static int
enter_children(struct start *start)
{
    struct children *children = &start->children;
    int result;

    hold_at("begun");
    result = take_ids(start);
    if (result == 0)
        result = settle(start, POLICIES_VMPROC, start->uids.vmproc, &children->vmproc_start);
    if (result == 0)
        result = settle(start, POLICIES_PLUGIN, start->uids.plugin, &children->plugin_start);
    if (result == 0)
        result = children_enter(children, &start->failure);
    if (result == 0)
        result = children_set_up(children, &start->options, start->memory_limit, &start->setup, &start->failure);
    if (result < 0)
        return result;
    hold_at("children");
    return check_interrupt(start);
}

/* The supervisor's own line is written once it has given up its privileges. */
static void
write_report(struct start *start)
{
    report_heading(start->lines[0]);
    report_process("vmproc", start->children.vmproc.pid, start->lines[2]);
    report_process("plugin", start->children.plugin.pid, start->lines[3]);
}

static int
confine(struct start *start)
{
    char cgroups[PATH_MAX];
    bool has_cgroup = start->cgroup.directory >= 0;
    int status = open("/proc/self/status", O_RDONLY | O_CLOEXEC), result;

    result = policies_compile(&start->policies, POLICIES_SUPERVISOR, &start->failure);
    /* Its own will be removed from the folder it is in. */
    strlcpy(cgroups, start->cgroup.path, sizeof cgroups);
    if (result == 0)
        result = confine_self(start->runtime.path, has_cgroup ? dirname(cgroups) : NULL,
                              policies_program(&start->policies, POLICIES_SUPERVISOR), &start->failure);
    /* What the start needed is given back: a VM lives for long. */
    policies_free(&start->policies);
    malloc_trim(0);
    report_self("supervisor", status, start->lines[1]);
    fd_close(&status);
    return result;
}

/* Once. The guest may speak before vmproc has said that it runs, and what it says comes behind this. */
static void
show_report(void *context)
{
    struct start *start = context;

    for (size_t i = 0; i < REPORT_LINES; i++) {
        if (start->lines[i][0] != '\0')
            log_info("%s", start->lines[i]);
        start->lines[i][0] = '\0';
    }
}

static void
on_running(void *context)
{
    struct start *start = context;

    if (start->options.foreground) {
        show_report(start);
        return;
    }
    detach_report(&start->detach, 0, NULL);
    log_info("%s: running", start->options.name);
}

static int
run(struct start *start, struct ending *ending)
{
    struct watch_plan plan = {
        .options = &start->options,
        .children = &start->children,
        .cgroup = &start->cgroup,
        .admin = start->admin,
        .machine = &start->machine,
        .runtime = start->options.vsock_cid != 0 ? &start->runtime : NULL,
        .running = on_running,
        .speaking = show_report,
        .context = start,
    };
    int result = watch_run(&plan, ending);

    start->admin = NULL;
    if (result < 0)
        failure_set(&start->failure, EX_OSERR, result, "the supervisor cannot watch the VM: %s", strerror(-result));
    return result;
}

/* Everything back, in the reverse order. */
static void
release(struct start *start)
{
    children_abandon(&start->children);
    grants_close(&start->grants);
    admin_destroy(start->admin);
    fd_close(&start->machine);
    fd_close(&start->setup.kvm);
    fd_close(&start->setup.plugin_socket);
    fd_close(&start->setup.keeper);
    fd_close(&start->setup.tap);
    net_filter_remove(&start->filter);
    tap_destroy(&start->tap);
    uids_release(&start->uids);
    if (cgroup_remove(&start->cgroup) < 0)
        log_warn("the cgroup %s could not be removed", start->cgroup.path);
    runtime_remove(&start->runtime);
    plugin_mounts_free(&start->mounts);
    plugin_file_close(&start->plugin);
    policies_free(&start->policies);
    options_free(&start->options);
}

static void
init(struct start *start)
{
    memset(start, 0, sizeof *start);
    start->detach = (struct detach){ -1, -1 };
    start->plugin.fd = -1;
    start->setup = (struct vmproc_setup){ -1, -1, -1, -1 };
    start->runtime.base = start->runtime.last = start->runtime.folder = -1;
    start->cgroup = (struct cgroup){ .mount = -1, .parent = -1, .directory = -1, .kill = -1, .events = -1, .memory = -1 };
    start->machine = -1;
    start->uids.lock = -1;
    start->tap.fd = start->tap.kept = -1;
    memset(start->tap.more, -1, sizeof start->tap.more);
    children_init(&start->children);
}

/* The VM's whole life, in the process that supervises it. */
static int
supervise(struct start *start)
{
    struct ending ending;
    int result;

    interrupt_hold();
    /* Who reads what this says, and does not, must not keep the VM alive. */
    log_set_patience(0);
    hold_init();
    result = make_resources(start);
    if (result == 0)
        result = begin_children(start);
    if (result == 0)
        result = enter_children(start);
    if (result == 0)
        write_report(start);
    if (result == 0 && start->options.has_network) {
        result = tap_settle(&start->tap, start->options.mac, &start->failure);
        if (result < 0)
            start->failure.exit_code = EXIT_NETWORK_FAILED;
    }
    if (result == 0)
        result = confine(start);
    if (result == 0)
        hold_at("confined");
    if (result == 0)
        result = run(start, &ending);
    hold_at("gone");
    if (result < 0) {
        ending.exit_code = start->failure.exit_code;
        strlcpy(ending.text, start->failure.text, sizeof ending.text);
    }
    log_set_patience(LINE_PATIENCE);
    if (start->detach.report >= 0)
        detach_report(&start->detach, ending.exit_code, ending.text);
    else if (ending.exit_code == EXIT_PLUGIN_GOOD)
        log_info("%s: %s", start->options.name, ending.text);
    else
        log_error("%s: %s", start->options.name, ending.text);
    if (start->runtime.folder >= 0 && runtime_write_reason(&start->runtime, ending.exit_code, ending.text) < 0)
        log_warn("the reason could not be kept in %s", start->runtime.path);
    return ending.exit_code;
}

int
start_main(int argc, char **argv)
{
    static struct start start;
    int exit_code, result;

    init(&start);
    signal(SIGPIPE, SIG_IGN);
    log_set_patience(LINE_PATIENCE);
    /* The caller's could take from root what it needs, once it has no capabilities, to remove what is in a folder. */
    umask(022);
    result = read_configuration(&start, argc, argv);
    if (result < 0) {
        log_error("%s", start.failure.text);
        release(&start);
        return start.failure.exit_code;
    }
    if (!start.options.foreground) {
        result = detach_fork(&start.detach, &exit_code);
        if (result > 0)
            return exit_code;
        if (result < 0) {
            log_error("%s: cannot leave for the background: %s", start.options.name, strerror(-result));
            release(&start);
            return EX_OSERR;
        }
        log_init("vmsup", LOG_STYLE_SYSLOG, -1, start.options.log_level);
    }
    exit_code = supervise(&start);
    release(&start);
    return exit_code;
}
