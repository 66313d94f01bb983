# vmsup. One Makefile for all folders; everything it makes stands below $(BUILD).
#
#   make            build/vmsup, build/vmproc, the plugin library, examples, tests' programs
#   make check      install what is needed, build (also under sanitizers and with clang), run every test
#   make demo       install what is needed, build, run a guest
#   make install    DESTDIR= PREFIX=
#   make bench | fuzz | mutants | lint | clean
#
# SANITIZE=1 builds with ASan and UBSan into build-san, CC=clang works with any BUILD.

SANITIZE ?=
ifeq ($(SANITIZE),1)
BUILD ?= build-san
else
BUILD ?= build
endif
PREFIX ?= /usr/local
DESTDIR ?=

VERSION := 0.1.0
SONAME := libvmsup-plugin.so.0
SBINDIR := $(PREFIX)/sbin
LIBDIR := $(PREFIX)/lib
LIBEXECDIR := $(PREFIX)/libexec/vmsup
INCLUDEDIR := $(PREFIX)/include
DATADIR := $(PREFIX)/share/vmsup
MANDIR := $(PREFIX)/share/man

CC ?= cc
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
HARDENING := -fstack-protector-strong -fPIC
ifeq ($(SANITIZE),1)
HARDENING += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DVMSUP_SANITIZED
LDHARDENING := -fsanitize=address,undefined -pie -Wl,-z,relro,-z,now
STATIC_PIE := $(LDHARDENING)
else
HARDENING += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
LDHARDENING := -pie -Wl,-z,relro,-z,now
# One file, no library: what runs in an empty room.
STATIC_PIE := -static-pie -Wl,-z,relro,-z,now
endif
OPTIMIZE ?= -O2 -g
CFLAGS_ALL := -std=gnu17 $(OPTIMIZE) $(WARNINGS) $(HARDENING) -D_GNU_SOURCE -DLIBBSD_OVERLAY -DLIBBSD_NETBSD_VIS -isystem /usr/include/bsd \
	-I. -I$(BUILD)/gen $(CFLAGS)

LIBS_COMMON := -lbsd
LIBS_PROTO := -lprotobuf-c $(LIBS_COMMON)
LIBS_POLICY := -lseccomp
LIBS_JAIL := -lcap $(LIBS_POLICY)
# libnftables is loaded where it is needed.
LIBS_SUPERVISOR := -lmnl $(LIBS_JAIL) $(LIBS_PROTO)
# A start is short: loading libraries, and their pages of data in each supervisor, would be a good part of it.
LIBS_VMSUP := -Wl,-Bstatic $(LIBS_JAIL) $(LIBS_PROTO) -lmd -Wl,-Bdynamic -lmnl
# libbsd.a needs libmd.a.
LIBS_VMPROC := -lprotobuf-c -lbsd -lmd -lpthread

comma := ,
MODULES := common proto policy jail supervisor vmproc
sources = $(filter-out %/main.c,$(wildcard $(1)/*.c))
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(call sources,$(1)))

PROTOS := plugin control host
GENERATED_PROTO := $(PROTOS:%=$(BUILD)/gen/proto/%.pb-c.c)
GENERATED_HEADERS := $(GENERATED_PROTO:.c=.h)

ARCHIVES := $(MODULES:%=$(BUILD)/lib/%.a)
POLICIES := $(wildcard policy/*.policy)
EXAMPLES := $(patsubst plugin/examples/%.c,$(BUILD)/plugin/examples/%,$(wildcard plugin/examples/*.c))
GUESTS := $(patsubst %.S,$(BUILD)/%.bin,$(wildcard plugin/examples/*.S tests/*/*.S))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all programs check demo install bench fuzz mutants lint clean setup

all: programs $(EXAMPLES)

programs: $(BUILD)/vmsup $(BUILD)/vmproc $(BUILD)/$(SONAME) $(BUILD)/libvmsup-plugin.a $(BUILD)/libcrosvm_plugin.so \
	$(BUILD)/plugin/microvm $(POLICIES:%=$(BUILD)/%)

# --- generated sources

$(BUILD)/gen/proto/%.pb-c.c $(BUILD)/gen/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(@D)
	protoc-c -Iproto --c_out=$(BUILD)/gen/proto $<

# The two processes of one VM must be of one build: an id made of all that goes into either.
BUILD_ID_SOURCES := $(wildcard common/*.[ch] proto/*.[ch] proto/*.proto vmproc/*.[ch] supervisor/*.[ch] jail/*.[ch] policy/*.[ch])
$(BUILD)/gen/build_id.h: $(BUILD_ID_SOURCES)
	@mkdir -p $(@D)
	@{ printf '#define VMSUP_VERSION "%s"\n' '$(VERSION)'; \
	printf '#define VMSUP_BUILD_ID "%s"\n' "$$(cat $^ | sha256sum | cut -c1-32)"; } >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# Names of constants that a policy may use, from the system's headers.
$(BUILD)/gen/policy_constants.h: policy/make-constants
	@mkdir -p $(@D)
	CC='$(CC)' policy/make-constants >$@.new
	@mv $@.new $@

# --- objects and archives

GENERATED := $(GENERATED_HEADERS) $(BUILD)/gen/build_id.h
$(call objects,policy): | $(BUILD)/gen/policy_constants.h

$(BUILD)/obj/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/obj/gen/proto/%.o: $(BUILD)/gen/proto/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define archive_rule
$(BUILD)/lib/$(1).a: $(call objects,$(1)) $(2)
	@mkdir -p $$(@D)
	@rm -f $$@
	$(AR) rcs $$@ $$^
endef
$(foreach module,$(filter-out proto,$(MODULES)),$(eval $(call archive_rule,$(module))))
$(eval $(call archive_rule,proto,$(PROTOS:%=$(BUILD)/obj/gen/proto/%.pb-c.o)))

lib = $(BUILD)/lib/$(1).a

# --- programs

$(BUILD)/vmsup: $(BUILD)/obj/supervisor/main.o $(call lib,supervisor) $(call lib,jail) $(call lib,policy) $(call lib,proto) \
	$(call lib,common)
	$(CC) $(LDHARDENING) -o $@ $^ $(LIBS_VMSUP)

$(BUILD)/vmproc: $(BUILD)/obj/vmproc/main.o $(call lib,vmproc) $(call lib,proto) $(call lib,common)
	$(CC) $(STATIC_PIE) -o $@ $^ $(LIBS_VMPROC)

$(BUILD)/policy/%.policy: policy/%.policy
	@mkdir -p $(@D)
	install -m 0644 $< $@

# --- the plugin library: ours, and the one with the original's names

PLUGIN_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard plugin/lib/*.c))
PLUGIN_PARTS = $(PLUGIN_OBJECTS) $(call lib,proto) $(call lib,common)

# All of the library in one object, in which only the interface's names are global: a plugin's own names cannot collide with it.
$(BUILD)/obj/vmsup-plugin.o: $(PLUGIN_PARTS)
	ld -r -o $@ $(PLUGIN_PARTS)
	objcopy --wildcard --keep-global-symbol='vmsup_*' $@

# The same code under the original's names.
$(BUILD)/obj/crosvm-plugin.o: $(BUILD)/obj/vmsup-plugin.o
	nm --defined-only -g $< | awk '$$3 ~ /^vmsup_/ { name = $$3; sub(/^vmsup/, "crosvm", name); print $$3, name }' >$(@:.o=.names)
	objcopy --redefine-syms=$(@:.o=.names) $< $@

SHARED := -shared $(filter-out -pie,$(LDHARDENING)) -Wl,-z,defs
ifeq ($(SANITIZE),1)
# The sanitizers' functions are in the program that loads it.
SHARED := $(filter-out -Wl$(comma)-z$(comma)defs,$(SHARED))
endif

$(BUILD)/$(SONAME): $(BUILD)/obj/vmsup-plugin.o plugin/lib/vmsup-plugin.map
	$(CC) $(SHARED) -Wl,-soname,$(SONAME) -Wl,--version-script=plugin/lib/vmsup-plugin.map -o $@ $< $(LIBS_PROTO)
	ln -sf $(SONAME) $(BUILD)/libvmsup-plugin.so

$(BUILD)/libcrosvm_plugin.so: $(BUILD)/obj/crosvm-plugin.o
	$(CC) $(SHARED) -Wl,-soname,libcrosvm_plugin.so -o $@ $< $(LIBS_PROTO)

$(BUILD)/libvmsup-plugin.a: $(BUILD)/obj/vmsup-plugin.o
	@rm -f $@
	$(AR) rcs $@ $<

# --- microvm, the device model that ships: linked as an author's program would be, one file for an empty room

MICROVM_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard plugin/microvm/*.c))
$(MICROVM_OBJECTS): CFLAGS_ALL += -Iplugin

$(BUILD)/plugin/microvm: $(MICROVM_OBJECTS) $(BUILD)/libvmsup-plugin.a $(call lib,proto) $(call lib,common)
	@mkdir -p $(@D)
	$(CC) $(STATIC_PIE) -o $@ $^ $(LIBS_VMPROC)

# --- guests: assembled here, no loader, no header

$(BUILD)/%.bin: %.S
	@mkdir -p $(@D)
	$(CC) -c -o $(BUILD)/$*.guest.o $<
	ld -Ttext 0 -e 0 -o $(BUILD)/$*.guest $(BUILD)/$*.guest.o
	objcopy -O binary -j .text $(BUILD)/$*.guest $@

# --- examples: an author's program sees the public headers and the library, nothing else of ours

EXAMPLE_CFLAGS := -std=gnu17 $(OPTIMIZE) -Wall -Wextra -Werror -Wshadow $(HARDENING) -D_GNU_SOURCE -Iplugin -Wa,-I$(BUILD)/plugin/examples
$(BUILD)/plugin/examples/%: plugin/examples/%.c $(BUILD)/$(SONAME) plugin/vmsup-plugin.h $(GUESTS)
	@mkdir -p $(@D)
	$(CC) $(EXAMPLE_CFLAGS) $(LDHARDENING) -o $@ $< -L$(BUILD) -Wl,-rpath,'$$ORIGIN/../..:$$ORIGIN/../../../lib' \
		-lvmsup-plugin -lpthread

# --- tests

$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(PLUGIN_OBJECTS) $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(LDHARDENING) -o $@ $< -Wl,--start-group $(PLUGIN_OBJECTS) $(ARCHIVES) -Wl,--end-group \
		-lcmocka $(LIBS_SUPERVISOR) -lpthread

-include tests/tests.mk

# The sources that are generated, for tools that read sources.
.PHONY: generated
generated: $(GENERATED) $(GUESTS) $(BUILD)/tests/conformance/guests.h

# tests/run builds by itself, since it needs several builds.
check:
	tools/setup check
	tests/run check

lint: generated
	BUILD='$(abspath $(BUILD))' tests/run suites lint

setup:
	tools/setup

# The guest's output is what this is about: the build says what is wrong only.
demo:
	@tools/setup
	@echo 'Building vmsup, which takes half a minute the first time.'
	@$(MAKE) --no-print-directory -s all
	@VMSUP=$(BUILD)/vmsup EXAMPLES=$(BUILD)/plugin/examples exec tools/demo

# --- what an admin installs

install: all
	install -d '$(DESTDIR)$(SBINDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(LIBEXECDIR)/examples' '$(DESTDIR)$(INCLUDEDIR)' \
		'$(DESTDIR)$(DATADIR)/policy' '$(DESTDIR)$(DATADIR)/examples'
	install -m 0755 $(BUILD)/vmsup '$(DESTDIR)$(SBINDIR)'
	install -m 0755 $(BUILD)/vmproc $(BUILD)/plugin/microvm '$(DESTDIR)$(LIBEXECDIR)'
	install -m 0644 $(POLICIES) '$(DESTDIR)$(DATADIR)/policy'
	install -m 0644 proto/plugin.proto '$(DESTDIR)$(DATADIR)'
	install -m 0755 $(BUILD)/$(SONAME) $(BUILD)/libcrosvm_plugin.so '$(DESTDIR)$(LIBDIR)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libvmsup-plugin.so'
	install -m 0644 $(BUILD)/libvmsup-plugin.a '$(DESTDIR)$(LIBDIR)'
	install -m 0644 plugin/vmsup-plugin.h plugin/crosvm.h '$(DESTDIR)$(INCLUDEDIR)'
	sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' plugin/vmsup-plugin.pc.in \
		>'$(DESTDIR)$(LIBDIR)/pkgconfig/vmsup-plugin.pc'
	chmod 0644 '$(DESTDIR)$(LIBDIR)/pkgconfig/vmsup-plugin.pc'
	install -m 0755 $(EXAMPLES) '$(DESTDIR)$(LIBEXECDIR)/examples'
	install -m 0644 $(wildcard plugin/examples/*.[chS]) '$(DESTDIR)$(DATADIR)/examples'
	install -m 0755 plugin/examples/debian-image '$(DESTDIR)$(DATADIR)/examples'
	for page in man/*.[1-9]; do \
		install -d '$(DESTDIR)$(MANDIR)'/man$${page##*.} && \
		install -m 0644 $$page '$(DESTDIR)$(MANDIR)'/man$${page##*.} || exit 1; \
	done
	# Programs find the library by the loader's cache, and so does vmsup for them.
	[ -n '$(DESTDIR)' ] || [ ! -w /etc/ld.so.cache ] || PATH="$$PATH:/usr/sbin:/sbin" ldconfig

clean:
	rm -rf build build-*

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
