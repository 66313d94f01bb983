/*
 * A main request and its answer, as the handlers see them. A handler is one function a request: it looks at the
 * message, acts on the VM, puts what it has to say into the answer's body, and gives 0 or a negative errno; on an errno
 * nothing but the errno is sent. All of them run on the server's thread. The table that says which handler serves what
 * is in dispatch.c.
 */
#ifndef VMSUP_VMPROC_REQUEST_H
#define VMSUP_VMPROC_REQUEST_H

#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "vmproc/objects.h"
#include "vmproc/vm.h"

#include <stdbool.h>
#include <stddef.h>

/* Whose the descriptor of an answer is. */
enum reply_fd_owner {
    REPLY_FD_VM,     /* it lives as long as the VM */
    REPLY_FD_OBJECT, /* it may be closed by a later request */
    REPLY_FD_GIVEN,  /* it is the answer's, and is closed once the answer is sent */
};

struct reply_fd {
    int fd;
    enum reply_fd_owner owner;
};

struct reply {
    MainResponse message;
    /* What `message` points to: begun by dispatch for the request at hand. */
    union {
        ProtobufCMessage base;
        MainResponse__Empty empty;
        MainResponse__CheckExtension check_extension;
        MainResponse__Cpuid cpuid;
        MainResponse__MsrList msr_list;
        MainResponse__GetNetConfig net_config;
        MainResponse__GetState state;
        MainResponse__MemoryDirtyLog dirty_log;
    } body;
    struct arena *arena; /* for what `body` points to */
    struct reply_fd fd[WIRE_RESPONSE_FDS_MAX];
    size_t fd_count;
    int new_connection;        /* vmproc's end of a connection that was made, or -1 */
    uint64_t wait_nanoseconds; /* how long the connection is not to be read, for having asked too often */
};

struct main_request {
    const MainRequest *message;
    struct message_fds *fds;
    bool connections_left;
};

typedef int request_handler(struct vm *vm, const struct main_request *request, struct reply *reply);
typedef int create_handler(struct vm *vm, const struct main_request *request, struct object *object,
                           struct reply *reply);

void reply_add_fd(struct reply *reply, int fd, enum reply_fd_owner owner);

/* Memory that lives until the answer is sent; NULL where there is too little. */
void *reply_allocate(struct reply *reply, size_t size);

/* Closes what was to be given. */
void reply_close_fds(struct reply *reply);

/* dispatch.c: begins and fills `reply` (errno and all). */
void dispatch_main_request(struct vm *vm, const struct main_request *request, struct arena *arena, struct reply *reply);

/* object.c */
request_handler object_create, object_destroy_by_id;
void object_destroy(struct vm *vm, struct object *object);

/* memory.c */
create_handler memory_create;
request_handler memory_get_dirty_log;
void memory_destroy(struct vm *vm, struct object *object);

/* channels.c */
request_handler channels_get;
void channels_destroy(struct vm *vm);

/* io_event.c */
create_handler io_event_create;
void io_event_destroy(struct vm *vm, struct object *object);

/* irq.c */
create_handler irq_event_create;
request_handler irq_set_line, irq_set_routing;
void irq_event_destroy(struct vm *vm, struct object *object);

/* access.c: which accesses are reported, and with what */
request_handler access_reserve_range, access_set_call_hint;

/* state.c */
request_handler state_get, state_set, state_set_identity_map_address;

/* cpuid.c */
request_handler cpuid_get_supported, cpuid_get_emulated, cpuid_get_msr_indices, cpuid_check_extension;

/* run.c: the vCPUs as a whole */
request_handler run_get_vcpus, run_start, run_pause_vcpus, run_get_shutdown_eventfd;

/* net.c */
request_handler net_get_config;

/* connect.c */
request_handler connect_new;

#endif
