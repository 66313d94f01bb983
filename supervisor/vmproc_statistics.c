#include "supervisor/vmproc_statistics.h"

#include "common/clock.h"

void
vmproc_statistics_answer(struct vmproc_link *link, const AdminStatistics *request, AdminReply *reply)
{
    static AdminStatisticsState state;
    int result = request->ask ? vmproc_link_ask_statistics(link, clock_milliseconds()) : 0;

    reply->error = (uint32_t)-result;
    admin_statistics_state__init(&state);
    state.count = link->statistics_count;
    state.pending = link->asked;
    if (link->statistics_count > 0) {
        state.n_value = (size_t)link->options->cpus * STATISTICS_COLUMNS;
        state.value = link->statistics;
    }
    reply->statistics = &state;
}
