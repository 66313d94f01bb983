#!/usr/bin/env bash
# Every fuzz target for a few seconds, from its corpus: one test a target. FUZZ_SECONDS says how many; `make fuzz` takes longer.
set -uo pipefail
cd "${TREE:?}" || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT
mapfile -t targets < <(find tests/fuzz -maxdepth 1 -name 'fuzz_*.c' -printf '%f\n' | sed 's/^fuzz_//; s/\.c$//' | sort)
echo "1..$((2 * ${#targets[@]}))"
number=0
result() { # STATUS NAME
    number=$((number + 1))
    if [ "$1" = 0 ]; then echo "ok $number - $2"; else echo "not ok $number - $2"; fi
}
env -u MAKEFLAGS -u MFLAGS make -s -j"$(nproc)" -k BUILD="${BUILD:?}" "${targets[@]/#/$BUILD/fuzz/fuzz_}" >"$log" 2>&1 ||
    sed 's/^/# /' "$log"
for target in "${targets[@]}"; do
    seeds=$(find "tests/fuzz/corpus/$target" -type f 2>/dev/null | wc -l)
    [ "$seeds" -gt 0 ]
    result $? "$target has seeds"
    env -u MAKEFLAGS -u MFLAGS make -s BUILD="$BUILD" FUZZ_SECONDS="${FUZZ_SECONDS:-5}" "fuzz-$target" >"$log" 2>&1
    status=$?
    # Without a count of runs nothing was tried.
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    [ "$status" = 0 ] && [ "${runs:-0}" -gt 0 ] || { status=1; tail -n 60 "$log" | sed 's/^/# /'; }
    result "$status" "$target, ${runs:-0} runs"
done
