#include "supervisor/watch.h"

#include "common/fd.h"
#include "common/log.h"
#include "supervisor/console.h"
#include "supervisor/guest_log.h"
#include "supervisor/hold.h"
#include "supervisor/interrupt.h"
#include "supervisor/machine_balloon.h"
#include "supervisor/machine_link.h"
#include "supervisor/notify.h"
#include "supervisor/policies.h"
#include "supervisor/vmproc_statistics.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* One of the two children, as the loop watches it. */
struct subject {
    struct watch *watch;
    const char *name, *policy;
    struct jail_process *process;
    struct loop_source *exit_source, *listener_source;
    enum ending_cause filtered_cause;
    bool *gone, *killed;
    int *status;
};

struct watch {
    const struct watch_plan *plan;
    struct loop *loop;
    struct ending_facts facts;
    struct subject vmproc, plugin;
    struct vmproc_link link;
    struct machine_link machine;
    struct loop_source *link_source, *signals, *ready_timer, *guest_timer, *grace_timer, *kill_timer;
    struct guest_log vmproc_log, plugin_log, plugin_output;
    struct console console;
    bool has_console, running, killing;
    unsigned int stops; /* how often it was asked to end */
};

/* Again and again, until both are gone: a process in the middle of its own fork may slip through once. */
static void
kill_all(void *context)
{
    struct watch *watch = context;
    struct subject *const subjects[] = { &watch->plugin, &watch->vmproc };

    watch->killing = true;
    cgroup_kill(watch->plan->cgroup);
    for (size_t i = 0; i < 2; i++) {
        if (*subjects[i]->gone)
            continue;
        *subjects[i]->killed = true;
        syscall(SYS_pidfd_send_signal, subjects[i]->process->pidfd, SIGKILL, NULL, 0);
    }
    loop_set_timer(watch->kill_timer, WATCH_KILL_INTERVAL);
}

static void
on_grace_over(void *context)
{
    struct watch *watch = context;

    watch->facts.timed_out = true;
    hold_at("killing");
    kill_all(watch);
}

/* The first thing that ends the VM is its reason. */
static bool
note_cause(struct watch *watch, enum ending_cause cause, const char *detail)
{
    if (watch->facts.cause != ENDING_NONE)
        return false;
    watch->facts.cause = cause;
    strlcpy(watch->facts.detail, detail, sizeof watch->facts.detail);
    return true;
}

/* The plugin may end by itself; then it is made to. */
static void
end_with_grace(struct watch *watch, enum ending_cause cause, const char *detail)
{
    if (!note_cause(watch, cause, detail) || watch->killing)
        return;
    hold_at("stopping");
    if (vmproc_link_send_stop(&watch->link) < 0 && cause == ENDING_STOP)
        log_debug("vmproc does not listen: the plugin is not told that the VM ends");
    loop_set_timer(watch->grace_timer, watch->plan->options->grace);
}

static void
end_at_once(struct watch *watch, enum ending_cause cause, const char *detail)
{
    note_cause(watch, cause, detail);
    if (watch->killing)
        return;
    hold_at("killing");
    kill_all(watch);
}

/* The guest first: it knows best how to end. False: it cannot be asked, or need not any more. */
static bool
ask_guest(struct watch *watch, const char *by)
{
    const unsigned int grace = watch->plan->options->guest_grace;

    if (watch->facts.cause != ENDING_NONE || grace == 0 || machine_link_press_button(&watch->machine) < 0)
        return false;
    hold_at("asking");
    strlcpy(watch->facts.asked_by, by, sizeof watch->facts.asked_by);
    loop_set_timer(watch->guest_timer, grace);
    return true;
}

static void
on_guest_late(void *context)
{
    struct watch *watch = context;
    char detail[ENDING_DETAIL_MAX];

    snprintf(detail, sizeof detail, "stopped by %s; the guest did not turn itself off in %u ms", watch->facts.asked_by,
             watch->plan->options->guest_grace);
    end_with_grace(watch, ENDING_STOP, detail);
}

/* Asked twice, it is meant. */
static void
stop_for(struct watch *watch, const char *by, bool now)
{
    char detail[ENDING_DETAIL_MAX];

    snprintf(detail, sizeof detail, "stopped by %s", by);
    if (now || ++watch->stops > 1)
        end_at_once(watch, ENDING_STOP, detail);
    else if (!ask_guest(watch, by))
        end_with_grace(watch, ENDING_STOP, detail);
}

static void
on_signal(void *context, const struct signalfd_siginfo *signal)
{
    char by[64];

    snprintf(by, sizeof by, "SIG%s from uid %u", sigabbrev_np((int)signal->ssi_signo), signal->ssi_uid);
    stop_for(context, by, false);
}

static void
on_escape(void *context)
{
    stop_for(context, "control-] on the console", false);
}

static const char *
name_state(const struct watch *watch)
{
    if (watch->facts.cause != ENDING_NONE || watch->facts.asked_by[0] != '\0')
        return "stopping";
    return watch->running ? "running" : "starting";
}

static void
on_admin(void *context, const AdminRequest *request, uid_t uid, AdminReply *reply)
{
    struct watch *watch = context;
    char by[64];

    snprintf(by, sizeof by, "uid %u", uid);
    if (request->message_case == ADMIN_REQUEST__MESSAGE_STOP)
        stop_for(watch, by, request->stop->now != 0);
    else if (request->message_case == ADMIN_REQUEST__MESSAGE_BALLOON)
        machine_balloon_answer(&watch->machine, request->balloon, reply);
    else if (request->message_case == ADMIN_REQUEST__MESSAGE_STATISTICS)
        vmproc_statistics_answer(&watch->link, request->statistics, reply);
    else if (request->message_case != ADMIN_REQUEST__MESSAGE_STATUS)
        reply->error = ENOTTY;
    /* Packing only reads it. */
    reply->state = (char *)(uintptr_t)name_state(watch);
    reply->pid = (uint32_t)getpid();
    reply->grace = watch->plan->options->grace;
    if (watch->facts.cause == ENDING_NONE && watch->facts.asked_by[0] != '\0')
        reply->grace += watch->plan->options->guest_grace;
    reply->vmproc_pid = (uint32_t)watch->vmproc.process->pid;
    reply->plugin_pid = (uint32_t)watch->plugin.process->pid;
}

static void
on_ready_late(void *context)
{
    end_at_once(context, ENDING_FAULT, "vmproc did not become ready in time");
}

static void
on_word(struct watch *watch, enum vmproc_word word)
{
    const struct watch_plan *plan = watch->plan;

    switch (word) {
    case VMPROC_HELLO:
        hold_at("setup");
        break;
    case VMPROC_READY:
        hold_at("ready");
        loop_set_timer(watch->ready_timer, -1);
        break;
    case VMPROC_RUNNING:
        hold_at("running");
        watch->running = true;
        plan->running(plan->context);
        break;
    case VMPROC_ENDED:
        watch->facts.kind = watch->link.kind;
        end_with_grace(watch, ENDING_VM_ENDED, watch->link.text);
        break;
    case VMPROC_GONE:
        /* It is ending; its exit tells how. A plugin that hears of it, too, may be quicker. */
        note_cause(watch, ENDING_VMPROC_GONE, "");
        loop_remove(&watch->link_source);
        break;
    case VMPROC_STATISTICS: /* who wants them asks again */
    case VMPROC_NOTHING:
        break;
    }
}

static void
on_link(void *context, uint32_t events)
{
    struct watch *watch = context;
    enum vmproc_word word;

    (void)events;
    if (vmproc_link_hear(&watch->link, &word) < 0) {
        loop_remove(&watch->link_source);
        end_at_once(watch, ENDING_FAULT, watch->link.wrong);
        return;
    }
    on_word(watch, word);
}

/* What vmproc has said before its death, or the plugin's, counts as said. */
static void
hear_last_words(struct watch *watch)
{
    for (int i = 0; i < VMPROC_LINK_WORDS_MAX && watch->link_source != NULL; i++)
        on_link(watch, 0);
}

static void
on_plugin_gone(struct watch *watch)
{
    const int status = watch->facts.plugin_status;
    const bool killed_by_others = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !watch->killing;

    note_cause(watch, ENDING_PLUGIN_GONE, "");
    if (watch->facts.vmproc_gone)
        return;
    /* vmproc's death kills the plugin first: it is given a moment to be seen dying by itself. */
    if (killed_by_others)
        loop_set_timer(watch->kill_timer, WATCH_LAST_WORDS);
    else if (!watch->killing)
        kill_all(watch);
}

static void
on_exit_seen(void *context, uint32_t events)
{
    struct subject *subject = context;
    struct watch *watch = subject->watch;

    (void)events;
    if (waitpid(subject->process->pid, subject->status, WNOHANG) != subject->process->pid)
        return;
    loop_remove(&subject->exit_source);
    hear_last_words(watch);
    *subject->gone = true;
    if (subject == &watch->plugin)
        on_plugin_gone(watch);
    else if (!watch->facts.plugin_gone)
        end_at_once(watch, ENDING_VMPROC_GONE, "");
    if (watch->facts.plugin_gone && watch->facts.vmproc_gone)
        loop_stop(watch->loop);
}

static void
on_notification(void *context, uint32_t events)
{
    struct subject *subject = context;
    char detail[ENDING_DETAIL_MAX];
    int result = (events & EPOLLIN) != 0 ? notify_take(subject->process->listener, subject->name, subject->policy, detail, sizeof detail)
                                         : -EPIPE;

    if (result == -EAGAIN)
        return;
    /* A hang-up: nobody is left whom the filter holds. */
    loop_remove(&subject->listener_source);
    if (result == 0)
        end_at_once(subject->watch, subject->filtered_cause, detail);
}

static int
watch_subject(struct watch *watch, struct subject *subject)
{
    subject->watch = watch;
    subject->exit_source = loop_add(watch->loop, subject->process->pidfd, EPOLLIN, on_exit_seen, subject);
    if (subject->exit_source == NULL)
        return -errno;
    if (subject->process->listener < 0)
        return 0;
    subject->listener_source = loop_add(watch->loop, subject->process->listener, EPOLLIN, on_notification, subject);
    return subject->listener_source == NULL ? -errno : 0;
}

static int
watch_subjects(struct watch *watch)
{
    struct children *children = watch->plan->children;
    struct ending_facts *facts = &watch->facts;
    int result;

    watch->vmproc = (struct subject){
        .name = "vmproc", .policy = "vmproc.policy", .process = &children->vmproc,
        .filtered_cause = ENDING_VMPROC_FILTERED, .gone = &facts->vmproc_gone, .killed = &facts->vmproc_killed,
        .status = &facts->vmproc_status,
    };
    watch->plugin = (struct subject){
        .name = "plugin", .process = &children->plugin,
        .policy = policies_plugin_file(watch->plan->options->policy_dir, watch->plan->options->plugin),
        .filtered_cause = ENDING_PLUGIN_FILTERED, .gone = &facts->plugin_gone, .killed = &facts->plugin_killed,
        .status = &facts->plugin_status,
    };
    result = watch_subject(watch, &watch->vmproc);
    return result < 0 ? result : watch_subject(watch, &watch->plugin);
}

static int
watch_timers(struct watch *watch)
{
    watch->ready_timer = loop_add_timer(watch->loop, on_ready_late, watch);
    watch->guest_timer = loop_add_timer(watch->loop, on_guest_late, watch);
    watch->grace_timer = loop_add_timer(watch->loop, on_grace_over, watch);
    watch->kill_timer = loop_add_timer(watch->loop, kill_all, watch);
    if (watch->ready_timer == NULL || watch->guest_timer == NULL || watch->grace_timer == NULL || watch->kill_timer == NULL)
        return -errno;
    return loop_set_timer(watch->ready_timer, WATCH_READY_TIME);
}

static void
on_output(void *context)
{
    const struct watch *watch = context;

    watch->plan->speaking(watch->plan->context);
}

static int
watch_output(struct watch *watch)
{
    struct children *children = watch->plan->children;
    int result = guest_log_begin(&watch->vmproc_log, watch->loop, fd_take(&children->vmproc_log), "vmproc", LOG_LEVEL_WARNING, true);

    if (result == 0)
        result = guest_log_begin(&watch->plugin_log, watch->loop, fd_take(&children->plugin_log), "plugin", LOG_LEVEL_WARNING, false);
    if (result < 0)
        return result;
    if (watch->plan->options->foreground) {
        watch->has_console = true;
        return console_begin(&watch->console, watch->loop, fd_take(&children->plugin_input), fd_take(&children->plugin_output),
                             on_escape, on_output, watch);
    }
    /* Nobody types, and what would be on a screen is logged. */
    fd_close(&children->plugin_input);
    return guest_log_begin(&watch->plugin_output, watch->loop, fd_take(&children->plugin_output), "plugin", LOG_LEVEL_INFO, false);
}

static int
watch_begin(struct watch *watch)
{
    const struct watch_plan *plan = watch->plan;
    sigset_t signals;
    int result;

    watch->loop = loop_create();
    if (watch->loop == NULL)
        return -errno;
    interrupt_fill(&signals);
    watch->signals = loop_add_signals(watch->loop, &signals, on_signal, watch);
    result = watch->signals == NULL ? -errno : watch_timers(watch);
    if (result == 0)
        result = watch_subjects(watch);
    if (result == 0)
        result = watch_output(watch);
    if (result == 0)
        result = machine_link_begin(&watch->machine, watch->loop, fd_take(plan->machine), plan->runtime);
    if (result == 0)
        result = vmproc_link_begin(&watch->link, fd_take(&plan->children->control), plan->options);
    if (result < 0)
        return result;
    watch->link_source = loop_add(watch->loop, watch->link.socket, EPOLLIN, on_link, watch);
    if (watch->link_source == NULL)
        return -errno;
    return admin_serve(plan->admin, watch->loop, on_admin, watch);
}

static void
watch_end(struct watch *watch)
{
    struct subject *const subjects[] = { &watch->plugin, &watch->vmproc };

    if (watch->has_console)
        console_end(&watch->console);
    else
        guest_log_end(&watch->plugin_output);
    guest_log_end(&watch->plugin_log);
    guest_log_end(&watch->vmproc_log);
    for (size_t i = 0; i < 2; i++) {
        loop_remove(&subjects[i]->exit_source);
        loop_remove(&subjects[i]->listener_source);
    }
    loop_remove(&watch->link_source);
    loop_remove(&watch->signals);
    loop_remove(&watch->ready_timer);
    loop_remove(&watch->guest_timer);
    loop_remove(&watch->grace_timer);
    loop_remove(&watch->kill_timer);
    machine_link_end(&watch->machine);
    vmproc_link_end(&watch->link);
}

int
watch_run(const struct watch_plan *plan, struct ending *ending)
{
    struct watch watch = {
        .plan = plan,
        .facts.grace = plan->options->grace,
        .facts.microvm = plan->options->plugin == NULL,
        .link.socket = -1,
        .machine = { .socket = -1, .answer_fd = -1 },
        .vmproc_log.fd = -1,
        .plugin_log.fd = -1,
        .plugin_output.fd = -1,
    };
    int result = watch_begin(&watch);

    if (result == 0)
        result = loop_run(watch.loop);
    watch_end(&watch);
    admin_destroy(plan->admin);
    /* Its sources are gone; what is left of the processes, if anything went wrong, is the caller's to abandon. */
    loop_destroy(watch.loop);
    if (watch.facts.plugin_gone)
        plan->children->plugin.pid = -1;
    if (watch.facts.vmproc_gone)
        plan->children->vmproc.pid = -1;
    watch.facts.oom_kills = cgroup_oom_kills(plan->cgroup);
    if (result == 0)
        ending_decide(&watch.facts, ending);
    return result;
}
