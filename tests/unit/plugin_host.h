/*
 * A host that the test plays, for the plugin library: what goes over the wire is compared with bytes that were written by hand from the
 * interface's numbers. Answers lie in the socket before they are asked for, so that one thread is enough. Each test counts the
 * descriptors that are open before and after.
 */
#ifndef VMSUP_TESTS_UNIT_PLUGIN_HOST_H
#define VMSUP_TESTS_UNIT_PLUGIN_HOST_H

#include "plugin/vmsup-plugin.h"
#include "proto/message.h"
#include "proto/plugin.pb-c.h"
#include "proto/wire.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES(...) ((const uint8_t[]){ __VA_ARGS__ }), sizeof((const uint8_t[]){ __VA_ARGS__ })

struct host {
    int socket;      /* the host's end */
    int requests;    /* of vCPU 0, to read */
    int responses;   /* of vCPU 0, to write */
    struct vmsup *vm;
    struct vmsup_vcpu *vcpu;
    size_t descriptors; /* open before */
};

static inline void
host_answer(struct host *host, const MainResponse *response, const int *fds, size_t count)
{
    uint8_t buffer[65536];
    ssize_t size = message_pack(&response->base, buffer, sizeof buffer);

    assert_true(size >= 0);
    assert_int_equal(message_send(host->socket, buffer, (size_t)size, fds, count, 0), 0);
}

static inline void
host_answer_bytes(struct host *host, const uint8_t *bytes, size_t size)
{
    assert_int_equal(send(host->socket, bytes, size, 0), (ssize_t)size);
}

/* What the library has asked is exactly this; with so many descriptors. */
static inline void
host_expect(struct host *host, const uint8_t *bytes, size_t size, size_t fd_count)
{
    struct message_fds fds;
    uint8_t buffer[WIRE_REQUEST_MAX];
    ssize_t got = message_receive(host->socket, buffer, sizeof buffer, &fds, MESSAGE_FDS_MAX, MSG_DONTWAIT);

    assert_int_equal(got, (ssize_t)size);
    assert_memory_equal(buffer, bytes, size);
    assert_int_equal(fds.count, fd_count);
    message_close_fds(&fds);
}

static inline void
host_expect_nothing(struct host *host)
{
    assert_int_equal(recv(host->socket, &(uint8_t){ 0 }, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    assert_int_equal(errno, EAGAIN);
}

static inline int
host_set_up(void **state)
{
    struct host *host = calloc(1, sizeof *host);
    MainResponse__Empty body = MAIN_RESPONSE__EMPTY__INIT;
    MainResponse response = MAIN_RESPONSE__INIT;
    int sockets[2], up[2], down[2];
    char number[16];

    host->descriptors = scratch_count_descriptors();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    assert_int_equal(pipe2(up, O_CLOEXEC), 0);
    assert_int_equal(pipe2(down, O_CLOEXEC), 0);
    fcntl(down[1], F_SETPIPE_SZ, WIRE_VCPU_PIPE_SIZE);
    host->socket = sockets[0];
    host->requests = up[0];
    host->responses = down[1];
    response.message_case = MAIN_RESPONSE__MESSAGE_GET_VCPUS;
    response.get_vcpus = &body;
    host_answer(host, &response, (const int[]){ up[1], down[0] }, 2);
    close(up[1]);
    close(down[0]);
    snprintf(number, sizeof number, "%d", sockets[1]);
    setenv("VMSUP_SOCKET", number, 1);
    setenv("CROSVM_SOCKET", "1000", 1);
    assert_int_equal(vmsup_connect(&host->vm), 0);
    host_expect(host, BYTES(0x8a, 0x01, 0x00), 0);
    assert_int_equal(vmsup_get_vcpu(host->vm, 0, &host->vcpu), 0);
    *state = host;
    return 0;
}

static inline int
host_tear_down(void **state)
{
    struct host *host = *state;
    size_t descriptors = host->descriptors;

    vmsup_destroy_connection(&host->vm);
    assert_null(host->vm);
    close(host->socket);
    close(host->requests);
    close(host->responses);
    free(host);
    assert_int_equal(scratch_count_descriptors(), descriptors);
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, host_set_up, host_tear_down)

#endif
