#include "proto/vcpu_wire.h"

#include "proto/wire.h"

#include <errno.h>
#include <string.h>

/* A field's tag: its number, and how it is written. All numbers here are below 16, so that a tag is one byte. */
#define TAG_VARINT(number) ((uint8_t)((number) << 3))
#define TAG_BYTES(number) ((uint8_t)((number) << 3 | 2))

/* The length of a field may be written with more bytes than it needs; protobuf-c reads so many. */
#define LENGTH_BYTES_MAX 5

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
    IO_FIELDS,
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

    if (taken <= 0 || taken > LENGTH_BYTES_MAX || value > size - (size_t)taken)
        return 0;
    *length = (size_t)value;
    return (size_t)taken;
}

ssize_t
vcpu_wire_put_resume(const VcpuRequest__Resume *resume, uint8_t *out, size_t capacity)
{
    const size_t resume_size = bytes_size(&resume->data) + bytes_size(&resume->regs) + bytes_size(&resume->sregs) +
                               bytes_size(&resume->debugregs);
    const size_t size = 1 + varint_size(resume_size) + resume_size;

    if (size > capacity)
        return -EMSGSIZE;
    out = put_header(out, REQUEST_RESUME, resume_size);
    out = put_bytes(out, RESUME_DATA, &resume->data);
    out = put_bytes(out, RESUME_REGS, &resume->regs);
    out = put_bytes(out, RESUME_SREGS, &resume->sregs);
    put_bytes(out, RESUME_DEBUGREGS, &resume->debugregs);
    return (ssize_t)size;
}

/* Where the fields begin of a message that is nothing but `field` and fills all of `data` from `at` on; 0: it is none. */
static size_t
enter_message(const uint8_t *data, size_t size, size_t at, unsigned field)
{
    size_t length, taken;

    if (size - at < 2 || data[at] != TAG_BYTES(field))
        return 0;
    taken = get_length(data + at + 1, size - at - 1, &length);
    return taken != 0 && at + 1 + taken + length == size ? at + 1 + taken : 0;
}

/* A field of bytes whose tag was read; what it took, 0 where it cannot be read. */
static size_t
get_bytes(const uint8_t *data, size_t size, ProtobufCBinaryData *bytes)
{
    size_t taken = get_length(data, size, &bytes->len);

    bytes->data = (uint8_t *)(uintptr_t)(data + taken);
    return taken == 0 ? 0 : taken + bytes->len;
}

bool
vcpu_wire_get_resume(const uint8_t *data, size_t size, VcpuRequest__Resume *resume)
{
    ProtobufCBinaryData *const fields[RESUME_FIELDS] = {
        NULL, &resume->data, &resume->regs, &resume->sregs, &resume->debugregs,
    };
    size_t at = enter_message(data, size, 0, REQUEST_RESUME);
    unsigned seen = 0;

    if (at == 0)
        return false;
    vcpu_request__resume__init(resume);
    while (at < size) {
        const unsigned field = data[at] >> 3;
        size_t taken;

        if (field < RESUME_DATA || field >= RESUME_FIELDS || data[at] != TAG_BYTES(field) || (seen >> field & 1) != 0)
            return false;
        seen |= 1u << field;
        at++;
        taken = get_bytes(data + at, size - at, fields[field]);
        if (taken == 0)
            return false;
        at += taken;
    }
    return true;
}

/* One field of an access, whose tag says that it is a number: what it took, 0 where it cannot be read. */
static size_t
get_io_number(const uint8_t *data, size_t size, unsigned field, VcpuResponse__Wait__Io *io)
{
    uint64_t value;
    ssize_t taken = wire_get_varint(data, size, &value);

    if (taken <= 0)
        return 0;
    switch (field) {
    case IO_SPACE:
        /* What else may come is another's to judge. */
        if (value > ADDRESS_SPACE__MMIO)
            return 0;
        io->space = (AddressSpace)value;
        break;
    case IO_ADDRESS:
        io->address = value;
        break;
    case IO_IS_WRITE:
        io->is_write = value != 0;
        break;
    default:
        io->no_resume = value != 0;
    }
    return (size_t)taken;
}

bool
vcpu_wire_get_io(const uint8_t *data, size_t size, VcpuResponse__Wait__Io *io)
{
    ProtobufCBinaryData *const fields[IO_FIELDS] = {
        [IO_DATA] = &io->data, [IO_REGS] = &io->regs, [IO_SREGS] = &io->sregs, [IO_DEBUGREGS] = &io->debugregs,
    };
    size_t at = enter_message(data, size, 0, RESPONSE_WAIT);
    unsigned seen = 0;

    at = at == 0 ? 0 : enter_message(data, size, at, WAIT_IO);
    if (at == 0)
        return false;
    vcpu_response__wait__io__init(io);
    while (at < size) {
        const unsigned field = data[at] >> 3;
        size_t taken;

        if (field < IO_SPACE || field >= IO_FIELDS || (seen >> field & 1) != 0 ||
            data[at] != (field < IO_DATA ? TAG_VARINT(field) : TAG_BYTES(field)))
            return false;
        seen |= 1u << field;
        at++;
        taken = field < IO_DATA ? get_io_number(data + at, size - at, field, io) : get_bytes(data + at, size - at, fields[field]);
        if (taken == 0)
            return false;
        at += taken;
    }
    return true;
}
