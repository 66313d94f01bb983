#include "vmproc/statistics.h"

#include "common/counter.h"
#include "vmproc/vcpu.h"

static void
fill_row(const struct vcpu *vcpu, uint64_t row[STATISTICS_COLUMNS])
{
    row[STATISTICS_CHANNEL] = counter_get(&vcpu->counts.channel);
    row[STATISTICS_PIPES] = counter_get(&vcpu->counts.pipes);
    row[STATISTICS_UNAWAITED] = counter_get(&vcpu->counts.unawaited);
    row[STATISTICS_READY] = counter_get(&vcpu->wait.ready);
    row[STATISTICS_SPUN] = counter_get(&vcpu->wait.spun);
    row[STATISTICS_SLEPT] = counter_get(&vcpu->wait.slept);
    row[STATISTICS_SPIN] = atomic_load_explicit(&vcpu->wait.spin, memory_order_relaxed);
    row[STATISTICS_SPIN_TIME] = counter_get(&vcpu->wait.spin_time);
    row[STATISTICS_WOKEN] = counter_get(&vcpu->wait.woken);
}

size_t
statistics_gather(const struct vm *vm, uint64_t value[STATISTICS_MAX])
{
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        fill_row(vm->vcpu[i], value + (size_t)i * STATISTICS_COLUMNS);
    return (size_t)vm->vcpu_count * STATISTICS_COLUMNS;
}
