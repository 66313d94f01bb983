# The bench: a plain KVM_RUN loop and a plugin that answer the same guest, and the program that runs and compares both; and one that
# compares what a Linux guest has of microvm with what it has of another monitor's.

BENCH := $(BUILD)/tests/bench
BENCH_CFLAGS := $(EXAMPLE_CFLAGS) -Wa,-I$(BENCH) -Itests/bench -DLIBBSD_OVERLAY -isystem /usr/include/bsd

$(BENCH)/%.o: tests/bench/%.c $(wildcard tests/bench/*.h) $(BENCH)/guest.bin plugin/vmsup-plugin.h
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -c -o $@ $<

$(BENCH)/floor $(BENCH)/start_floor: $(BENCH)/%: $(BENCH)/%.o $(BENCH)/plain_machine.o $(BENCH)/rounds.o
	$(CC) $(LDHARDENING) -o $@ $(filter %.o,$^)

$(BENCH)/exchange: $(BENCH)/exchange.o $(BENCH)/rounds.o
	$(CC) $(LDHARDENING) -o $@ $^

$(BENCH)/plugin $(BENCH)/many $(BENCH)/start_plugin: $(BENCH)/%: $(BENCH)/%.o $(BENCH)/machine.o $(BENCH)/rounds.o $(BUILD)/$(SONAME)
	$(CC) $(LDHARDENING) -o $@ $(filter %.o,$^) -L$(BUILD) -Wl,-rpath,'$$ORIGIN/../..' -lvmsup-plugin -lpthread

$(BENCH)/bench: $(BENCH)/bench.o $(BENCH)/child.o $(BENCH)/exits.o $(BENCH)/rounds.o $(BENCH)/start.o
	$(CC) $(LDHARDENING) -o $@ $^ -ljansson -lbsd

$(BENCH)/linux: $(BENCH)/linux.o $(BENCH)/linux_server.o $(BENCH)/child.o $(BENCH)/rounds.o
	$(CC) $(LDHARDENING) -o $@ $^ -ljansson -lbsd

# The only program of a guest's initramfs.
$(BENCH)/linux_guest: $(BENCH)/linux_guest.o
	$(CC) -static -o $@ $<

BENCH_PROGRAMS := $(addprefix $(BENCH)/,floor exchange plugin many start_floor start_plugin bench linux linux_guest)

# Linux needs a KVM that runs it: this machine's, or else that of the test bed.
bench: setup programs $(BENCH_PROGRAMS)
	$(BENCH)/bench $(BUILD)/bench.json
	if [ -d /sys/module/kvm_amd ] || [ -d /sys/module/kvm_intel ]; then \
		BUILD='$(abspath $(BUILD))' tests/run tap bench && cat $(BUILD)/test-logs/bench_linux.log; \
	else \
		BUILD='$(abspath $(BUILD))' BED_EXTRA_PACKAGES='cpio qemu-system-x86' tests/bed/run bench && \
		cat $(BUILD)/test-logs/bed2/inside/bench_linux.log; \
	fi
