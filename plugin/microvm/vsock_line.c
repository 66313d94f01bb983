#include "plugin/microvm/vsock_line.h"

#include <stdio.h>
#include <string.h>

#define VERB "CONNECT "

bool
vsock_line_parse(const char *line, size_t size, uint32_t *port)
{
    const size_t verb = sizeof VERB - 1;
    uint32_t value = 0;

    if (size < verb + 2 || size > VSOCK_LINE_MAX || memcmp(line, VERB, verb) != 0 || line[size - 1] != '\n')
        return false;
    for (size_t i = verb; i < size - 1; i++) {
        if (line[i] < '0' || line[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint32_t)(line[i] - '0'), &value))
            return false;
    }
    *port = value;
    return value != UINT32_MAX;
}

size_t
vsock_line_answer(char line[VSOCK_LINE_MAX], uint32_t port)
{
    return (size_t)snprintf(line, VSOCK_LINE_MAX, "OK %u\n", port);
}
