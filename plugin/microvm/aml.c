#include "plugin/microvm/aml.h"

#include <stdlib.h>
#include <string.h>

/* 20.3 */
#define ZERO_OP 0x00
#define ONE_OP 0x01
#define NAME_OP 0x08
#define BYTE_PREFIX 0x0a
#define WORD_PREFIX 0x0b
#define DWORD_PREFIX 0x0c
#define STRING_PREFIX 0x0d
#define SCOPE_OP 0x10
#define BUFFER_OP 0x11
#define PACKAGE_OP 0x12
#define METHOD_OP 0x14
#define EXT_OP_PREFIX 0x5b
#define ARG0_OP 0x68
#define DEVICE_OP 0x82
#define NOTIFY_OP 0x86
#define LEQUAL_OP 0x93
#define IF_OP 0xa0

void
aml_put(struct aml *aml, const void *bytes, size_t size)
{
    if (aml->capacity - aml->size < size) {
        aml->full = true;
        return;
    }
    memcpy(aml->bytes + aml->size, bytes, size);
    aml->size += size;
}

void
aml_byte(struct aml *aml, uint8_t byte)
{
    aml_put(aml, &byte, 1);
}

/* The processor is little-endian, as AML is. */
static void
put_u16(struct aml *aml, uint16_t value)
{
    aml_put(aml, &value, sizeof value);
}

static void
put_u32(struct aml *aml, uint32_t value)
{
    aml_put(aml, &value, sizeof value);
}

void
aml_integer(struct aml *aml, uint32_t value)
{
    if (value == 0) {
        aml_byte(aml, ZERO_OP);
    } else if (value == 1) {
        aml_byte(aml, ONE_OP);
    } else if (value <= UINT8_MAX) {
        aml_byte(aml, BYTE_PREFIX);
        aml_byte(aml, (uint8_t)value);
    } else if (value <= UINT16_MAX) {
        aml_byte(aml, WORD_PREFIX);
        put_u16(aml, (uint16_t)value);
    } else {
        aml_byte(aml, DWORD_PREFIX);
        put_u32(aml, value);
    }
}

void
aml_string(struct aml *aml, const char *text)
{
    aml_byte(aml, STRING_PREFIX);
    aml_put(aml, text, strlen(text) + 1);
}

void
aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t letters = (uint32_t)(id[0] & 0x1f) << 10 | (uint32_t)(id[1] & 0x1f) << 5 | (uint32_t)(id[2] & 0x1f);

    aml_byte(aml, DWORD_PREFIX);
    put_u32(aml, __builtin_bswap32(letters << 16 | (uint32_t)strtoul(id + 3, NULL, 16)));
}

static void
put_path(struct aml *aml, const char *path)
{
    aml_put(aml, path, strlen(path));
}

void
aml_name(struct aml *aml, const char *path)
{
    aml_byte(aml, NAME_OP);
    put_path(aml, path);
}

size_t
aml_scope_begin(struct aml *aml, const char *path)
{
    size_t start;

    aml_byte(aml, SCOPE_OP);
    start = aml->size;
    put_path(aml, path);
    return start;
}

size_t
aml_device_begin(struct aml *aml, const char *name)
{
    size_t start;

    aml_byte(aml, EXT_OP_PREFIX);
    aml_byte(aml, DEVICE_OP);
    start = aml->size;
    put_path(aml, name);
    return start;
}

size_t
aml_package_begin(struct aml *aml, uint8_t elements)
{
    size_t start;

    aml_byte(aml, PACKAGE_OP);
    start = aml->size;
    aml_byte(aml, elements);
    return start;
}

/* 20.2.5.2: the flags are the number of arguments. */
size_t
aml_method_begin(struct aml *aml, const char *name, uint8_t arguments)
{
    size_t start;

    aml_byte(aml, METHOD_OP);
    start = aml->size;
    put_path(aml, name);
    aml_byte(aml, arguments);
    return start;
}

size_t
aml_if_argument_is_begin(struct aml *aml, uint32_t value)
{
    size_t start;

    aml_byte(aml, IF_OP);
    start = aml->size;
    aml_byte(aml, LEQUAL_OP);
    aml_byte(aml, ARG0_OP);
    aml_integer(aml, value);
    return start;
}

void
aml_notify(struct aml *aml, const char *path, uint32_t value)
{
    aml_byte(aml, NOTIFY_OP);
    put_path(aml, path);
    aml_integer(aml, value);
}

/* 20.2.4: the length counts its own bytes, one to four; of several, the first has the lowest four bits and how many follow. */
void
aml_end(struct aml *aml, size_t start)
{
    const size_t content = aml->size - start;
    uint8_t length[4];
    size_t size = 1, whole;

    while (size < sizeof length && content + size >= (size == 1 ? 1U << 6 : 1U << (8 * size - 4)))
        size++;
    whole = content + size;
    length[0] = size == 1 ? (uint8_t)whole : (uint8_t)((size - 1) << 6 | (whole & 0x0f));
    for (size_t i = 1; i < size; i++)
        length[i] = (uint8_t)(whole >> (8 * i - 4));
    if (aml->capacity - aml->size < size) {
        aml->full = true;
        return;
    }
    memmove(aml->bytes + start + size, aml->bytes + start, content);
    memcpy(aml->bytes + start, length, size);
    aml->size += size;
}

/* A buffer's size is an integer before its bytes, here always of one byte, to be known at the end. */
#define BUFFER_HEADER 2

size_t
aml_resources_begin(struct aml *aml)
{
    size_t start;

    aml_byte(aml, BUFFER_OP);
    start = aml->size;
    aml_byte(aml, BYTE_PREFIX);
    aml_byte(aml, 0);
    return start;
}

/* 6.4.2.5: decodes 16 bits; one place, aligned as it is. */
void
aml_ports(struct aml *aml, uint16_t start, uint8_t length)
{
    aml_byte(aml, 0x47);
    aml_byte(aml, 1);
    put_u16(aml, start);
    put_u16(aml, start);
    aml_byte(aml, 1);
    aml_byte(aml, length);
}

/* 6.4.3.4: may be written. */
void
aml_memory(struct aml *aml, uint32_t start, uint32_t length)
{
    aml_byte(aml, 0x86);
    put_u16(aml, 9);
    aml_byte(aml, 1);
    put_u32(aml, start);
    put_u32(aml, length);
}

/* 6.4.3.6: one interrupt. */
void
aml_interrupt(struct aml *aml, uint32_t gsi, enum aml_trigger trigger)
{
    aml_byte(aml, 0x89);
    put_u16(aml, 6);
    aml_byte(aml, (uint8_t)trigger);
    aml_byte(aml, 1);
    put_u32(aml, gsi);
}

/* 6.4.2.9: the end, with a checksum of 0, which is always good. */
void
aml_resources_end(struct aml *aml, size_t start)
{
    size_t size;

    aml_byte(aml, 0x79);
    aml_byte(aml, 0);
    if (!aml->full) {
        size = aml->size - start - BUFFER_HEADER;
        aml->full = size > UINT8_MAX;
        aml->bytes[start + 1] = (uint8_t)size;
    }
    aml_end(aml, start);
}
