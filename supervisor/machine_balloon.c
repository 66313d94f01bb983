#include "supervisor/machine_balloon.h"

void
machine_balloon_answer(struct machine_link *link, const AdminBalloon *request, AdminReply *reply)
{
    static AdminBalloonState state;
    struct machine_balloon *balloon = &link->balloon;
    int result = 0;

    if (request->set)
        result = machine_link_set_balloon(link, request->size);
    if (result == 0 && request->ask)
        result = machine_link_ask_balloon(link);
    reply->error = (uint32_t)-result;
    admin_balloon_state__init(&state);
    state.target = balloon->target;
    state.size = balloon->size;
    state.count = balloon->count;
    state.present = balloon->present;
    state.n_value = HOST_STATISTICS_MAX;
    state.value = balloon->value;
    reply->balloon = &state;
}
