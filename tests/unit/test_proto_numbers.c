/*
 * The plugin's wire, number by number. Both sides here are made from proto/plugin.proto, so that they would go on
 * understanding each other after a slip in it; programs of the original library would not. So the numbers stand here
 * once more, by themselves.
 */
#include "proto/plugin.pb-c.h"
#include "proto/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/*
 * A message's fields, "number:name" each, followed by a letter for its type: u uint32, U uint64, s sint32, f fixed32,
 * b bool, e enum, y bytes, m message; in capitals where many: M messages, R uint32, W uint64. `oneof` is the number of
 * the first field that belongs to a oneof, as all that follow do; 0: none.
 */
struct shape {
    const ProtobufCMessageDescriptor *message;
    const char *fields;
    unsigned oneof;
};

#define SHAPE(name, fields, oneof) { &name##__descriptor, fields, oneof }

static const struct shape shapes[] = {
    SHAPE(cpuid_entry, "1:function u 3:has_index b 4:index u 5:eax u 6:ebx u 7:ecx u 8:edx u", 0),
    SHAPE(main_request,
          "1:create m 2:destroy m 3:new_connection m 4:get_shutdown_eventfd m 5:check_extension m "
          "6:get_supported_cpuid m 7:get_emulated_cpuid m 8:get_msr_index_list m 9:get_net_config m 10:reserve_range m "
          "11:set_irq m 12:set_irq_routing m 13:get_state m 14:set_state m 15:set_identity_map_addr m "
          "16:pause_vcpus m 17:get_vcpus m 18:start m 19:set_call_hint m 101:dirty_log m 201:get_vcpu_channels m",
          1),
    SHAPE(main_request__create, "1:id u 2:io_event m 3:memory m 4:irq_event m", 2),
    SHAPE(main_request__create__io_event, "1:space e 2:address U 3:length u 4:datamatch U 5:any_value b", 0),
    SHAPE(main_request__create__memory, "1:offset U 2:start U 3:length U 4:read_only b 5:dirty_log b", 0),
    SHAPE(main_request__create__irq_event, "1:irq_id u 2:resample b", 0),
    SHAPE(main_request__destroy, "1:id u", 0),
    SHAPE(main_request__new_connection, "", 0),
    SHAPE(main_request__get_shutdown_eventfd, "", 0),
    SHAPE(main_request__check_extension, "1:extension u", 0),
    SHAPE(main_request__cpuid_request, "", 0),
    SHAPE(main_request__msr_list_request, "", 0),
    SHAPE(main_request__get_net_config, "", 0),
    SHAPE(main_request__reserve_range, "1:space e 2:start U 3:length U 4:async_write b 5:coalesce b", 0),
    SHAPE(main_request__set_irq, "1:irq_id u 2:active b", 0),
    SHAPE(main_request__set_irq_routing, "1:routes M", 0),
    SHAPE(main_request__set_irq_routing__route, "1:irq_id u 2:irqchip m 3:msi m", 2),
    SHAPE(main_request__set_irq_routing__route__irqchip, "1:irqchip u 2:pin u", 0),
    SHAPE(main_request__set_irq_routing__route__msi, "1:address U 2:data u", 0),
    SHAPE(main_request__get_state, "1:set e", 0),
    SHAPE(main_request__set_state, "1:set e 2:state y", 0),
    SHAPE(main_request__set_identity_map_addr, "1:address u", 0),
    SHAPE(main_request__pause_vcpus, "1:cpu_mask U 2:user U", 0),
    SHAPE(main_request__get_vcpus, "", 0),
    SHAPE(main_request__start, "", 0),
    SHAPE(main_request__set_call_hint, "1:space e 2:address U 3:on_write b 4:hints M", 0),
    SHAPE(main_request__set_call_hint__reg_hint,
          "1:match_rax b 2:match_rbx b 3:match_rcx b 4:match_rdx b 5:rax U 6:rbx U 7:rcx U 8:rdx U 9:send_sregs b "
          "10:send_debugregs b",
          0),
    SHAPE(main_request__memory_dirty_log, "1:id u", 0),
    SHAPE(main_request__get_vcpu_channels, "", 0),
    SHAPE(main_response,
          "1:error s 2:create m 3:destroy m 4:new_connection m 5:get_shutdown_eventfd m 6:check_extension m "
          "7:get_supported_cpuid m 8:get_emulated_cpuid m 9:get_msr_index_list m 10:get_net_config m "
          "11:reserve_range m 12:set_irq m 13:set_irq_routing m 14:get_state m 15:set_state m "
          "16:set_identity_map_addr m 17:pause_vcpus m 18:get_vcpus m 19:start m 20:set_call_hint m 101:dirty_log m 201:get_vcpu_channels m",
          2),
    SHAPE(main_response__empty, "", 0),
    SHAPE(main_response__check_extension, "1:has_extension b", 0),
    SHAPE(main_response__cpuid, "1:entries M", 0),
    SHAPE(main_response__msr_list, "1:indices R", 0),
    SHAPE(main_response__get_net_config, "1:host_mac_address y 2:host_ipv4_address f 3:netmask f", 0),
    SHAPE(main_response__get_state, "1:state y", 0),
    SHAPE(main_response__memory_dirty_log, "1:bitmap y", 0),
    SHAPE(vcpu_request,
          "1:wait m 2:resume m 3:get_state m 4:set_state m 5:get_msrs m 6:set_msrs m 7:set_cpuid m 8:shutdown m "
          "9:get_hyperv_cpuid m 10:enable_capability m",
          1),
    SHAPE(vcpu_request__wait, "", 0),
    SHAPE(vcpu_request__resume, "1:data y 2:regs y 3:sregs y 4:debugregs y", 0),
    SHAPE(vcpu_request__get_state, "1:set e", 0),
    SHAPE(vcpu_request__set_state, "1:set e 2:state y", 0),
    SHAPE(vcpu_request__get_msrs, "1:entry_indices R", 0),
    SHAPE(vcpu_request__msr_entry, "1:index u 2:data U", 0),
    SHAPE(vcpu_request__set_msrs, "1:entries M", 0),
    SHAPE(vcpu_request__set_cpuid, "1:entries M", 0),
    SHAPE(vcpu_request__shutdown, "", 0),
    SHAPE(vcpu_request__cpuid_request, "", 0),
    SHAPE(vcpu_request__enable_capability, "1:capability u", 0),
    SHAPE(vcpu_response,
          "1:error s 2:wait m 4:get_state m 5:set_state m 6:get_msrs m 7:set_msrs m 8:set_cpuid m "
          "9:get_hyperv_cpuid m 10:enable_capability m",
          2),
    SHAPE(vcpu_response__empty, "", 0),
    SHAPE(vcpu_response__wait, "1:init m 2:io m 3:user m 4:hyperv_call m 5:hyperv_synic m", 1),
    SHAPE(vcpu_response__wait__init, "", 0),
    SHAPE(vcpu_response__wait__io,
          "1:space e 2:address U 3:is_write b 4:no_resume b 5:data y 6:regs y 7:sregs y 8:debugregs y", 0),
    SHAPE(vcpu_response__wait__user, "1:user U", 0),
    SHAPE(vcpu_response__wait__hyperv_call, "1:input U 2:params0 U 3:params1 U", 0),
    SHAPE(vcpu_response__wait__hyperv_synic, "1:msr u 2:control U 3:evt_page U 4:msg_page U", 0),
    SHAPE(vcpu_response__get_state, "1:state y", 0),
    SHAPE(vcpu_response__get_msrs, "1:entry_data W", 0),
    SHAPE(vcpu_response__cpuid, "1:entries M", 0),
};

static char
letter_of(const ProtobufCFieldDescriptor *field)
{
    static const struct {
        ProtobufCType type;
        char one, many;
    } letters[] = {
        { PROTOBUF_C_TYPE_UINT32, 'u', 'R' },  { PROTOBUF_C_TYPE_UINT64, 'U', 'W' },
        { PROTOBUF_C_TYPE_MESSAGE, 'm', 'M' }, { PROTOBUF_C_TYPE_SINT32, 's', '?' },
        { PROTOBUF_C_TYPE_FIXED32, 'f', '?' }, { PROTOBUF_C_TYPE_BOOL, 'b', '?' },
        { PROTOBUF_C_TYPE_ENUM, 'e', '?' },    { PROTOBUF_C_TYPE_BYTES, 'y', '?' },
    };

    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++)
        if (letters[i].type == field->type)
            return field->label == PROTOBUF_C_LABEL_REPEATED ? letters[i].many : letters[i].one;
    return '?';
}

static void
test_every_field_has_its_number_and_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const ProtobufCMessageDescriptor *message = shapes[i].message;
        char found[1024] = "";
        size_t length = 0;

        for (unsigned k = 0; k < message->n_fields; k++) {
            const ProtobufCFieldDescriptor *field = &message->fields[k];
            const bool in_oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;

            length += (size_t)snprintf(found + length, sizeof found - length, "%s%u:%s %c", k > 0 ? " " : "", field->id,
                                       field->name, letter_of(field));
            assert_int_equal(in_oneof, shapes[i].oneof != 0 && field->id >= shapes[i].oneof);
        }
        assert_string_equal(found, shapes[i].fields);
    }
}

static void
check_values(const ProtobufCEnumDescriptor *type, const char *const *names, int count)
{
    assert_int_equal(type->n_values, count);
    for (int i = 0; i < count; i++) {
        const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, i);

        assert_non_null(value);
        assert_string_equal(value->name, names[i]);
    }
}

static void
test_every_enum_has_its_values(void **state)
{
    static const char *const spaces[] = { "IOPORT", "MMIO" };
    static const char *const devices[] = { "PIC0", "PIC1", "IOAPIC", "PIT", "CLOCK" };
    static const char *const sets[] = { "REGS", "SREGS", "FPU", "DEBUGREGS", "LAPIC", "MP", "XCREGS", "EVENTS" };

    (void)state;
    check_values(&address_space__descriptor, spaces, 2);
    check_values(&main_request__state_set__descriptor, devices, 5);
    check_values(&vcpu_request__state_set__descriptor, sets, 8);
}

static void
test_limits_of_the_wire(void **state)
{
    (void)state;
    assert_int_equal(WIRE_REQUEST_MAX, 4096);
    assert_int_equal(WIRE_REQUEST_FDS_MAX, 1);
    assert_int_equal(WIRE_RESPONSE_MAX, 0x40000);
    assert_int_equal(WIRE_RESPONSE_FDS_MAX, 253);
    assert_int_equal(WIRE_VCPU_MESSAGE_MAX, 0x40000);
    assert_int_equal(WIRE_VCPU_PIPE_SIZE, 0x40000);
    assert_string_equal(WIRE_SOCKET_VARIABLE, "VMSUP_SOCKET");
    assert_string_equal(WIRE_SOCKET_VARIABLE_ORIGINAL, "CROSVM_SOCKET");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_has_its_number_and_type),
        cmocka_unit_test(test_every_enum_has_its_values),
        cmocka_unit_test(test_limits_of_the_wire),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
