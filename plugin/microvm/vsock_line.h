/*
 * The two lines with which a connection of the host's begins: a client writes "CONNECT PORT" and reads "OK PORT", each with a newline, PORT
 * being the guest's in the first and the connection's own on the host's side in the second. Text alone.
 */
#ifndef VMSUP_PLUGIN_MICROVM_VSOCK_LINE_H
#define VMSUP_PLUGIN_MICROVM_VSOCK_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What either line has at most, newline included; a client's first bytes without one are no line. */
#define VSOCK_LINE_MAX 32

/* A line of `size` bytes with its newline. false: it is not what is expected, or the port is none (2^32 - 1 stands for any). */
bool vsock_line_parse(const char *line, size_t size, uint32_t *port);

/* Gives the length; no NUL counts. */
size_t vsock_line_answer(char line[VSOCK_LINE_MAX], uint32_t port);

#endif
