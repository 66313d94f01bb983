# The plugin that system tests start: built as an author would build one, found where the library is in the tree or installed.
SYSTEM_PLUGINS := $(patsubst tests/system/%.c,$(BUILD)/tests/system/%,$(wildcard tests/system/*.c))
STATIC_PLUGINS := $(BUILD)/tests/system/outsider $(BUILD)/tests/system/pretender $(BUILD)/tests/system/counter
TEST_PROGRAMS += $(SYSTEM_PLUGINS)

$(BUILD)/tests/system/%: tests/system/%.c $(BUILD)/$(SONAME) plugin/vmsup-plugin.h
	@mkdir -p $(@D)
	$(CC) $(EXAMPLE_CFLAGS) $(LDHARDENING) -o $@ $< -L$(BUILD) -Wl,-rpath,'$$ORIGIN/../..:$$ORIGIN/../../lib' -lvmsup-plugin

# One that needs no library, not even the C library's file.
$(STATIC_PLUGINS): $(BUILD)/tests/system/%: tests/system/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O2 -g $(WARNINGS) -D_GNU_SOURCE -static -o $@ $<

# vmsup with points at which a test can hold it; see supervisor/hold.h. It finds vmproc and the policies beside it.
HELD_OBJECTS := $(patsubst supervisor/%.c,$(BUILD)/obj/held/%.o,$(wildcard supervisor/*.c))
TEST_PROGRAMS += $(BUILD)/tests/held/vmsup

$(BUILD)/obj/held/%.o: supervisor/%.c | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -DVMSUP_TEST_POINTS -MMD -MP -c -o $@ $<

$(BUILD)/tests/held/vmsup: $(HELD_OBJECTS) $(call lib,jail) $(call lib,policy) $(call lib,proto) $(call lib,common) $(BUILD)/vmproc
	@mkdir -p $(@D)
	ln -sfn ../../vmproc $(@D)/vmproc
	ln -sfn ../../policy $(@D)/policy
	ln -sfn ../../plugin $(@D)/plugin
	$(CC) $(LDHARDENING) -o $@ $(filter-out $(BUILD)/vmproc,$^) $(LIBS_SUPERVISOR)

# The hello example with another guest in it, which tries its serial port.
SERIAL := $(BUILD)/tests/system/serial
TEST_PROGRAMS += $(SERIAL)

$(SERIAL): plugin/examples/hello.c $(BUILD)/tests/system/serial_guest.bin $(BUILD)/$(SONAME) plugin/vmsup-plugin.h
	@mkdir -p $(@D)/serial-guest
	cp $(BUILD)/tests/system/serial_guest.bin $(@D)/serial-guest/hello_guest.bin
	$(CC) -Wa,-I$(@D)/serial-guest $(EXAMPLE_CFLAGS) $(LDHARDENING) -o $@ $< -L$(BUILD) -Wl,-rpath,'$$ORIGIN/../..:$$ORIGIN/../../lib' \
		-lvmsup-plugin -lpthread

# Kernels for microvm: ELF files, loaded where they are linked.
MICROVM_GUESTS := $(patsubst tests/system/guests/%.S,$(BUILD)/tests/system/guests/%,$(wildcard tests/system/guests/*.S))
TEST_PROGRAMS += $(MICROVM_GUESTS)

$(BUILD)/tests/system/guests/%: tests/system/guests/%.S
	@mkdir -p $(@D)
	$(CC) -c -o $@.o $<
	ld -n --no-warn-rwx-segments -Ttext 0x100000 -e _start -o $@ $@.o

# Those in C are bare: no library, no registers but the general ones, and what they share is linked to each.
BARE_CFLAGS := -std=gnu17 -O2 -g $(WARNINGS) -m64 -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none -mno-red-zone \
	-mgeneral-regs-only -fno-asynchronous-unwind-tables -I.
BARE_SHARED := $(patsubst %,$(BUILD)/%.o,$(basename $(wildcard tests/system/guests/common/*.[cS])))
BARE_GUESTS := $(patsubst tests/system/guests/%.c,$(BUILD)/tests/system/guests/%,$(wildcard tests/system/guests/*.c))
TEST_PROGRAMS += $(BARE_GUESTS)

$(BUILD)/tests/system/guests/%.o: tests/system/guests/%.c
	@mkdir -p $(@D)
	$(CC) $(BARE_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/system/guests/common/%.o: tests/system/guests/common/%.S
	@mkdir -p $(@D)
	$(CC) -m64 -c -o $@ $<

$(BARE_GUESTS): $(BUILD)/tests/system/guests/%: $(BUILD)/tests/system/guests/%.o $(BARE_SHARED)
	ld -n --no-warn-rwx-segments -Ttext 0x100000 -e _start -o $@ $^

-include $(wildcard $(BUILD)/tests/system/guests/*.d $(BUILD)/tests/system/guests/common/*.d)
