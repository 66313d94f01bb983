#include "proto/wire.h"

#include <errno.h>

size_t
wire_put_varint(uint64_t value, uint8_t *out)
{
    size_t length = 0;

    while (value >= 0x80) {
        out[length++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[length++] = (uint8_t)value;
    return length;
}

ssize_t
wire_get_varint(const uint8_t *data, size_t size, uint64_t *value)
{
    uint64_t result = 0;

    for (size_t i = 0; i < size && i < WIRE_VARINT_MAX; i++) {
        uint64_t bits = data[i] & 0x7f;

        if (i == WIRE_VARINT_MAX - 1 && bits > 1)
            return -EBADMSG;
        result |= bits << (7 * i);
        if ((data[i] & 0x80) == 0) {
            *value = result;
            return (ssize_t)i + 1;
        }
    }
    return size >= WIRE_VARINT_MAX ? -EBADMSG : 0;
}

#define ERRNO_MAX 4095

int
wire_errno(int32_t error)
{
    return error > 0 && error <= ERRNO_MAX ? -error : -EPROTO;
}
