#include "vmproc/vcpu_wire.h"

#include "proto/wire.h"

#include <errno.h>
#include <string.h>

/* A field's tag: its number, and how it is written. All numbers here are below 16, so that a tag is one byte. */
#define TAG_VARINT(number) ((uint8_t)((number) << 3))
#define TAG_BYTES(number) ((uint8_t)((number) << 3 | 2))

/* Fields of proto/plugin.proto. */
enum { RESPONSE_WAIT = 2, WAIT_IO = 2 };
enum {
    IO_SPACE = 1,
    IO_ADDRESS,
    IO_IS_WRITE,
    IO_NO_RESUME,
    IO_DATA,
    IO_REGS,
    IO_SREGS,
    IO_DEBUGREGS,
};
enum { REQUEST_RESUME = 2 };
enum { RESUME_DATA = 1, RESUME_REGS, RESUME_SREGS, RESUME_DEBUGREGS, RESUME_FIELDS };

static size_t
varint_size(uint64_t value)
{
    size_t size = 1;

    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

/* A field that has its default value is left out. */
static size_t
number_size(uint64_t value)
{
    return value == 0 ? 0 : 1 + varint_size(value);
}

static size_t
bytes_size(const ProtobufCBinaryData *bytes)
{
    return bytes->len == 0 ? 0 : 1 + varint_size(bytes->len) + bytes->len;
}

static uint8_t *
put_number(uint8_t *out, unsigned field, uint64_t value)
{
    if (value == 0)
        return out;
    *out++ = TAG_VARINT(field);
    return out + wire_put_varint(value, out);
}

static uint8_t *
put_bytes(uint8_t *out, unsigned field, const ProtobufCBinaryData *bytes)
{
    if (bytes->len == 0)
        return out;
    *out++ = TAG_BYTES(field);
    out += wire_put_varint(bytes->len, out);
    memcpy(out, bytes->data, bytes->len);
    return out + bytes->len;
}

static uint8_t *
put_header(uint8_t *out, unsigned field, size_t size)
{
    *out++ = TAG_BYTES(field);
    return out + wire_put_varint(size, out);
}

ssize_t
vcpu_wire_put_io(const VcpuResponse__Wait__Io *io, uint8_t *out, size_t capacity)
{
    const size_t io_size = number_size((uint64_t)io->space) + number_size(io->address) +
                           number_size(io->is_write != 0) + number_size(io->no_resume != 0) + bytes_size(&io->data) +
                           bytes_size(&io->regs) + bytes_size(&io->sregs) + bytes_size(&io->debugregs);
    const size_t wait_size = 1 + varint_size(io_size) + io_size;
    const size_t size = 1 + varint_size(wait_size) + wait_size;

    if (size > capacity)
        return -EMSGSIZE;
    out = put_header(out, RESPONSE_WAIT, wait_size);
    out = put_header(out, WAIT_IO, io_size);
    out = put_number(out, IO_SPACE, (uint64_t)io->space);
    out = put_number(out, IO_ADDRESS, io->address);
    out = put_number(out, IO_IS_WRITE, io->is_write != 0);
    out = put_number(out, IO_NO_RESUME, io->no_resume != 0);
    out = put_bytes(out, IO_DATA, &io->data);
    out = put_bytes(out, IO_REGS, &io->regs);
    out = put_bytes(out, IO_SREGS, &io->sregs);
    put_bytes(out, IO_DEBUGREGS, &io->debugregs);
    return (ssize_t)size;
}

/* The length of a field of bytes, after its tag: 0 bytes taken where it cannot be read, or is longer than what is left. */
static size_t
get_length(const uint8_t *data, size_t size, size_t *length)
{
    uint64_t value;
    ssize_t taken = wire_get_varint(data, size, &value);

    if (taken <= 0 || value > size - (size_t)taken)
        return 0;
    *length = (size_t)value;
    return (size_t)taken;
}

bool
vcpu_wire_get_resume(const uint8_t *data, size_t size, VcpuRequest__Resume *resume)
{
    ProtobufCBinaryData *const fields[RESUME_FIELDS] = {
        NULL, &resume->data, &resume->regs, &resume->sregs, &resume->debugregs,
    };
    unsigned seen = 0;
    size_t length, taken;

    if (size < 2 || data[0] != TAG_BYTES(REQUEST_RESUME))
        return false;
    taken = get_length(data + 1, size - 1, &length);
    if (taken == 0 || 1 + taken + length != size)
        return false;
    vcpu_request__resume__init(resume);
    for (size_t at = 1 + taken; at < size; at += length) {
        const unsigned field = data[at] >> 3;

        if (field < RESUME_DATA || field >= RESUME_FIELDS || data[at] != TAG_BYTES(field) || (seen >> field & 1) != 0)
            return false;
        seen |= 1u << field;
        at++;
        taken = get_length(data + at, size - at, &length);
        if (taken == 0)
            return false;
        at += taken;
        fields[field]->data = (uint8_t *)(uintptr_t)(data + at);
        fields[field]->len = length;
    }
    return true;
}
