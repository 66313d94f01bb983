# What unit tests run: a static program, plain in every build, since it is put into rooms that have nothing in them.
UNIT_HELPERS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/helper_*.c))
TEST_PROGRAMS += $(UNIT_HELPERS)

$(UNIT_HELPERS): $(BUILD)/tests/unit/%: tests/unit/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O2 -g $(WARNINGS) -D_GNU_SOURCE -static -o $@ $<

$(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_jail*.c)): | $(UNIT_HELPERS)

# Tests of microvm's virtio devices take their objects by name: an archive would not do, since vmproc has a memory.c, too.
VIRTIO_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard plugin/microvm/disk.c plugin/microvm/memory.c plugin/microvm/queue.c \
	plugin/microvm/rate_limit.c plugin/microvm/virtio*.c plugin/microvm/vsock*.c))
VIRTIO_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_virtio*.c tests/unit/test_rate_limit.c tests/unit/test_vsock*.c))
$(VIRTIO_TESTS): $(VIRTIO_OBJECTS)
$(VIRTIO_TESTS): PLUGIN_OBJECTS += $(VIRTIO_OBJECTS)
# One of them steps in just before the device asks to be told of buffers.
$(BUILD)/tests/unit/test_virtio_net: LDHARDENING += -Wl,--wrap=queue_enable_notify

# So do those of its platform, which needs no VM but in machine.c and what stands on it.
PLATFORM_OBJECTS := $(patsubst %,$(BUILD)/obj/plugin/microvm/%.o,acpi aml bus cpuid cpuid_mask host i8042 memory options options_devices power ram rtc serial) \
	$(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard plugin/microvm/boot*.c))
PLATFORM_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_microvm_*.c))
$(PLATFORM_TESTS): $(PLATFORM_OBJECTS)
$(PLATFORM_TESTS): PLUGIN_OBJECTS += $(PLATFORM_OBJECTS)

# What stands on a VM has a library that the test plays in place of the plugin library.
MACHINE_OBJECTS := $(filter-out %/main.o,$(MICROVM_OBJECTS))
MACHINE_TESTS := $(BUILD)/tests/unit/test_machine $(BUILD)/tests/unit/test_machine_devices
$(MACHINE_TESTS): $(MACHINE_OBJECTS)
$(MACHINE_TESTS): PLUGIN_OBJECTS := $(MACHINE_OBJECTS)
$(MACHINE_TESTS:$(BUILD)/%=$(BUILD)/obj/%.o): CFLAGS_ALL += -Iplugin
