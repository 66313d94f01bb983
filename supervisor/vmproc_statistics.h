/*
 * What the vCPUs of a VM have counted, as an admin's command asks for it and the supervisor answers: with what vmproc has said last. For
 * more than that the command comes again; nobody here waits.
 */
#ifndef VMSUP_SUPERVISOR_VMPROC_STATISTICS_H
#define VMSUP_SUPERVISOR_VMPROC_STATISTICS_H

#include "proto/control.pb-c.h"
#include "supervisor/vmproc_link.h"

/* Does what is asked and fills the reply, whose memory is `link`'s and the function's own until the next call. */
void vmproc_statistics_answer(struct vmproc_link *link, const AdminStatistics *request, AdminReply *reply);

#endif
