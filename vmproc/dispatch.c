/* Which handler serves which main request. */
#include "vmproc/mutant.h"
#include "vmproc/request.h"

#include <errno.h>
#include <string.h>

struct entry {
    MainRequest__MessageCase request;
    MainResponse__MessageCase response;
    const ProtobufCMessageDescriptor *body;
    request_handler *handler;
    const char *name;
};

#define ENTRY(request_name, response_name, body_name, function)                                                        \
    {                                                                                                                  \
        .request = MAIN_REQUEST__MESSAGE_##request_name, .response = MAIN_RESPONSE__MESSAGE_##response_name,           \
        .body = &main_response__##body_name##__descriptor, .handler = function, .name = #function,                     \
    }

static const struct entry table[] = {
    ENTRY(CREATE, CREATE, empty, object_create),
    ENTRY(DESTROY, DESTROY, empty, object_destroy_by_id),
    ENTRY(NEW_CONNECTION, NEW_CONNECTION, empty, connect_new),
    ENTRY(GET_SHUTDOWN_EVENTFD, GET_SHUTDOWN_EVENTFD, empty, run_get_shutdown_eventfd),
    ENTRY(CHECK_EXTENSION, CHECK_EXTENSION, check_extension, cpuid_check_extension),
    ENTRY(GET_SUPPORTED_CPUID, GET_SUPPORTED_CPUID, cpuid, cpuid_get_supported),
    ENTRY(GET_EMULATED_CPUID, GET_EMULATED_CPUID, cpuid, cpuid_get_emulated),
    ENTRY(GET_MSR_INDEX_LIST, GET_MSR_INDEX_LIST, msr_list, cpuid_get_msr_indices),
    ENTRY(GET_NET_CONFIG, GET_NET_CONFIG, get_net_config, net_get_config),
    ENTRY(RESERVE_RANGE, RESERVE_RANGE, empty, access_reserve_range),
    ENTRY(SET_IRQ, SET_IRQ, empty, irq_set_line),
    ENTRY(SET_IRQ_ROUTING, SET_IRQ_ROUTING, empty, irq_set_routing),
    ENTRY(GET_STATE, GET_STATE, get_state, state_get),
    ENTRY(SET_STATE, SET_STATE, empty, state_set),
    ENTRY(SET_IDENTITY_MAP_ADDR, SET_IDENTITY_MAP_ADDR, empty, state_set_identity_map_address),
    ENTRY(PAUSE_VCPUS, PAUSE_VCPUS, empty, run_pause_vcpus),
    ENTRY(GET_VCPUS, GET_VCPUS, empty, run_get_vcpus),
    ENTRY(START, START, empty, run_start),
    ENTRY(SET_CALL_HINT, SET_CALL_HINT, empty, access_set_call_hint),
    ENTRY(DIRTY_LOG, DIRTY_LOG, memory_dirty_log, memory_get_dirty_log),
    ENTRY(GET_VCPU_CHANNELS, GET_VCPU_CHANNELS, empty, channels_get),
};

#define TABLE_SIZE (sizeof table / sizeof table[0])

/* NULL where the message has no or an unknown request in it. */
static const struct entry *
find_entry(MainRequest__MessageCase request)
{
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if (table[i].request == request)
            return &table[i];
    return NULL;
}

static int
serve(struct vm *vm, const struct main_request *request, const struct entry *entry, struct reply *reply)
{
    if (entry == NULL)
        return -ENOTTY;
    /* An object of a kind that is not known comes as an unknown field too. */
    if (entry->request == MAIN_REQUEST__MESSAGE_CREATE &&
        request->message->create->object_case == MAIN_REQUEST__CREATE__OBJECT__NOT_SET)
        return -ENOTTY;
    if (message_has_unknown_fields(&request->message->base))
        return -EINVAL;
    protobuf_c_message_init(entry->body, &reply->body);
    reply->message.message_case = entry->response;
    reply->message.create = &reply->body.empty;
    if (mutant_is(entry->name))
        return 0;
    return entry->handler(vm, request, reply);
}

void
dispatch_main_request(struct vm *vm, const struct main_request *request, struct arena *arena, struct reply *reply)
{
    int result;

    main_response__init(&reply->message);
    reply->arena = arena;
    reply->fd_count = 0;
    reply->new_connection = -1;
    reply->wait_nanoseconds = 0;
    result = serve(vm, request, find_entry(request->message->message_case), reply);
    if (result < 0) {
        reply_close_fds(reply);
        reply->message.error = -result;
        reply->message.message_case = MAIN_RESPONSE__MESSAGE__NOT_SET;
    }
}

void
reply_add_fd(struct reply *reply, int fd, enum reply_fd_owner owner)
{
    reply->fd[reply->fd_count++] = (struct reply_fd){ .fd = fd, .owner = owner };
}

void *
reply_allocate(struct reply *reply, size_t size)
{
    return reply->arena->allocator.alloc(reply->arena->allocator.allocator_data, size);
}
