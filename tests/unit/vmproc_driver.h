/*
 * Drives a real vmproc over its wire, byte by byte: it plays the supervisor on the control socket and a plugin on the
 * plugin socket and the vCPUs' pipes. Nothing of vmproc's own code is used. Every wait has an end (DRIVER_TIMEOUT_MS),
 * after which the test fails.
 */
#ifndef VMSUP_TESTS_UNIT_VMPROC_DRIVER_H
#define VMSUP_TESTS_UNIT_VMPROC_DRIVER_H

#include "build_id.h"
#include "common/fd.h"
#include "proto/control.pb-c.h"
#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "proto/statistics.h"
#include "proto/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DRIVER_TIMEOUT_MS 10000
#define DRIVER_VCPUS_MAX WIRE_VCPUS_MAX
#define DRIVER_MEMORY_LIMIT (64ULL << 20)

#define IOPORT ADDRESS_SPACE__IOPORT
#define MMIO ADDRESS_SPACE__MMIO

#define PAGE 4096u
#define GUEST_CODE 0x1000u

struct driver {
    pid_t pid;
    int control;
    int log; /* what vmproc writes to its log */
    int plugin;
    int keeper; /* where the VM's descriptor comes out */
    unsigned cpus;
    struct {
        int write;
        int read;
        uint8_t *held; /* bytes read but not yet taken */
        size_t held_size;
    } vcpu[DRIVER_VCPUS_MAX];
    struct arena arena; /* what was received last */
    uint8_t *memory;    /* the guest's, once driver_make_guest() has made it */
    size_t memory_size;
};

#define UNUSED __attribute__((unused))

static UNUSED bool
driver_can_run(void)
{
    return access("/dev/kvm", R_OK | W_OK) == 0;
}

static UNUSED void
driver_vmproc_path(char path[PATH_MAX])
{
    const char *given = getenv("VMSUP_VMPROC");
    char self[PATH_MAX];
    ssize_t length;

    if (given != NULL) {
        strlcpy(path, given, PATH_MAX);
        return;
    }
    length = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(length > 0);
    self[length] = '\0';
    for (int up = 0; up < 3; up++)
        *strrchr(self, '/') = '\0';
    assert_true(snprintf(path, PATH_MAX, "%s/vmproc", self) < PATH_MAX);
}

/* Whether something can be read within the time. */
static UNUSED bool
driver_readable(int fd, int milliseconds)
{
    struct pollfd wait = { .fd = fd, .events = POLLIN };

    return poll(&wait, 1, milliseconds) == 1;
}

/* --- the supervisor's side */

static UNUSED void
driver_send_control(struct driver *driver, ToVmproc__MessageCase kind, void *body, const int *fds, size_t fd_count)
{
    ToVmproc message = TO_VMPROC__INIT;
    uint8_t buffer[1024];
    ssize_t size;

    message.message_case = kind;
    message.hello = body;
    size = message_pack(&message.base, buffer, sizeof buffer);
    assert_true(size > 0);
    assert_int_equal(message_send(driver->control, buffer, (size_t)size, fds, fd_count, 0), 0);
}

/* NULL where vmproc has hung up. */
static UNUSED const FromVmproc *
driver_receive_control(struct driver *driver)
{
    struct message_fds fds;
    uint8_t buffer[STATISTICS_MESSAGE_MAX];
    const FromVmproc *message;
    ssize_t size;

    assert_true(driver_readable(driver->control, DRIVER_TIMEOUT_MS));
    size = message_receive(driver->control, buffer, sizeof buffer, &fds, 0, 0);
    if (size == 0 || size == -ECONNRESET)
        return NULL;
    assert_true(size > 0);
    arena_reset(&driver->arena);
    message = message_unpack(&driver->arena, &from_vmproc__descriptor, buffer, (size_t)size);
    assert_non_null(message);
    return message;
}

static UNUSED void
driver_expect_control(struct driver *driver, FromVmproc__MessageCase kind)
{
    const FromVmproc *message = driver_receive_control(driver);

    assert_non_null(message);
    assert_int_equal(message->message_case, kind);
}

static UNUSED const ControlEnded *
driver_expect_ended(struct driver *driver, ControlEnded__Kind kind)
{
    const FromVmproc *message = driver_receive_control(driver);

    if (message != NULL && message->message_case == FROM_VMPROC__MESSAGE_RUNNING)
        message = driver_receive_control(driver);
    assert_non_null(message);
    assert_int_equal(message->message_case, FROM_VMPROC__MESSAGE_ENDED);
    if (message->ended->kind != kind)
        print_message("ended otherwise: %s\n", message->ended->text);
    assert_int_equal(message->ended->kind, kind);
    return message->ended;
}

static UNUSED void
driver_exec(int control, int log)
{
    char path[PATH_MAX], name[] = "vmproc", *argv[] = { name, NULL }, *environment[] = { NULL };

    driver_vmproc_path(path);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getenv("VMSUP_TEST_VERBOSE") == NULL)
        dup2(log, 2);
    dup2(control, 3);
    fcntl(3, F_SETFD, 0);
    close_range(4, ~0u, 0);
    execve(path, argv, environment);
    _exit(127);
}

struct driver_options {
    unsigned cpus;
    uint64_t memory_limit;
    int tap; /* -1: no network */
};

/* Forks vmproc and says hello; the set-up is still to be sent. */
static UNUSED void
driver_launch(struct driver *driver)
{
    int sockets[2], pipes[2];

    memset(driver, 0, sizeof *driver);
    assert_int_equal(arena_create(&driver->arena, 1 << 20), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
    driver->plugin = driver->keeper = -1;
    driver->pid = fork();
    assert_true(driver->pid >= 0);
    if (driver->pid == 0)
        driver_exec(sockets[1], pipes[1]);
    fd_close(&sockets[1]);
    fd_close(&pipes[1]);
    driver->log = pipes[0];
    driver->control = sockets[0];
}

static UNUSED void
driver_hello(struct driver *driver)
{
    ControlHello hello = CONTROL_HELLO__INIT;
    char id[] = VMSUP_BUILD_ID;

    hello.build_id = id;
    driver_send_control(driver, TO_VMPROC__MESSAGE_HELLO, &hello, NULL, 0);
    driver_expect_control(driver, FROM_VMPROC__MESSAGE_HELLO);
}

static UNUSED void
driver_set_up(struct driver *driver, const struct driver_options *options)
{
    ControlSetup setup = CONTROL_SETUP__INIT;
    uint8_t mac[] = { 0xde, 0x21, 0xe8, 0x47, 0x6b, 0x6a };
    int sockets[2], keeper[2], fds[4];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, keeper), 0);
    fds[0] = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    fds[1] = sockets[1];
    fds[2] = keeper[1];
    fds[3] = options->tap;
    assert_true(fds[0] >= 0);
    setup.cpu_count = options->cpus;
    setup.memory_limit = options->memory_limit;
    setup.log_level = 7;
    if (options->tap >= 0) {
        setup.has_network = true;
        setup.host_mac_address.data = mac;
        setup.host_mac_address.len = sizeof mac;
        setup.host_ipv4_address = 0x0100760a;
        setup.netmask = 0xfcffffff;
    }
    driver_send_control(driver, TO_VMPROC__MESSAGE_SETUP, &setup, fds, options->tap >= 0 ? 4 : 3);
    fd_close(&fds[0]);
    fd_close(&sockets[1]);
    fd_close(&keeper[1]);
    driver->plugin = sockets[0];
    driver->keeper = keeper[0];
    driver->cpus = options->cpus;
}

static UNUSED void
driver_start_with(struct driver *driver, const struct driver_options *options)
{
    driver_launch(driver);
    driver_hello(driver);
    driver_set_up(driver, options);
    driver_expect_control(driver, FROM_VMPROC__MESSAGE_READY);
    for (unsigned i = 0; i < DRIVER_VCPUS_MAX; i++)
        driver->vcpu[i].write = driver->vcpu[i].read = -1;
}

static UNUSED void
driver_start(struct driver *driver, unsigned cpus)
{
    driver_start_with(driver, &(struct driver_options){ .cpus = cpus, .memory_limit = DRIVER_MEMORY_LIMIT, .tap = -1 });
}

static UNUSED int
driver_wait(struct driver *driver)
{
    int status;

    for (int waited = 0; waited < DRIVER_TIMEOUT_MS; waited++) {
        pid_t pid = waitpid(driver->pid, &status, WNOHANG);

        assert_true(pid >= 0);
        if (pid > 0)
            return status;
        usleep(1000);
    }
    kill(driver->pid, SIGKILL);
    waitpid(driver->pid, &status, 0);
    fail_msg("vmproc did not end");
    return status;
}

static UNUSED void
driver_close(struct driver *driver)
{
    for (unsigned i = 0; i < DRIVER_VCPUS_MAX; i++) {
        fd_close(&driver->vcpu[i].write);
        fd_close(&driver->vcpu[i].read);
        free(driver->vcpu[i].held);
    }
    fd_close(&driver->plugin);
    fd_close(&driver->keeper);
    fd_close(&driver->log);
    if (driver->memory != NULL)
        munmap(driver->memory, driver->memory_size);
    arena_destroy(&driver->arena);
}

/* Closes the control socket: vmproc must end by itself, well. */
static UNUSED void
driver_stop(struct driver *driver)
{
    int status;

    fd_close(&driver->control);
    status = driver_wait(driver);
    driver_close(driver);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- a plugin's side: the main connection */

static UNUSED void
driver_send_on(int socket, const MainRequest *request, const int *fds, size_t fd_count)
{
    uint8_t buffer[WIRE_REQUEST_MAX];
    ssize_t size = message_pack(&request->base, buffer, sizeof buffer);

    assert_true(size >= 0);
    assert_int_equal(message_send(socket, buffer, (size_t)size, fds, fd_count, 0), 0);
}

/* NULL where the connection was dropped. */
static UNUSED const MainResponse *
driver_receive_on(struct driver *driver, int socket, struct message_fds *fds)
{
    static uint8_t buffer[WIRE_RESPONSE_MAX];
    const MainResponse *response;
    ssize_t size;

    assert_true(driver_readable(socket, DRIVER_TIMEOUT_MS));
    size = message_receive(socket, buffer, sizeof buffer, fds, MESSAGE_FDS_MAX, 0);
    if (size == 0 || size == -ECONNRESET)
        return NULL;
    assert_true(size > 0);
    arena_reset(&driver->arena);
    response = message_unpack(&driver->arena, &main_response__descriptor, buffer, (size_t)size);
    assert_non_null(response);
    return response;
}

/* Gives the errno; *response is the answer, whose sub-message matches the request where the errno is 0. */
static UNUSED int
driver_call_fds(struct driver *driver, const MainRequest *request, const int *sent, size_t sent_count,
                const MainResponse **response, struct message_fds *received)
{
    const MainResponse *answer;

    driver_send_on(driver->plugin, request, sent, sent_count);
    answer = driver_receive_on(driver, driver->plugin, received);
    assert_non_null(answer);
    if (answer->error == 0) {
        int expected = request->message_case == MAIN_REQUEST__MESSAGE_DIRTY_LOG ? (int)MAIN_RESPONSE__MESSAGE_DIRTY_LOG
                                                                                : (int)request->message_case + 1;

        assert_int_equal(answer->message_case, expected);
    } else {
        assert_true(answer->error > 0);
        assert_int_equal(answer->message_case, MAIN_RESPONSE__MESSAGE__NOT_SET);
        assert_int_equal(received->count, 0);
    }
    if (response != NULL)
        *response = answer;
    return answer->error;
}

static UNUSED int
driver_call(struct driver *driver, const MainRequest *request, const MainResponse **response)
{
    struct message_fds fds;
    int error = driver_call_fds(driver, request, NULL, 0, response, &fds);

    assert_int_equal(fds.count, 0);
    return error;
}

/* A request whose message has the body given. */
#define REQUEST(case_name, body_pointer)                                                                               \
    (&(MainRequest){ .base = { .descriptor = &main_request__descriptor },                                              \
                     .message_case = MAIN_REQUEST__MESSAGE_##case_name,                                                \
                     .create = (void *)(body_pointer) })

/* A request without fields. */
#define EMPTY_REQUEST(case_name, type_name)                                                                            \
    REQUEST(case_name, (&(ProtobufCMessage){ .descriptor = &main_request__##type_name##__descriptor }))

static UNUSED void
driver_get_vcpus(struct driver *driver)
{
    struct message_fds fds;

    assert_int_equal(driver_call_fds(driver, EMPTY_REQUEST(GET_VCPUS, get_vcpus), NULL, 0, NULL, &fds), 0);
    assert_int_equal(fds.count, 2 * driver->cpus);
    for (unsigned i = 0; i < driver->cpus; i++) {
        driver->vcpu[i].write = fd_take(&fds.fd[2 * i]);
        driver->vcpu[i].read = fd_take(&fds.fd[2 * i + 1]);
        driver->vcpu[i].held = malloc(WIRE_VCPU_PIPE_SIZE);
        driver->vcpu[i].held_size = 0;
    }
}

static UNUSED int
driver_make_memfd(size_t size, unsigned seals)
{
    int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    if (seals != 0)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static UNUSED int
driver_create_memory(struct driver *driver, uint32_t id, int memfd, const MainRequest__Create__Memory *memory)
{
    MainRequest__Create create = MAIN_REQUEST__CREATE__INIT;
    MainRequest__Create__Memory copy = *memory;
    struct message_fds fds;
    int error;

    main_request__create__memory__init(&copy);
    copy.offset = memory->offset;
    copy.start = memory->start;
    copy.length = memory->length;
    copy.read_only = memory->read_only;
    copy.dirty_log = memory->dirty_log;
    create.id = id;
    create.object_case = MAIN_REQUEST__CREATE__OBJECT_MEMORY;
    create.memory = &copy;
    error = driver_call_fds(driver, REQUEST(CREATE, &create), &memfd, memfd >= 0 ? 1 : 0, NULL, &fds);
    assert_int_equal(fds.count, 0);
    return error;
}

static UNUSED int
driver_destroy_object(struct driver *driver, uint32_t id)
{
    MainRequest__Destroy destroy = MAIN_REQUEST__DESTROY__INIT;

    destroy.id = id;
    return driver_call(driver, REQUEST(DESTROY, &destroy), NULL);
}

static UNUSED int
driver_ask_range(struct driver *driver, AddressSpace space, uint64_t start, uint64_t length,
                 MainRequest__ReserveRange range)
{
    range.space = space;
    range.start = start;
    range.length = length;
    return driver_call(driver, REQUEST(RESERVE_RANGE, &range), NULL);
}

static UNUSED int
driver_reserve(struct driver *driver, AddressSpace space, uint64_t start, uint64_t length, bool async_write)
{
    MainRequest__ReserveRange range = MAIN_REQUEST__RESERVE_RANGE__INIT;

    range.async_write = async_write;
    return driver_ask_range(driver, space, start, length, range);
}

static UNUSED int
driver_start_vm(struct driver *driver)
{
    return driver_call(driver, EMPTY_REQUEST(START, start), NULL);
}

static UNUSED int
driver_pause(struct driver *driver, uint64_t mask, uint64_t user)
{
    MainRequest__PauseVcpus pause_vcpus = MAIN_REQUEST__PAUSE_VCPUS__INIT;

    pause_vcpus.cpu_mask = mask;
    pause_vcpus.user = user;
    return driver_call(driver, REQUEST(PAUSE_VCPUS, &pause_vcpus), NULL);
}

#endif
