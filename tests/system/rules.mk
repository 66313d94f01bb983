# The plugin that system tests start: built as an author would build one, found where the library is in the tree or installed.
SYSTEM_PLUGINS := $(patsubst tests/system/%.c,$(BUILD)/tests/system/%,$(wildcard tests/system/*.c))
TEST_PROGRAMS += $(SYSTEM_PLUGINS)

$(BUILD)/tests/system/%: tests/system/%.c $(BUILD)/$(SONAME) plugin/vmsup-plugin.h
	@mkdir -p $(@D)
	$(CC) $(EXAMPLE_CFLAGS) $(LDHARDENING) -o $@ $< -L$(BUILD) -Wl,-rpath,'$$ORIGIN/../..:$$ORIGIN/../../lib' -lvmsup-plugin
