# The fuzz targets: tests/fuzz/fuzz_NAME.c, each with its seeds in tests/fuzz/corpus/NAME. `make fuzz` runs each for FUZZ_SECONDS; what
# it finds on the way stays in $(BUILD)/fuzz/corpus, and an input that breaks something in $(BUILD)/fuzz/NAME-crash-*.
# Everything is compiled by clang, the code under test too; from an archive, so that a target can put its own in a file's place.

FUZZ_SECONDS ?= 30
FUZZ_CC ?= clang
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_PROGRAMS := $(FUZZ_NAMES:%=$(BUILD)/fuzz/fuzz_%)
FUZZ_CFLAGS := -std=gnu17 -O1 -g $(WARNINGS) -fPIC -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
	-fno-omit-frame-pointer -D_GNU_SOURCE -DLIBBSD_OVERLAY -DLIBBSD_NETBSD_VIS -isystem /usr/include/bsd -I. -I$(BUILD)/gen
FUZZ_OBJECTS := $(foreach module,$(MODULES),$(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(call sources,$(module)))) \
	$(PROTOS:%=$(BUILD)/fuzz/obj/gen/proto/%.pb-c.o)

$(BUILD)/fuzz/obj/gen/proto/%.o: $(BUILD)/gen/proto/%.c | $(GENERATED)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/obj/%.o: %.c | $(GENERATED) $(BUILD)/gen/policy_constants.h
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fuzz/vmsup.a: $(FUZZ_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

# In an archive of its own: some of its files have names that vmproc's have, too.
FUZZ_MICROVM_OBJECTS := $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(wildcard plugin/microvm/disk.c plugin/microvm/memory.c plugin/microvm/queue.c \
	plugin/microvm/rate_limit.c plugin/microvm/virtio*.c plugin/microvm/vsock*.c))

FUZZ_MICROVM_OBJECTS += $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(wildcard plugin/microvm/boot*.c))
FUZZ_MICROVM_OBJECTS += $(patsubst %,$(BUILD)/fuzz/obj/plugin/microvm/%.o,bus i8042 power rtc serial)

$(BUILD)/fuzz/microvm.a: $(FUZZ_MICROVM_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(BUILD)/fuzz/microvm.a $(BUILD)/fuzz/vmsup.a
	$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS_SUPERVISOR) -lpthread

.PHONY: $(FUZZ_NAMES:%=fuzz-%)
fuzz: $(FUZZ_NAMES:%=fuzz-%)

$(FUZZ_NAMES:%=fuzz-%): fuzz-%: $(BUILD)/fuzz/fuzz_%
	@mkdir -p $(BUILD)/fuzz/corpus/$*
	$< -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/$*-crash- \
		$(BUILD)/fuzz/corpus/$* tests/fuzz/corpus/$*

-include $(shell find $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)
