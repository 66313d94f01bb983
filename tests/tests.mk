# What the tests are made of. Each folder of tests has a rules.mk of its own, which adds what it builds to TEST_PROGRAMS.

TEST_PROGRAMS := $(UNIT_TESTS)

-include $(wildcard tests/*/rules.mk)

.PHONY: tests
tests: $(TEST_PROGRAMS)
