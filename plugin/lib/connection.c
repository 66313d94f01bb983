#include "plugin/lib/connection.h"

#include "common/fd.h"
#include "plugin/lib/vcpu.h"
#include "plugin/lib/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int
create(int socket, struct connection_shared *shared, struct vmsup **out)
{
    struct vmsup *self = calloc(1, sizeof *self);
    int result = self == NULL ? -ENOMEM : arena_create(&self->arena, CONNECTION_ARENA_SIZE);

    if (result < 0) {
        free(self);
        return result;
    }
    self->response = mmap(NULL, WIRE_RESPONSE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (self->response == MAP_FAILED) {
        arena_destroy(&self->arena);
        free(self);
        return -ENOMEM;
    }
    self->socket = socket;
    self->shared = shared;
    atomic_fetch_add(&shared->references, 1);
    *out = self;
    return 0;
}

static void
release_shared(struct connection_shared *shared)
{
    if (atomic_fetch_sub(&shared->references, 1) != 1)
        return;
    for (uint32_t i = 0; i < shared->vcpu_count; i++)
        vcpu_destroy(shared->vcpus[i]);
    free(shared);
}

int
vmsup_destroy_connection(struct vmsup **handle)
{
    struct vmsup *self = *handle;

    *handle = NULL;
    if (self == NULL)
        return 0;
    release_shared(self->shared);
    fd_close(&self->socket);
    message_close_fds(&self->fds);
    munmap(self->response, WIRE_RESPONSE_MAX);
    arena_destroy(&self->arena);
    free(self);
    return 0;
}

static int
receive(struct vmsup *self, MainResponse__MessageCase expected, const MainResponse **out)
{
    const MainResponse *response;
    ssize_t size = message_receive(self->socket, self->response, WIRE_RESPONSE_MAX, &self->fds, MESSAGE_FDS_MAX, 0);

    if (size <= 0)
        return size == 0 ? -EPIPE : (int)size;
    arena_reset(&self->arena);
    response = message_unpack(&self->arena, &main_response__descriptor, self->response, (size_t)size);
    if (response == NULL)
        return -EPROTO;
    if (response->error != 0)
        return wire_errno(response->error);
    if (response->message_case != expected)
        return -EPROTO;
    if (out != NULL)
        *out = response;
    return 0;
}

int
connection_call(struct vmsup *self, const MainRequest *request, int fd, MainResponse__MessageCase expected,
                const MainResponse **response)
{
    uint8_t buffer[WIRE_REQUEST_MAX];
    ssize_t size = message_pack(&request->base, buffer, sizeof buffer);
    int result;

    message_close_fds(&self->fds);
    if (size < 0)
        return -E2BIG;
    result = message_send(self->socket, buffer, (size_t)size, &fd, fd >= 0 ? 1 : 0, 0);
    if (result == 0)
        result = receive(self, expected, response);
    if (result < 0)
        message_close_fds(&self->fds);
    return result;
}

int
connection_take_fd(struct vmsup *self, size_t index)
{
    return index < self->fds.count ? fd_take(&self->fds.fd[index]) : -EPROTO;
}

int
connection_space(uint32_t space, AddressSpace *out)
{
    switch (space) {
    case VMSUP_ADDRESS_SPACE_IOPORT:
        *out = ADDRESS_SPACE__IOPORT;
        return 0;
    case VMSUP_ADDRESS_SPACE_MMIO:
        *out = ADDRESS_SPACE__MMIO;
        return 0;
    default:
        return -EINVAL;
    }
}

/* The vCPUs' pipes: for each the end to write, then the end to read. */
static int
load_vcpus(struct vmsup *self)
{
    MainRequest__GetVcpus body = MAIN_REQUEST__GET_VCPUS__INIT;
    int result = CONNECTION_CALL(self, get_vcpus, GET_VCPUS, &body);

    if (result < 0)
        return result;
    if (self->fds.count == 0 || self->fds.count % 2 != 0 || self->fds.count / 2 > WIRE_VCPUS_MAX)
        return -EPROTO;
    for (size_t i = 0; i + 1 < self->fds.count; i += 2) {
        result = vcpu_create(connection_take_fd(self, i), connection_take_fd(self, i + 1),
                             &self->shared->vcpus[self->shared->vcpu_count]);
        if (result < 0)
            return result;
        self->shared->vcpu_count++;
    }
    return 0;
}

/* Where the host gives channels, the vCPUs have them instead of their pipes. */
static int
load_channels(struct vmsup *self)
{
    MainRequest__GetVcpuChannels body = MAIN_REQUEST__GET_VCPU_CHANNELS__INIT;
    int memfd, result = CONNECTION_CALL(self, get_vcpu_channels, GET_VCPU_CHANNELS, &body);

    if (result < 0)
        return result;
    memfd = connection_take_fd(self, 0);
    if (memfd < 0)
        return memfd;
    for (uint32_t i = 0; i < self->shared->vcpu_count && result == 0; i++)
        result = channel_attach(self->shared->vcpus[i], memfd, i);
    fd_close(&memfd);
    return result;
}

/* A number and nothing else. */
static int
find_socket(void)
{
    const char *text = getenv(WIRE_SOCKET_VARIABLE);
    const char *error;
    int fd;

    if (text == NULL)
        text = getenv(WIRE_SOCKET_VARIABLE_ORIGINAL);
    if (text == NULL)
        return -ENOTCONN;
    fd = (int)strtonum(text, 0, INT32_MAX, &error);
    return error == NULL ? fd : -EINVAL;
}

int
vmsup_connect(struct vmsup **out)
{
    struct connection_shared *shared;
    struct vmsup *self;
    int socket = find_socket(), result;

    if (socket < 0)
        return socket;
    shared = calloc(1, sizeof *shared);
    if (shared == NULL)
        return -ENOMEM;
    result = create(socket, shared, &self);
    if (result < 0) {
        free(shared);
        return result;
    }
    result = load_vcpus(self);
    if (result == 0 && channel_is_offered())
        result = load_channels(self);
    if (result < 0)
        vmsup_destroy_connection(&self);
    else
        *out = self;
    return result;
}

int
vmsup_new_connection(struct vmsup *self, struct vmsup **out)
{
    MainRequest__NewConnection body = MAIN_REQUEST__NEW_CONNECTION__INIT;
    int socket, result = CONNECTION_CALL(self, new_connection, NEW_CONNECTION, &body);

    if (result < 0)
        return result;
    socket = connection_take_fd(self, 0);
    if (socket < 0)
        return socket;
    result = create(socket, self->shared, out);
    if (result < 0)
        fd_close(&socket);
    return result;
}

int
vmsup_get_vcpu(struct vmsup *self, uint32_t cpu_id, struct vmsup_vcpu **out)
{
    if (cpu_id >= self->shared->vcpu_count)
        return -ENOENT;
    *out = self->shared->vcpus[cpu_id];
    return 0;
}
