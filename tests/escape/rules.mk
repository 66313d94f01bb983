# The escape tests: a static probe that tries to get out, and the driver that puts it into the jails that the supervisor makes.

ESCAPE := $(BUILD)/tests/escape
ESCAPE_PROBE := $(wildcard tests/escape/probe*.c)

$(ESCAPE)/probe: $(ESCAPE_PROBE) tests/escape/probe.h
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O2 -g -Wall -Wextra -Werror -Wshadow -D_GNU_SOURCE $(if $(filter 1,$(SANITIZE)),-DVMSUP_SANITIZED) -static -o $@ $(ESCAPE_PROBE)

$(BUILD)/obj/tests/escape/escape.o: CFLAGS += -Itests/escape

$(ESCAPE)/escape: $(BUILD)/obj/tests/escape/escape.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(LDHARDENING) -o $@ $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS_SUPERVISOR)

TEST_PROGRAMS += $(ESCAPE)/probe $(ESCAPE)/escape
