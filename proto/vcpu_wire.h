/*
 * The two messages that every exit costs, read and written by hand on both sides: an access on its way to the plugin, and the resume that
 * answers it. Byte for byte they are what protobuf-c makes of them (a test holds each against it); all other messages go through
 * protobuf-c. Pure: no system call, no allocation.
 */
#ifndef VMSUP_PROTO_VCPU_WIRE_H
#define VMSUP_PROTO_VCPU_WIRE_H

#include "proto/plugin.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The VcpuResponse that carries `io`, into `out`. Gives its size, or -EMSGSIZE where `capacity` does not hold it. */
ssize_t vcpu_wire_put_io(const VcpuResponse__Wait__Io *io, uint8_t *out, size_t capacity);

/* The VcpuRequest that carries `resume`, likewise. */
ssize_t vcpu_wire_put_resume(const VcpuRequest__Resume *resume, uint8_t *out, size_t capacity);

/*
 * Whether these bytes are such a message, a resume or an access, with each of its known fields at most once, and nothing else. Then it is
 * filled, and points into them. False says nothing: protobuf-c may still understand them.
 */
bool vcpu_wire_get_resume(const uint8_t *data, size_t size, VcpuRequest__Resume *resume);
bool vcpu_wire_get_io(const uint8_t *data, size_t size, VcpuResponse__Wait__Io *io);

#endif
