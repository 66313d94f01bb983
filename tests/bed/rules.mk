# What tests/bed/run asks of the machine that it runs on.
BED_PROGRAMS := $(BUILD)/tests/bed/tsc-khz
TEST_PROGRAMS += $(BED_PROGRAMS)

$(BED_PROGRAMS): $(BUILD)/tests/bed/%: tests/bed/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O2 -g $(WARNINGS) -D_GNU_SOURCE -o $@ $<
