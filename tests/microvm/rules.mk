# What the tests' guests have beside busybox, and the host at the other end.
MICROVM_GUEST_PROGRAMS := $(BUILD)/tests/microvm/offloads $(BUILD)/tests/microvm/stream
TEST_PROGRAMS += $(MICROVM_GUEST_PROGRAMS)

$(MICROVM_GUEST_PROGRAMS): $(BUILD)/tests/microvm/%: tests/microvm/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O2 -g $(WARNINGS) -D_GNU_SOURCE -static -o $@ $<
