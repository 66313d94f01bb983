/*
 * The event loop of a process: epoll over descriptors, timers and signals, one thread. The supervisor and vmproc's server each
 * own one. A source is made by loop_add(), loop_add_timer() or loop_add_signals() and freed by loop_remove(); a callback may
 * remove any source, its own too, and no callback runs for a removed one. The descriptor of loop_add() stays its owner's; those of
 * timers and signals are the loop's. Functions give a negative errno or NULL with errno set.
 */
#ifndef VMSUP_COMMON_LOOP_H
#define VMSUP_COMMON_LOOP_H

#include <signal.h>
#include <stdint.h>
#include <sys/signalfd.h>

struct loop;
struct loop_source;

/* `events` is what epoll_wait(2) found: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR. */
typedef void loop_callback(void *context, uint32_t events);
typedef void loop_timer_callback(void *context);
typedef void loop_signal_callback(void *context, const struct signalfd_siginfo *signal);

struct loop *loop_create(void);
void loop_destroy(struct loop *loop);

struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *callback, void *context);
/* Which events wake the source from now on; 0 keeps it but lets it sleep (EPOLLHUP and EPOLLERR wake it even then). */
int loop_modify(struct loop_source *source, uint32_t events);

/* A timer that is not set yet. loop_set_timer(): once, in `milliseconds` from now on; a negative number unsets it. */
struct loop_source *loop_add_timer(struct loop *loop, loop_timer_callback *callback, void *context);
int loop_set_timer(struct loop_source *timer, int64_t milliseconds);

/* Blocks the signals of `set` in the calling thread and delivers them here. */
struct loop_source *loop_add_signals(struct loop *loop, const sigset_t *set, loop_signal_callback *callback, void *context);

/* Frees *source, if any, and sets it to NULL. */
void loop_remove(struct loop_source **source);

/* Runs until loop_stop(). 0, or the negative errno of epoll_wait(2). */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
