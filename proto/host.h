/* The limits of the channel between the supervisor and the device model that ships; see proto/host.proto for its messages. */
#ifndef VMSUP_PROTO_HOST_H
#define VMSUP_PROTO_HOST_H

/* The grant's name. */
#define HOST_GRANT "supervisor"
/* A message either way, in bytes; only HostVsockConnected has a descriptor. */
#define HOST_MESSAGE_MAX 512
#define HOST_FDS_MAX 1
/* Memory for unpacking one. */
#define HOST_ARENA_SIZE (16 * 1024)
/* Values of a balloon's statistics: those that virtio 1.2, 5.5.6.3, has, and some. */
#define HOST_STATISTICS_MAX 16

#endif
