#include "plugin/microvm/acpi.h"
#include "plugin/microvm/aml.h"
#include "plugin/microvm/layout.h"

#include <errno.h>
#include <string.h>

/* 5.2.9: the FADT of ACPI 6.5, and the bits of it that are set here. */
#define FADT_REVISION 6
#define FADT_MINOR_REVISION 5
#define FADT_WBINVD (1U << 0)
#define FADT_NO_FIXED_POWER_BUTTON (1U << 4) /* it is a device of the DSDT */
#define FADT_NO_SLEEP_BUTTON (1U << 5)
#define FADT_NO_RTC_WAKE (1U << 6)
#define FADT_RESET_REGISTER (1U << 10)
#define FADT_HARDWARE_REDUCED (1U << 20)
/* 5.2.9.3; no 8042 is announced: there is nothing behind it but reset. */
#define BOOT_LEGACY_DEVICES (1U << 0)
#define BOOT_NO_VGA (1U << 2)
#define BOOT_NO_MSI (1U << 3)

/* 5.6.6, table 5.185: what a power button that was pressed is notified of. */
#define NOTIFY_BUTTON_PRESSED 0x80

/* 5.2.12: kinds of entries. A local APIC has 8 bits of id, of which the last means all. */
#define MADT_LOCAL_APIC 0
#define MADT_IOAPIC 1
#define MADT_LOCAL_X2APIC 9
#define MADT_ENABLED 1
#define LOCAL_APIC_IDS 255

_Static_assert(LAYOUT_VIRTIO_SLOTS <= 16, "a slot's name has one hexadecimal digit");

struct table_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} __attribute__((packed));

/* 5.2.3.2 */
struct generic_address {
    uint8_t space, bit_width, bit_offset, access_size;
    uint64_t address;
} __attribute__((packed));

struct rsdp {
    char signature[8];
    uint8_t checksum;
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

struct fadt {
    struct table_header header;
    uint32_t facs, dsdt;
    uint8_t reserved_1, profile;
    uint8_t legacy_registers[63];
    uint16_t boot_flags;
    uint8_t reserved_2;
    uint32_t flags;
    struct generic_address reset;
    uint8_t reset_value;
    uint16_t arm_boot_flags;
    uint8_t minor_revision;
    uint64_t x_facs, x_dsdt;
    struct generic_address legacy_blocks[8];
    struct generic_address sleep_control, sleep_status;
    uint64_t hypervisor;
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 276, "5.2.9: the FADT");

struct madt_local_apic {
    uint8_t kind, length, processor, id;
    uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
    uint8_t kind, length, id, reserved;
    uint32_t address, first_gsi;
} __attribute__((packed));

struct madt_local_x2apic {
    uint8_t kind, length;
    uint16_t reserved;
    uint32_t id, flags, processor;
} __attribute__((packed));

/* The block of tables while it is written; AML's writer serves for all of it. */
struct tables {
    uint64_t address;
    struct aml out;
};

static uint8_t
checksum(const uint8_t *bytes, size_t size)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return (uint8_t)-sum;
}

static size_t
table_begin(struct tables *tables, const char *signature, uint8_t revision)
{
    struct table_header header = { .revision = revision, .oem_revision = 1, .creator_revision = 1 };
    size_t start;

    memcpy(header.signature, signature, sizeof header.signature);
    memcpy(header.oem_id, "VMSUP ", sizeof header.oem_id);
    memcpy(header.oem_table_id, "MICROVM ", sizeof header.oem_table_id);
    memcpy(header.creator_id, "VSUP", sizeof header.creator_id);
    while (tables->out.size % 16 != 0 && !tables->out.full)
        aml_byte(&tables->out, 0);
    start = tables->out.size;
    aml_put(&tables->out, &header, sizeof header);
    return start;
}

/* Length and checksum, once all of it is there; gives the table's address. */
static uint64_t
table_end(struct tables *tables, size_t start)
{
    struct table_header *header = (struct table_header *)(tables->out.bytes + start);

    if (!tables->out.full) {
        header->length = (uint32_t)(tables->out.size - start);
        header->checksum = 0;
        header->checksum = checksum(tables->out.bytes + start, header->length);
    }
    return tables->address + start;
}

static void
describe_serial(struct aml *aml)
{
    size_t device = aml_device_begin(aml, "COM1"), resources;

    aml_name(aml, "_HID");
    aml_eisa_id(aml, "PNP0501");
    aml_name(aml, "_UID");
    aml_integer(aml, 0);
    aml_name(aml, "_CRS");
    resources = aml_resources_begin(aml);
    aml_ports(aml, LAYOUT_SERIAL, LAYOUT_SERIAL_LENGTH);
    aml_interrupt(aml, LAYOUT_SERIAL_GSI, AML_LEVEL);
    aml_resources_end(aml, resources);
    aml_end(aml, device);
}

static void
describe_rtc(struct aml *aml)
{
    size_t device = aml_device_begin(aml, "RTC0"), resources;

    aml_name(aml, "_HID");
    aml_eisa_id(aml, "PNP0B00");
    aml_name(aml, "_CRS");
    resources = aml_resources_begin(aml);
    aml_ports(aml, LAYOUT_RTC, LAYOUT_RTC_LENGTH);
    aml_resources_end(aml, resources);
    aml_end(aml, device);
}

/* 4.8.3.3.2.1: a control method power button, and 5.6.9: the device by which a machine without an SCI notifies it. */
static void
describe_button(struct aml *aml)
{
    size_t device = aml_device_begin(aml, "PWRB"), resources, method, condition;

    aml_name(aml, "_HID");
    aml_eisa_id(aml, "PNP0C0C");
    aml_end(aml, device);

    device = aml_device_begin(aml, "GED0");
    aml_name(aml, "_HID");
    aml_string(aml, "ACPI0013");
    aml_name(aml, "_CRS");
    resources = aml_resources_begin(aml);
    aml_interrupt(aml, LAYOUT_BUTTON_GSI, AML_EDGE);
    aml_resources_end(aml, resources);
    method = aml_method_begin(aml, "_EVT", 1);
    condition = aml_if_argument_is_begin(aml, LAYOUT_BUTTON_GSI);
    aml_notify(aml, "PWRB", NOTIFY_BUTTON_PRESSED);
    aml_end(aml, condition);
    aml_end(aml, method);
    aml_end(aml, device);
}

static void
describe_virtio(struct aml *aml, uint32_t slot)
{
    const char name[] = { 'V', 'R', '0', "0123456789ABCDEF"[slot], '\0' };
    size_t device, resources;

    device = aml_device_begin(aml, name);
    aml_name(aml, "_HID");
    aml_string(aml, "LNRO0005");
    aml_name(aml, "_UID");
    aml_integer(aml, slot);
    aml_name(aml, "_CRS");
    resources = aml_resources_begin(aml);
    aml_memory(aml, (uint32_t)(LAYOUT_VIRTIO_START + slot * LAYOUT_VIRTIO_LENGTH), LAYOUT_VIRTIO_LENGTH);
    aml_interrupt(aml, LAYOUT_VIRTIO_GSI(slot), AML_EDGE);
    aml_resources_end(aml, resources);
    aml_end(aml, device);
}

static uint64_t
write_dsdt(struct tables *tables, const struct acpi_machine *machine)
{
    struct aml *aml = &tables->out;
    size_t table = table_begin(tables, "DSDT", 2), scope, package;

    scope = aml_scope_begin(aml, "_SB_");
    describe_serial(aml);
    describe_rtc(aml);
    describe_button(aml);
    for (uint32_t slot = 0; slot < machine->virtio_count; slot++)
        describe_virtio(aml, slot);
    aml_end(aml, scope);
    /* 7.4.2.6: what S5 is called; the second is for a register that is not there. */
    aml_name(aml, "_S5_");
    package = aml_package_begin(aml, 2);
    aml_integer(aml, ACPI_SLEEP_TYPE_OFF);
    aml_integer(aml, 0);
    aml_end(aml, package);
    return table_end(tables, table);
}

static struct generic_address
port(uint16_t number)
{
    return (struct generic_address){ .space = 1, .bit_width = 8, .access_size = 1, .address = number };
}

static uint64_t
write_fadt(struct tables *tables, uint64_t dsdt)
{
    const struct fadt fadt = {
        .dsdt = (uint32_t)dsdt,
        .x_dsdt = dsdt,
        .boot_flags = BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_MSI,
        .flags = FADT_WBINVD | FADT_NO_FIXED_POWER_BUTTON | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE | FADT_RESET_REGISTER |
                 FADT_HARDWARE_REDUCED,
        .reset = port(LAYOUT_POWER_RESET),
        .reset_value = ACPI_RESET_VALUE,
        .minor_revision = FADT_MINOR_REVISION,
        .sleep_control = port(LAYOUT_POWER_SLEEP_CONTROL),
        .sleep_status = port(LAYOUT_POWER_SLEEP_STATUS),
    };
    size_t table = table_begin(tables, "FACP", FADT_REVISION);

    aml_put(&tables->out, (const uint8_t *)&fadt + sizeof fadt.header, sizeof fadt - sizeof fadt.header);
    return table_end(tables, table);
}

static void
put_processor(struct aml *out, uint32_t id)
{
    const struct madt_local_apic small = {
        .kind = MADT_LOCAL_APIC, .length = sizeof small, .processor = (uint8_t)id, .id = (uint8_t)id, .flags = MADT_ENABLED,
    };
    const struct madt_local_x2apic large = {
        .kind = MADT_LOCAL_X2APIC, .length = sizeof large, .id = id, .flags = MADT_ENABLED, .processor = id,
    };

    if (id < LOCAL_APIC_IDS)
        aml_put(out, &small, sizeof small);
    else
        aml_put(out, &large, sizeof large);
}

static uint64_t
write_madt(struct tables *tables, const struct acpi_machine *machine)
{
    const uint32_t local_apic[2] = { LAYOUT_LOCAL_APIC, 0 };
    const struct madt_ioapic ioapic = {
        .kind = MADT_IOAPIC, .length = sizeof ioapic, .id = LAYOUT_IOAPIC_ID, .address = LAYOUT_IOAPIC,
    };
    size_t table = table_begin(tables, "APIC", 5);

    aml_put(&tables->out, local_apic, sizeof local_apic);
    for (uint32_t id = 0; id < machine->vcpu_count; id++)
        put_processor(&tables->out, id);
    aml_put(&tables->out, &ioapic, sizeof ioapic);
    return table_end(tables, table);
}

static uint64_t
write_xsdt(struct tables *tables, uint64_t fadt, uint64_t madt)
{
    const uint64_t others[] = { fadt, madt };
    size_t table = table_begin(tables, "XSDT", 1);

    aml_put(&tables->out, others, sizeof others);
    return table_end(tables, table);
}

/* 5.2.5.3: the first checksum is over what ACPI 1.0 had. */
static void
write_rsdp(uint8_t *where, uint64_t xsdt)
{
    struct rsdp rsdp = { .revision = 2, .length = sizeof rsdp, .xsdt = xsdt };

    memcpy(rsdp.signature, "RSD PTR ", sizeof rsdp.signature);
    memcpy(rsdp.oem_id, "VMSUP ", sizeof rsdp.oem_id);
    rsdp.checksum = checksum((const uint8_t *)&rsdp, offsetof(struct rsdp, length));
    rsdp.extended_checksum = checksum((const uint8_t *)&rsdp, sizeof rsdp);
    memcpy(where, &rsdp, sizeof rsdp);
}

int
acpi_write(const struct acpi_machine *machine, uint64_t address, uint8_t *bytes, size_t capacity)
{
    struct tables tables = {
        .address = address, .out = { .bytes = bytes, .capacity = capacity, .size = sizeof(struct rsdp) },
    };
    uint64_t dsdt, fadt, madt, xsdt;

    if (capacity < sizeof(struct rsdp))
        return -ENOSPC;
    dsdt = write_dsdt(&tables, machine);
    fadt = write_fadt(&tables, dsdt);
    madt = write_madt(&tables, machine);
    xsdt = write_xsdt(&tables, fadt, madt);
    if (tables.out.full)
        return -ENOSPC;
    write_rsdp(bytes, xsdt);
    return 0;
}
