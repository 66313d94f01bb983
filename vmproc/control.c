#include "vmproc/control.h"

#include "build_id.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"
#include "proto/control.pb-c.h"
#include "proto/message.h"
#include "vmproc/server.h"
#include "vmproc/statistics.h"
#include "vmproc/vcpu.h"
#include "vmproc/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

/* What comes in is short; what goes out may be statistics. */
#define CONTROL_MESSAGE_MAX 1024
#define CONTROL_ARENA (64 * 1024)

/* What comes with ControlSetup, in this order. */
enum { SETUP_KVM, SETUP_PLUGIN, SETUP_KEEPER, SETUP_FDS, SETUP_TAP = SETUP_FDS, SETUP_FDS_MAX };

struct control {
    int socket;
    struct loop *loop;
    struct vm *vm;
    struct server *server;
    struct arena arena;
    struct loop_source *socket_source;
    struct loop_source *notice_source;
    struct loop_source *kick_timer;
    struct loop_source *coalesced_timer;
    bool running_told;
    bool ending;  /* the vCPUs are being ended */
    bool closing; /* the supervisor has gone: the process ends with the vCPUs */
};

/* 0 also where the supervisor has gone: the socket says so in its turn. */
static int
send_message(struct control *control, FromVmproc__MessageCase kind, ProtobufCMessage *body)
{
    int result;
    FromVmproc message = FROM_VMPROC__INIT;
    uint8_t buffer[STATISTICS_MESSAGE_MAX];
    ssize_t size;

    message.message_case = kind;
    message.hello = (ControlHello *)body;
    size = message_pack(&message.base, buffer, sizeof buffer);
    if (size < 0)
        return (int)size;
    /* The supervisor may be stopped: nothing here waits for it. There is room for the few messages that there are. */
    result = message_send(control->socket, buffer, (size_t)size, NULL, 0, MSG_DONTWAIT);
    return result == -EPIPE ? 0 : result;
}

/* The next message, of the kind expected, into the arena. NULL, with the reason logged, where there is none. */
static const ToVmproc *
receive_message(struct control *control, ToVmproc__MessageCase kind, struct message_fds *fds, size_t fds_max)
{
    uint8_t buffer[CONTROL_MESSAGE_MAX];
    const ToVmproc *message = NULL;
    ssize_t size = message_receive(control->socket, buffer, sizeof buffer, fds, fds_max, 0);

    arena_reset(&control->arena);
    if (size < 0)
        log_error("control socket: %s", strerror((int)-size));
    else if (size == 0)
        log_error("control socket: the supervisor hung up during start-up");
    else
        message = message_unpack(&control->arena, &to_vmproc__descriptor, buffer, (size_t)size);
    if (size > 0 && (message == NULL || message->message_case != kind || message_has_unknown_fields(&message->base))) {
        log_error("control socket: a message that is not expected during start-up");
        message = NULL;
    }
    if (message == NULL)
        message_close_fds(fds);
    return message;
}

/* Both must be of one build: each says of which. */
static int
greet(struct control *control)
{
    ControlHello hello = CONTROL_HELLO__INIT;
    struct message_fds fds;
    const ToVmproc *message;
    char id[] = VMSUP_BUILD_ID;
    int result;

    hello.build_id = id;
    result = send_message(control, FROM_VMPROC__MESSAGE_HELLO, &hello.base);
    if (result < 0) {
        log_error("control socket: %s", strerror(-result));
        return EX_OSERR;
    }
    message = receive_message(control, TO_VMPROC__MESSAGE_HELLO, &fds, 0);
    if (message == NULL)
        return EX_PROTOCOL;
    /* Two of different builds do not talk. The supervisor has this process's hello, and says so. */
    return strcmp(message->hello->build_id, VMSUP_BUILD_ID) == 0 ? EX_OK : EX_PROTOCOL;
}

static int
read_setup(const ControlSetup *setup, struct message_fds *fds, struct vm_config *config, int *plugin)
{
    const size_t expected = setup->has_network ? SETUP_FDS_MAX : SETUP_FDS;

    if (fds->count != expected || setup->cpu_count < 1 || setup->cpu_count > LIMIT_VCPUS ||
        (setup->has_network && setup->host_mac_address.len != VM_MAC_SIZE)) {
        log_error("control socket: the set-up is wrong: %zu descriptors where %zu belong, %u vCPUs of at most %d, "
                  "a hardware address of %zu bytes",
                  fds->count, expected, setup->cpu_count, LIMIT_VCPUS, setup->host_mac_address.len);
        return EX_PROTOCOL;
    }
    if (setup->log_level > 0)
        log_set_level((enum log_level)setup->log_level);
    config->kvm = fd_take(&fds->fd[SETUP_KVM]);
    config->keeper = fd_take(&fds->fd[SETUP_KEEPER]);
    config->vcpu_count = setup->cpu_count;
    config->memory_limit = setup->memory_limit;
    config->exit_spin = setup->exit_spin;
    config->network.tap = -1;
    if (setup->has_network) {
        config->network.tap = fd_take(&fds->fd[SETUP_TAP]);
        memcpy(config->network.host_mac_address, setup->host_mac_address.data, VM_MAC_SIZE);
        config->network.host_ipv4_address = setup->host_ipv4_address;
        config->network.netmask = setup->netmask;
    }
    *plugin = fd_take(&fds->fd[SETUP_PLUGIN]);
    return EX_OK;
}

/* The VM of the supervisor's description, and the plugin's socket, which is the caller's. */
static int
set_up(struct control *control, int *plugin)
{
    struct vm_config config = { .kvm = -1, .keeper = -1 };
    struct message_fds fds;
    const ToVmproc *message = receive_message(control, TO_VMPROC__MESSAGE_SETUP, &fds, SETUP_FDS_MAX);
    char text[LIMIT_ENDED_TEXT];
    int result;

    if (message == NULL)
        return EX_PROTOCOL;
    result = read_setup(message->setup, &fds, &config, plugin);
    message_close_fds(&fds);
    if (result != EX_OK)
        return result;
    if (vm_create(&config, &control->vm, text, sizeof text) < 0) {
        log_error("%s", text);
        fd_close(plugin);
        return EX_OSERR;
    }
    return EX_OK;
}

static void
tell_ended(struct control *control, const struct vm_end *end)
{
    ControlEnded ended = CONTROL_ENDED__INIT;
    char text[LIMIT_ENDED_TEXT];
    int result;

    strlcpy(text, end->text, sizeof text);
    ended.kind = end->kind;
    ended.vcpu = end->vcpu;
    ended.code = end->code;
    ended.text = text;
    result = send_message(control, FROM_VMPROC__MESSAGE_ENDED, &ended.base);
    if (result < 0)
        log_error("the supervisor cannot be told that the VM has ended (%s): %s", end->text, strerror(-result));
}

/*
 * Kicks those vCPUs that have not yet seen that the VM ends. Once all have, and the supervisor has gone, so does this
 * process.
 */
static void
end_vcpus(void *context)
{
    struct control *control = context;
    bool all_done = vm_herald_is_done(control->vm);

    for (unsigned i = 0; i < control->vm->vcpu_count; i++) {
        struct vcpu *vcpu = control->vm->vcpu[i];

        if (!atomic_load(&vcpu->done))
            vcpu_kick_to_end(vcpu);
        all_done = all_done && atomic_load(&vcpu->done);
    }
    if (control->closing && !vm_herald_is_done(control->vm))
        vm_herald_release(control->vm);
    if (all_done && control->closing)
        loop_stop(control->loop);
    else if (!all_done)
        loop_set_timer(control->kick_timer, LIMIT_KICK_INTERVAL_MS);
}

/* Nothing to look at unsets the timer. */
static void
attend_coalesced(void *context)
{
    struct control *control = context;

    loop_set_timer(control->coalesced_timer, control->ending ? -1 : coalesced_attend(control->vm));
}

/* A vCPU, or this thread, has something to tell. */
static void
look_at_vm(struct control *control)
{
    ControlRunning running = CONTROL_RUNNING__INIT;
    const struct vm_end *end;

    if (!control->running_told && vm_all_initialized(control->vm)) {
        control->running_told = true;
        if (send_message(control, FROM_VMPROC__MESSAGE_RUNNING, &running.base) < 0)
            log_error("the supervisor cannot be told that the VM runs");
    }
    attend_coalesced(control);
    if (!atomic_load(&control->vm->ending))
        return;
    if (!control->ending) {
        control->ending = true;
        end = vm_get_end(control->vm);
        if (end != NULL && !control->closing)
            tell_ended(control, end);
        vm_set_told(control->vm);
    }
    end_vcpus(control);
}

static void
notice_ready(void *context, uint32_t events)
{
    struct control *control = context;
    uint64_t count;

    (void)events;
    if (read(control->vm->notice, &count, sizeof count) == sizeof count)
        look_at_vm(control);
}

static void
tell_statistics(struct control *control)
{
    ControlStatistics statistics = CONTROL_STATISTICS__INIT;
    uint64_t value[STATISTICS_MAX];
    int result;

    statistics.n_value = statistics_gather(control->vm, value);
    statistics.value = value;
    result = send_message(control, FROM_VMPROC__MESSAGE_STATISTICS, &statistics.base);
    if (result < 0)
        log_error("the supervisor cannot be told the statistics that it asked for: %s", strerror(-result));
}

static void
close_down(struct control *control)
{
    loop_remove(&control->socket_source);
    control->closing = true;
    vm_stop(control->vm);
}

static void
socket_ready(void *context, uint32_t events)
{
    struct control *control = context;
    uint8_t buffer[CONTROL_MESSAGE_MAX];
    struct message_fds fds;
    const ToVmproc *message;
    ssize_t size = message_receive(control->socket, buffer, sizeof buffer, &fds, 0, MSG_DONTWAIT);

    (void)events;
    if (size == -EAGAIN)
        return;
    if (size <= 0) {
        /* A supervisor that is gone may have left messages unread. */
        if (size < 0 && size != -ECONNRESET)
            log_error("control socket: %s", strerror((int)-size));
        close_down(control);
        return;
    }
    arena_reset(&control->arena);
    message = message_unpack(&control->arena, &to_vmproc__descriptor, buffer, (size_t)size);
    if (message != NULL && message->message_case == TO_VMPROC__MESSAGE_STOP) {
        vm_stop(control->vm);
        return;
    }
    if (message != NULL && message->message_case == TO_VMPROC__MESSAGE_ASK_STATISTICS) {
        tell_statistics(control);
        return;
    }
    log_error("control socket: a message that is not expected; this VM ends");
    close_down(control);
}

static int
watch(struct control *control)
{
    ControlReady ready = CONTROL_READY__INIT;

    control->socket_source = loop_add(control->loop, control->socket, EPOLLIN, socket_ready, control);
    control->notice_source = loop_add(control->loop, control->vm->notice, EPOLLIN, notice_ready, control);
    control->kick_timer = loop_add_timer(control->loop, end_vcpus, control);
    control->coalesced_timer = loop_add_timer(control->loop, attend_coalesced, control);
    if (control->socket_source == NULL || control->notice_source == NULL || control->kick_timer == NULL ||
        control->coalesced_timer == NULL)
        return -errno;
    return send_message(control, FROM_VMPROC__MESSAGE_READY, &ready.base);
}

/* The VM exists; `plugin` is taken over. */
static int
serve(struct control *control, int plugin)
{
    int result;

    control->loop = loop_create();
    control->server = calloc(1, sizeof *control->server);
    if (control->loop == NULL || control->server == NULL) {
        log_error("not enough memory to serve the plugin");
        fd_close(&plugin);
        return EX_OSERR;
    }
    result = server_create(control->server, control->loop, control->vm, plugin);
    if (result == 0)
        result = watch(control);
    if (result == 0)
        result = loop_run(control->loop);
    if (result < 0)
        log_error("cannot serve the plugin: %s", strerror(-result));
    loop_remove(&control->socket_source);
    loop_remove(&control->notice_source);
    loop_remove(&control->kick_timer);
    loop_remove(&control->coalesced_timer);
    server_destroy(control->server);
    return result < 0 ? EX_OSERR : EX_OK;
}

/* Only what has come to its end is freed: after a failure threads may still run, and the process's exit ends them. */
static void
tear_down(struct control *control, int code)
{
    free(control->server);
    loop_destroy(control->loop);
    if (code != EX_OK)
        return;
    for (unsigned i = 0; i < control->vm->vcpu_count; i++)
        vcpu_join(control->vm->vcpu[i]);
    vm_destroy(control->vm);
}

int
control_run(int socket)
{
    struct control control = { .socket = socket };
    int plugin = -1, code, result = vcpu_prepare_signals();

    if (result >= 0)
        result = arena_create(&control.arena, CONTROL_ARENA);
    if (result < 0) {
        log_error("start-up: %s", strerror(-result));
        return EX_OSERR;
    }
    code = greet(&control);
    if (code == EX_OK)
        code = set_up(&control, &plugin);
    if (code == EX_OK) {
        code = serve(&control, plugin);
        tear_down(&control, code);
    }
    arena_destroy(&control.arena);
    return code;
}
