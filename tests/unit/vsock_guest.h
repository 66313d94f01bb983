/*
 * The guest's half of a vsock device for unit tests, on top of virtio_driver.h: packets to and from the device, a listening socket for
 * clients, and somebody who makes connections for the guest. Each call that fails ends its test.
 */
#ifndef VMSUP_TESTS_UNIT_VSOCK_GUEST_H
#define VMSUP_TESTS_UNIT_VSOCK_GUEST_H

#include "plugin/microvm/virtio_vsock.h"
#include "plugin/microvm/vsock_hub.h"
#include "tests/unit/virtio_driver.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GUEST_CID 42
#define GUEST_HOST_CID 2
#define GUEST_FEATURES VIRTIO_FEATURE(VIRTIO_F_VERSION_1)
#define GUEST_ROOM 0x10000U
#define GUEST_RECEIVE DRIVER_BUFFERS
#define GUEST_RECEIVE_SIZE 0x2000U
#define GUEST_TRANSMIT (GUEST_RECEIVE + DRIVER_QUEUE_SIZE * GUEST_RECEIVE_SIZE)
#define GUEST_PATIENCE_MS 300

struct guest {
    struct driver *driver;
    struct virtio_vsock *vsock;
    int listener;
    struct sockaddr_un address;
    socklen_t address_size;
    uint16_t received;   /* packets */
    unsigned transmitted; /* requests, of which one is under way at a time */

    /* For whoever is asked for a connection. */
    int refusal; /* a negative errno; 0: it is made */
    bool later;  /* the test answers */
    uint32_t asked_port;
    uint64_t token;
    unsigned asked;
    int host[VSOCK_CONNECTIONS_MAX + 1]; /* the other ends of what was made */
    unsigned made;
};

struct packet {
    struct virtio_vsock_hdr header;
    uint8_t payload[GUEST_RECEIVE_SIZE - VSOCK_HEADER_SIZE];
};

static inline int
guest_connect(void *context, uint32_t port, uint64_t token)
{
    struct guest *guest = context;
    int pair[2];

    guest->asked_port = port;
    guest->token = token;
    guest->asked++;
    if (guest->later)
        return 0;
    if (guest->refusal < 0)
        return guest->refusal;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    guest->host[guest->made++] = pair[1];
    virtio_vsock_answer(guest->vsock, token, pair[0]);
    return 0;
}

/* An address that the kernel chooses, and no file. */
static inline void
guest_listen(struct guest *guest)
{
    const struct sockaddr_un any = { .sun_family = AF_UNIX };

    guest->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    guest->address_size = sizeof guest->address;
    assert_int_equal(bind(guest->listener, (const struct sockaddr *)&any, sizeof any.sun_family), 0);
    assert_int_equal(getsockname(guest->listener, (struct sockaddr *)&guest->address, &guest->address_size), 0);
    assert_int_equal(listen(guest->listener, 128), 0);
}

static inline void
guest_offer(struct guest *guest, uint16_t index)
{
    driver_describe(guest->driver, VIRTIO_VSOCK_RECEIVE, index,
                    (struct vring_desc){ GUEST_RECEIVE + index * GUEST_RECEIVE_SIZE, GUEST_RECEIVE_SIZE, VRING_DESC_F_WRITE, 0 });
    driver_offer(guest->driver, VIRTIO_VSOCK_RECEIVE, index);
}

static inline void
guest_offer_all(struct guest *guest)
{
    for (uint16_t i = 0; i < DRIVER_QUEUE_SIZE; i++)
        guest_offer(guest, i);
    driver_ring(guest->driver, VIRTIO_VSOCK_RECEIVE);
}

static inline void
guest_start(struct guest *guest)
{
    guest->received = 0;
    guest->transmitted = 0;
    driver_set_up(guest->driver, GUEST_FEATURES);
}

static inline struct guest *
guest_make(void)
{
    struct guest *guest = calloc(1, sizeof *guest);
    struct virtio_vsock_settings settings = { .cid = GUEST_CID, .patience_ms = GUEST_PATIENCE_MS, .connect = guest_connect };

    assert_non_null(guest);
    guest->driver = driver_make();
    guest_listen(guest);
    settings.listener = guest->listener;
    settings.context = guest;
    assert_int_equal(virtio_vsock_create(&guest->driver->memory, &settings, &guest->vsock), 0);
    driver_connect(guest->driver, virtio_vsock_device(guest->vsock));
    return guest;
}

static inline void
guest_free(struct guest *guest)
{
    driver_free(guest->driver);
    virtio_vsock_destroy(guest->vsock);
    fd_close_all(guest->host, guest->made);
    fd_close(&guest->listener);
    free(guest);
}

/* One packet to the device, as it is. It is under way when this returns. */
static inline void
guest_transmit_raw(struct guest *guest, const struct virtio_vsock_hdr *header, const void *payload, uint32_t size)
{
    struct driver *driver = guest->driver;

    memcpy(driver_at(driver, GUEST_TRANSMIT), header, sizeof *header);
    if (size > 0)
        memcpy(driver_at(driver, GUEST_TRANSMIT + sizeof *header), payload, size);
    driver_describe(driver, VIRTIO_VSOCK_TRANSMIT, 0,
                    (struct vring_desc){ GUEST_TRANSMIT, (uint32_t)sizeof *header + size, 0, 0 });
    driver_offer(driver, VIRTIO_VSOCK_TRANSMIT, 0);
    driver_ring(driver, VIRTIO_VSOCK_TRANSMIT);
    guest->transmitted++;
}

static inline void
guest_transmit(struct guest *guest, const struct virtio_vsock_hdr *header, const void *payload, uint32_t size)
{
    guest_transmit_raw(guest, header, payload, size);
    driver_wait_used(guest->driver, VIRTIO_VSOCK_TRANSMIT, (uint16_t)guest->transmitted);
}

/* A packet from a port of the guest's to one of the host's. */
static inline struct virtio_vsock_hdr
guest_header(uint32_t guest_port, uint32_t host_port, enum virtio_vsock_op operation)
{
    return (struct virtio_vsock_hdr){
        .src_cid = GUEST_CID, .dst_cid = GUEST_HOST_CID, .src_port = guest_port, .dst_port = host_port,
        .type = VIRTIO_VSOCK_TYPE_STREAM, .op = (uint16_t)operation, .buf_alloc = GUEST_ROOM,
    };
}

static inline void
guest_say(struct guest *guest, uint32_t guest_port, uint32_t host_port, enum virtio_vsock_op operation, uint32_t flags)
{
    struct virtio_vsock_hdr header = guest_header(guest_port, host_port, operation);

    header.flags = flags;
    guest_transmit(guest, &header, NULL, 0);
}

static inline void
guest_write(struct guest *guest, uint32_t guest_port, uint32_t host_port, const void *bytes, uint32_t size)
{
    struct virtio_vsock_hdr header = guest_header(guest_port, host_port, VIRTIO_VSOCK_OP_RW);

    header.len = size;
    guest_transmit(guest, &header, bytes, size);
}

/* A packet came already. */
static inline bool
guest_has_packet(struct guest *guest)
{
    return driver_used(guest->driver, VIRTIO_VSOCK_RECEIVE) != guest->received;
}

/* The next packet; its buffer is offered again. */
static inline void
guest_receive(struct guest *guest, struct packet *packet)
{
    struct vring_used_elem element;

    while (!guest_has_packet(guest))
        driver_wait(guest->driver);
    element = driver_used_at(guest->driver, VIRTIO_VSOCK_RECEIVE, guest->received++);
    memcpy(packet, driver_at(guest->driver, GUEST_RECEIVE + element.id * GUEST_RECEIVE_SIZE), sizeof *packet);
    assert_int_equal(element.len, VSOCK_HEADER_SIZE + packet->header.len);
    assert_int_equal(packet->header.src_cid, GUEST_HOST_CID);
    assert_int_equal(packet->header.dst_cid, GUEST_CID);
    guest_offer(guest, (uint16_t)element.id);
    driver_ring(guest->driver, VIRTIO_VSOCK_RECEIVE);
}

/* It is this one. */
static inline struct packet
guest_expect(struct guest *guest, uint32_t guest_port, uint32_t host_port, enum virtio_vsock_op operation)
{
    struct packet packet;

    guest_receive(guest, &packet);
    assert_int_equal(packet.header.op, operation);
    assert_int_equal(packet.header.src_port, host_port);
    assert_int_equal(packet.header.dst_port, guest_port);
    return packet;
}

/* A program on the host. */
static inline int
guest_client(struct guest *guest, const char *text)
{
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(client, (struct sockaddr *)&guest->address, guest->address_size), 0);
    assert_int_equal(write(client, text, strlen(text)), strlen(text));
    return client;
}

static inline void
guest_expect_text(int fd, const char *text)
{
    char got[64] = "";
    struct pollfd wait = { .fd = fd, .events = POLLIN };

    assert_int_equal(poll(&wait, 1, DRIVER_ENOUGH_MS), 1);
    assert_int_equal(recv(fd, got, strlen(text), MSG_WAITALL), strlen(text));
    assert_string_equal(got, text);
}

/* The end of what comes, or a reset, and nothing before it. */
static inline void
guest_expect_end(int fd)
{
    struct pollfd wait = { .fd = fd, .events = POLLIN };
    char byte;

    assert_int_equal(poll(&wait, 1, DRIVER_ENOUGH_MS), 1);
    assert_true(read(fd, &byte, 1) <= 0);
}

/* The guest connects to the host's port 52. Gives the host's end. */
static inline int
guest_open(struct guest *guest, uint32_t guest_port)
{
    guest_say(guest, guest_port, 52, VIRTIO_VSOCK_OP_REQUEST, 0);
    guest_expect(guest, guest_port, 52, VIRTIO_VSOCK_OP_RESPONSE);
    return guest->host[guest->made - 1];
}

#endif
