/*
 * The control socket of a VM, in its runtime folder: an admin's command asks for the VM's state or its end. The socket is root's alone
 * (0600) and who asks is told by SO_PEERCRED. Few connections at a time, one request each, answered or dropped at once.
 */
#ifndef VMSUP_SUPERVISOR_ADMIN_H
#define VMSUP_SUPERVISOR_ADMIN_H

#include "common/loop.h"
#include "proto/control.pb-c.h"
#include "supervisor/failure.h"
#include "supervisor/runtime.h"

#include <stdbool.h>
#include <sys/types.h>

#define ADMIN_SOCKET_NAME "control"
/* At once. A connection that says nothing is closed after so many milliseconds. */
#define ADMIN_CONNECTIONS_MAX 4
#define ADMIN_PATIENCE 2000
#define ADMIN_MESSAGE_MAX 1024

struct admin;

/* Fills the reply, whose strings must live until the next call; `uid` is who asks. */
typedef void admin_answer(void *context, const AdminRequest *request, uid_t uid, AdminReply *reply);

/* Makes the socket. 0 with *admin the caller's, or a negative errno with `failure` filled. */
int admin_listen(const struct runtime *runtime, struct admin **admin, struct failure *failure);

/* Serves it from now on. 0 or a negative errno. */
int admin_serve(struct admin *admin, struct loop *loop, admin_answer *answer, void *context);

/* Closes everything; the socket's file goes with the runtime folder. NULL is nothing. */
void admin_destroy(struct admin *admin);

/* The other side: connects to the socket of `name`. A descriptor, or -ENOENT, -ECONNREFUSED… */
int admin_connect(const char *base, const char *name);

/* Sends a request and waits for its answer. 0 with what the reply says in error and pids; a negative errno. */
int admin_ask(int socket, bool stop, bool now, int *error);

#endif
