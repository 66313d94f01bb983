# The conformance cases, as two programs of one source: with the original's names (crosvm.h, libcrosvm_plugin.so) and with ours.
# The second's source is the first's with the names changed, so that both headers and both libraries are held to the same cases.

CONFORMANCE := $(BUILD)/tests/conformance
CONFORMANCE_SOURCES := $(wildcard tests/conformance/*.c)
CONFORMANCE_HEADERS := $(wildcard tests/conformance/*.h)
CONFORMANCE_CFLAGS := -std=gnu17 $(OPTIMIZE) -Wall -Wextra -Werror $(HARDENING) -D_GNU_SOURCE -Iplugin -Wa,-I$(CONFORMANCE) -I$(CONFORMANCE)

$(CONFORMANCE)/guests.h: $(CONFORMANCE)/guests.bin
	nm $(CONFORMANCE)/guests.guest | awk '$$3 ~ /^guest_/ { print "#define", toupper($$3), "0x" $$1 }' >$@

$(CONFORMANCE)/ours/%: tests/conformance/%
	@mkdir -p $(@D)
	sed -e 's/CROSVM_SOCKET/ORIGINAL_SOCKET/g; s/crosvm/vmsup/g; s/CROSVM/VMSUP/g; s/ORIGINAL_SOCKET/CROSVM_SOCKET/g' \
		-e 's/<vmsup\.h>/<vmsup-plugin.h>/' $< >$@

CONFORMANCE_OURS := $(CONFORMANCE_SOURCES:tests/conformance/%=$(CONFORMANCE)/ours/%)

$(CONFORMANCE)/conform-vmsup: $(CONFORMANCE_OURS) $(CONFORMANCE_HEADERS:tests/conformance/%=$(CONFORMANCE)/ours/%) \
	$(CONFORMANCE)/guests.h $(BUILD)/$(SONAME) plugin/vmsup-plugin.h
	$(CC) $(CONFORMANCE_CFLAGS) $(LDHARDENING) -o $@ $(CONFORMANCE_OURS) -L$(BUILD) -Wl,-rpath,'$$ORIGIN/../..:$$ORIGIN/../../../lib' \
		-lvmsup-plugin -lpthread

# crosvm.h makes our names of the original's; the object's are changed back, as those of a program linked long ago would be.
$(CONFORMANCE)/crosvm.o: $(CONFORMANCE_SOURCES) $(CONFORMANCE_HEADERS) $(CONFORMANCE)/guests.h plugin/crosvm.h plugin/vmsup-plugin.h \
	$(BUILD)/libcrosvm_plugin.so
	@mkdir -p $(CONFORMANCE)/crosvm
	for source in $(CONFORMANCE_SOURCES); do \
		$(CC) $(CONFORMANCE_CFLAGS) -Itests/conformance -c -o $(CONFORMANCE)/crosvm/$$(basename $$source .c).o $$source || exit 1; \
	done
	ld -r -o $@ $(CONFORMANCE_SOURCES:tests/conformance/%.c=$(CONFORMANCE)/crosvm/%.o)
	objcopy --redefine-syms=$(BUILD)/obj/crosvm-plugin.names $@

$(CONFORMANCE)/conform-crosvm: $(CONFORMANCE)/crosvm.o
	$(CC) $(LDHARDENING) -o $@ $< -L$(BUILD) -Wl,-rpath,'$$ORIGIN/../..:$$ORIGIN/../../../lib' -l:libcrosvm_plugin.so -lpthread

TEST_PROGRAMS += $(CONFORMANCE)/conform-vmsup $(CONFORMANCE)/conform-crosvm

.PHONY: conformance-programs
conformance-programs: $(CONFORMANCE)/conform-vmsup $(CONFORMANCE)/conform-crosvm

mutants: conformance-programs programs
	BUILD='$(BUILD)' CC='$(CC)' tests/conformance/mutants
