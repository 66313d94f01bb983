#include "plugin/microvm/vsock_broker.h"

#include "common/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

int
vsock_broker_init(struct vsock_broker *broker, vsock_connect connect, void *context)
{
    *broker = (struct vsock_broker){ .connect = connect, .context = context, .lock = PTHREAD_MUTEX_INITIALIZER };
    broker->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return broker->bell < 0 ? -errno : 0;
}

void
vsock_broker_destroy(struct vsock_broker *broker)
{
    for (size_t i = 0; i < broker->count; i++)
        fd_close(&broker->answer[i].result);
    broker->count = 0;
    fd_close(&broker->bell);
}

/* Takes a place for an answer. */
static int
reserve(struct vsock_broker *broker)
{
    int result = -EAGAIN;

    pthread_mutex_lock(&broker->lock);
    if (broker->asked < VSOCK_BROKERED_MAX) {
        broker->asked++;
        result = 0;
    }
    pthread_mutex_unlock(&broker->lock);
    return result;
}

int
vsock_broker_ask(struct vsock_broker *broker, uint32_t port, uint64_t token)
{
    int result;

    if (broker->connect == NULL)
        return -ECONNREFUSED;
    result = reserve(broker);
    if (result < 0)
        return result;
    result = broker->connect(broker->context, port, token);
    if (result < 0) {
        pthread_mutex_lock(&broker->lock);
        broker->asked--;
        pthread_mutex_unlock(&broker->lock);
    }
    return result;
}

/* Each answer has the place that its question took. */
void
vsock_broker_answer(struct vsock_broker *broker, uint64_t token, int result)
{
    pthread_mutex_lock(&broker->lock);
    if (broker->count < broker->asked)
        broker->answer[broker->count++] = (struct vsock_answer){ .token = token, .result = result };
    else
        fd_close(&result);
    pthread_mutex_unlock(&broker->lock);
    eventfd_write(broker->bell, 1);
}

size_t
vsock_broker_take(struct vsock_broker *broker, struct vsock_answer answer[VSOCK_BROKERED_MAX])
{
    eventfd_t rung;
    size_t count;

    eventfd_read(broker->bell, &rung);
    pthread_mutex_lock(&broker->lock);
    count = broker->count;
    memcpy(answer, broker->answer, count * sizeof *answer);
    broker->asked -= count;
    broker->count = 0;
    pthread_mutex_unlock(&broker->lock);
    return count;
}
