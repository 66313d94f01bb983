/* The guest's balloon, as an admin's command asks for it and the supervisor answers. */
#ifndef VMSUP_SUPERVISOR_MACHINE_BALLOON_H
#define VMSUP_SUPERVISOR_MACHINE_BALLOON_H

#include "proto/control.pb-c.h"
#include "supervisor/machine_link.h"

/* Does what is asked and fills the reply, whose memory is `link`'s and the function's own until the next call. */
void machine_balloon_answer(struct machine_link *link, const AdminBalloon *request, AdminReply *reply);

#endif
