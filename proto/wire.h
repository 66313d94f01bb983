/*
 * The limits of the plugin's wire, and its framing on a vCPU's pipes. Facts of the interface: a program that is linked with the
 * original library depends on each of these numbers. See proto/plugin.proto for the messages.
 */
#ifndef VMSUP_PROTO_WIRE_H
#define VMSUP_PROTO_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A main request: bytes and descriptors at most. */
#define WIRE_REQUEST_MAX 4096
#define WIRE_REQUEST_FDS_MAX 1
/* A main response; the kernel's SCM_MAX_FD is 253. */
#define WIRE_RESPONSE_MAX 0x40000
#define WIRE_RESPONSE_FDS_MAX 253
/* A vCPU's request, its response with the length before it, and each pipe between them (F_SETPIPE_SZ). */
#define WIRE_VCPU_MESSAGE_MAX 0x40000
#define WIRE_VCPU_PIPE_SIZE 0x40000
/* GetVcpus answers with two descriptors a vCPU. */
#define WIRE_VCPUS_MAX (WIRE_RESPONSE_FDS_MAX / 2)

/* The environment variables that carry the number of the plugin's socket; ours wins. */
#define WIRE_SOCKET_VARIABLE "VMSUP_SOCKET"
#define WIRE_SOCKET_VARIABLE_ORIGINAL "CROSVM_SOCKET"

#define WIRE_VARINT_MAX 10

/* Writes `value` as a varint into `out` (WIRE_VARINT_MAX bytes) and gives its length. */
size_t wire_put_varint(uint64_t value, uint8_t *out);

/*
 * Reads a varint. Gives the number of bytes it took, 0 where `size` bytes do not hold all of it yet, -EBADMSG where it is
 * longer than WIRE_VARINT_MAX bytes or does not fit 64 bits.
 */
ssize_t wire_get_varint(const uint8_t *data, size_t size, uint64_t *value);

/* The errno of a response, which may be anything, as a negative one; -EPROTO where it is none. */
int wire_errno(int32_t error);

#endif
