# The bench: a plain KVM_RUN loop and a plugin that answer the same guest, and the program that runs and compares both.

BENCH := $(BUILD)/tests/bench
BENCH_CFLAGS := $(EXAMPLE_CFLAGS) -Wa,-I$(BENCH) -Itests/bench -DLIBBSD_OVERLAY -isystem /usr/include/bsd

$(BENCH)/%.o: tests/bench/%.c tests/bench/rounds.h $(BENCH)/guest.bin plugin/vmsup-plugin.h
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -c -o $@ $<

$(BENCH)/floor: $(BENCH)/floor.o $(BENCH)/rounds.o
	$(CC) $(LDHARDENING) -o $@ $^

$(BENCH)/plugin: $(BENCH)/plugin.o $(BENCH)/rounds.o $(BUILD)/$(SONAME)
	$(CC) $(LDHARDENING) -o $@ $(BENCH)/plugin.o $(BENCH)/rounds.o -L$(BUILD) -Wl,-rpath,'$$ORIGIN/../..' -lvmsup-plugin

$(BENCH)/bench: $(BENCH)/bench.o $(BENCH)/rounds.o
	$(CC) $(LDHARDENING) -o $@ $^ -ljansson -lbsd

bench: setup programs $(BENCH)/floor $(BENCH)/plugin $(BENCH)/bench
	$(BENCH)/bench $(BUILD)/bench.json
