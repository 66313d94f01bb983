/*
 * A connection to the VM process as the library holds it, and the one way a request goes over it. Nothing in what comes back is trusted
 * further than needed: the other side may be of another build, or the original's. A connection belongs to one thread at a time; what is
 * shared among the connections of one VM, object ids and vCPUs, is counted and lives until the last of them is destroyed.
 */
#ifndef VMSUP_PLUGIN_LIB_CONNECTION_H
#define VMSUP_PLUGIN_LIB_CONNECTION_H

#include "plugin/vmsup-plugin.h"
#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "proto/wire.h"

#include <stdatomic.h>

/* What a response may unpack to: a list of CPUID entries or MSRs, or a dirty log of WIRE_RESPONSE_MAX bytes, with room. */
#define CONNECTION_ARENA_SIZE (4 * 1024 * 1024)

struct connection_shared {
    atomic_uint references;
    atomic_uint next_id; /* of objects: one VM has one set of them */
    uint32_t vcpu_count;
    struct vmsup_vcpu *vcpus[WIRE_VCPUS_MAX];
};

struct vmsup {
    int socket;
    struct connection_shared *shared;
    uint8_t *response; /* WIRE_RESPONSE_MAX bytes */
    struct arena arena;
    struct message_fds fds; /* of the last response, until taken */
};

/*
 * Sends a request (with a descriptor where fd is not negative; it stays the caller's) and waits for the response. 0 with
 * *response valid until the next call, when the other side says success and `expected` is in it; a negative errno otherwise: -E2BIG
 * where the request does not fit, -EPROTO where the response is not what was asked for.
 */
int connection_call(struct vmsup *self, const MainRequest *request, int fd, MainResponse__MessageCase expected,
                    const MainResponse **response);

/* The descriptor `index` of the last response becomes the caller's: -EPROTO where it did not come. */
int connection_take_fd(struct vmsup *self, size_t index);

/* The request `name` with `body`, a pointer to its sub-message. */
#define CONNECTION_REQUEST(name, CASE, body)                                                                                       \
    {                                                                                                                              \
        PROTOBUF_C_MESSAGE_INIT(&main_request__descriptor), .message_case = MAIN_REQUEST__MESSAGE_##CASE, { .name = body }         \
    }

/* A request whose response has nothing but success in it. */
#define CONNECTION_CALL(self, name, CASE, body)                                                                                    \
    connection_call(self, &(MainRequest)CONNECTION_REQUEST(name, CASE, body), -1, MAIN_RESPONSE__MESSAGE_##CASE, NULL)

/* An address space of the interface as the wire has it, or -EINVAL. */
int connection_space(uint32_t space, AddressSpace *out);

#endif
