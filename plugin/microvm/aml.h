/*
 * Writes AML, the byte code of ACPI's definition blocks (ACPI 6.5, section 20), into a buffer of the caller's. Nothing fails at once: what
 * does not fit is left out and `full` tells of it at the end. Names of four letters are the caller's to get right.
 */
#ifndef VMSUP_PLUGIN_MICROVM_AML_H
#define VMSUP_PLUGIN_MICROVM_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
    uint8_t *bytes;
    size_t capacity;
    size_t size;
    bool full;
};

void aml_put(struct aml *aml, const void *bytes, size_t size);
void aml_byte(struct aml *aml, uint8_t byte);

/* Data objects (20.2.3). */
void aml_integer(struct aml *aml, uint32_t value);
void aml_string(struct aml *aml, const char *text);
/* Three capitals and four hexadecimal digits, as the 32-bit number that ASL's EISAID() makes of them (19.6.36). */
void aml_eisa_id(struct aml *aml, const char *id);

/* `Name (path, …)`: an object has to follow. */
void aml_name(struct aml *aml, const char *path);

/* `Notify (path, value)` (19.6.95), in a method. */
void aml_notify(struct aml *aml, const char *path, uint32_t value);

/* What has a length of its own ends with aml_end(), which takes what the beginning gave. */
size_t aml_scope_begin(struct aml *aml, const char *path);
size_t aml_device_begin(struct aml *aml, const char *name);
size_t aml_package_begin(struct aml *aml, uint8_t elements);
/* `Method (NAME, arguments, NotSerialized)`, and `If (LEqual (Arg0, value))` in one. */
size_t aml_method_begin(struct aml *aml, const char *name, uint8_t arguments);
size_t aml_if_argument_is_begin(struct aml *aml, uint32_t value);
void aml_end(struct aml *aml, size_t start);

/* A resource template (6.4): a buffer of descriptors, of 255 bytes at most. aml_resources_end() closes it. */
enum aml_trigger {
    AML_LEVEL = 0x01, /* and active high, exclusive, consumed (6.4.3.6) */
    AML_EDGE = 0x03,
};
size_t aml_resources_begin(struct aml *aml);
void aml_ports(struct aml *aml, uint16_t start, uint8_t length);
void aml_memory(struct aml *aml, uint32_t start, uint32_t length);
void aml_interrupt(struct aml *aml, uint32_t gsi, enum aml_trigger trigger);
void aml_resources_end(struct aml *aml, size_t start);

#endif
